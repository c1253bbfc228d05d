"""The hierarchical transformer as an entry of the registry; its code is in :mod:`.hierarchical`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from attention_impls.api import Implementation, Model, Options, Work
from attention_impls.models.hierarchical_levels import parse_levels
from attention_impls.models.hierarchical_sizes import Hierarchy, hierarchical_work
from attention_impls.shape import AttentionShape

_DEFAULTS: Options = {"depth": 2, "ff_mult": 4, "vocab": 256, "levels": None}

REFERENCE_TOKENS = 2048
"""The most that the reference, with its dense masks, is asked for."""


def hierarchy_of(shape: AttentionShape, options: Options) -> Hierarchy:
    """What ``options`` come to at ``shape``: the embedding has heads * head_dim features, the first level predicts,
    and there are no heads for the losses that are not the next token's: every parameter takes part in a pass.

    Raises:
        ValueError: options that do not fit.
    """
    given = {**_DEFAULTS, **{name: options[name] for name in _DEFAULTS if name in options}}
    levels = parse_levels(given["levels"], shape, given["ff_mult"])
    return Hierarchy(given["vocab"], shape.heads * shape.head_dim, given["depth"], levels)


def _details(shape: AttentionShape, options: Options) -> dict[str, Any]:
    """Per level: its word, rows, phases, the most rows that a row could see, its window, and if that is all of them."""
    hierarchy, tokens = hierarchy_of(shape, options), shape.seq_len
    return {
        "dim": hierarchy.dim,
        "depth": hierarchy.depth,
        "parameters": hierarchy.parameters(),
        "levels": [level.word for level in hierarchy.levels],
        "rows": [level.rows(tokens) for level in hierarchy.levels],
        "phases": [level.phases for level in hierarchy.levels],
        "lengths": [level.length(tokens) for level in hierarchy.levels],
        "windows": [level.window for level in hierarchy.levels],
        "full_attention": [level.full_attention(tokens) for level in hierarchy.levels],
    }


def _load() -> Callable[..., Any]:
    import torch

    from attention_impls.models.hierarchical import HierarchicalTransformer

    def make(
        shape: AttentionShape,
        options: Options,
        *,
        backend: str | None,
        device: torch.device | str,
        dtype: torch.dtype,
        seed: int,
    ) -> torch.nn.Module:
        h = hierarchy_of(shape, options)
        with torch.random.fork_rng(devices=[]):  # parameters are drawn on the CPU: the same for every device
            torch.default_generator.manual_seed(seed)
            model = HierarchicalTransformer(
                h.num_tokens,
                h.dim,
                h.depth,
                h.levels,
                reconstruction_weight=0.0,
                next_embedding_weight=0.0,
                backend=backend,
            )
        return model.to(device=device, dtype=dtype)

    return make


def _load_reference() -> Callable[..., Any]:
    from attention_impls.models.hierarchical_reference import hierarchical_logits

    def reference(parameters: Any, tokens: Any, shape: AttentionShape, options: Options) -> Any:
        return hierarchical_logits(parameters, tokens, hierarchy_of(shape, options))

    return reference


def _shape(shape: AttentionShape, _options: Options) -> AttentionShape:
    return replace(shape, causal=True, kv_heads=shape.heads)


def _work(shape: AttentionShape, options: Options, passes: str, element_bytes: int) -> Work:
    return hierarchical_work(hierarchy_of(shape, options), shape.batch, shape.seq_len, passes, element_bytes)


def _reference_tokens(shape: AttentionShape, options: Options) -> int:
    """Where every level has more rows than its window, or two; less where that is beyond the reference."""
    levels = hierarchy_of(shape, options).levels
    enough = max(level.compression * max(level.window or 0, 2) + 1 for level in levels)
    return min(shape.seq_len, REFERENCE_TOKENS, enough)


HIERARCHICAL = Implementation(
    name="hierarchical",
    summary="a language model on several levels of compression, each with local attention, merged to predict",
    load=_load,
    details=_details,
    defaults=_DEFAULTS,
    takes_backend=True,
    model=Model(
        load=_load,
        load_reference=_load_reference,
        vocab=lambda options: int(options.get("vocab", _DEFAULTS["vocab"])),
        shape=_shape,
        work=_work,
        reference_tokens=_reference_tokens,
    ),
)
