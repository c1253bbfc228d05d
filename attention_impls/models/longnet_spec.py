"""LongNet's language model as an entry of the registry; its code is in :mod:`attention_impls.models.longnet`."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from attention_impls.api import Options
from attention_impls.dilated.spec import DILATED, schedule_of
from attention_impls.models.sizes import architecture_of, model_shape
from attention_impls.models.transformer_spec import AttentionChoice, language_model
from attention_impls.shape import AttentionShape

if TYPE_CHECKING:
    import torch

    from attention_impls.models.longnet import LongNetTransformer


def _choose(shape: AttentionShape, options: Options) -> AttentionChoice:
    """The branches of the options at the shape's length: the model keeps them at any other."""
    schedule = schedule_of(shape, options)
    fixed = {
        "segments": schedule.segments,
        "dilations": schedule.dilations,
        "offsets": options.get("offsets") or DILATED.defaults["offsets"],
    }
    return AttentionChoice(DILATED, fixed, min(schedule.segments))


def _load() -> Callable[..., Any]:
    from attention_impls.models.longnet import LongNetTransformer
    from attention_impls.models.transformer import seeded

    def make(
        shape: AttentionShape,
        options: Options,
        *,
        backend: str | None,
        device: torch.device | str,
        dtype: torch.dtype,
        seed: int,
    ) -> LongNetTransformer:
        a, chosen = architecture_of(shape, options), _choose(model_shape(shape, options), options)
        model = LongNetTransformer(
            *(a.vocab, a.dim, a.depth, a.heads, a.head_dim, a.ff_mult),
            **chosen.options,
            feed_forward=a.feed_forward,
            qk_norm=a.qk_norm,
            parallel_block=a.parallel_block,
            backend=backend,
            device="meta",
            dtype=dtype,
        )
        return seeded(model, device, seed)

    return make


LONGNET = language_model(
    name="longnet",
    summary="LongNet: a language model with dilated attention in every block",
    choose=_choose,
    defaults={"schedule": "geometric", "segments": None, "dilations": None, "offsets": "paper"},
    load=_load,
)
