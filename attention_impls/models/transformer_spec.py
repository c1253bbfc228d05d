"""The transformer as an entry of the registry, and how any such model becomes one; no torch here."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from attention_impls.api import Implementation, Model, Options, Work, none_idle
from attention_impls.models.sizes import (
    SIZE_DEFAULTS,
    architecture_of,
    model_shape,
    reference_length,
    transformer_work,
)
from attention_impls.shape import AttentionShape
from attention_impls.sparse.spec import SLIDING_WINDOW, SPARSE
from attention_impls.vanilla_spec import VANILLA

if TYPE_CHECKING:
    import torch

    from attention_impls.models.transformer import Transformer


@dataclass(frozen=True, slots=True)
class AttentionChoice:
    """An attention of the registry, with options that mean the same at every length.

    Attributes:
        implementation: the attention.
        options: its options.
        boundary: from which token on a query does not see all keys before it; 1 if it always does.
    """

    implementation: Implementation
    options: Options
    boundary: int


Choose = Callable[[AttentionShape, Options], AttentionChoice]
"""The attention that a model's options come to at the model's shape; raises ValueError if they do not fit."""

_OWN_OPTIONS: dict[str, tuple[Implementation, tuple[str, ...]]] = {
    "vanilla": (VANILLA, ()),
    "sparse": (SPARSE, ("pattern", "stride", "columns")),
    "sliding-window": (SLIDING_WINDOW, ("window",)),
}
"""The attentions a transformer takes, and the options that belong to each."""


def language_model(
    name: str,
    summary: str,
    choose: Choose,
    defaults: Options,
    load: Callable[[], Callable[..., Any]],
    idle: Callable[[Options], frozenset[str]] = none_idle,
) -> Implementation:
    """A :class:`~attention_impls.models.transformer.Transformer` as an implementation of kind ``model``.

    Args:
        name: as given on the command line and recorded.
        summary: one line for ``longbench list impls``.
        choose: its attention.
        defaults: options beside those of :data:`~attention_impls.models.sizes.SIZE_DEFAULTS`.
        load: as :attr:`attention_impls.api.Model.load`.
        idle: as :attr:`attention_impls.api.Implementation.idle`.
    """

    def work(shape: AttentionShape, options: Options, passes: str, element_bytes: int) -> Work:
        real = model_shape(shape, options)
        chosen = choose(real, options)
        pattern = chosen.implementation.pattern(real, chosen.options)
        return transformer_work(architecture_of(real, options), pattern, passes, element_bytes)

    def reference_tokens(shape: AttentionShape, options: Options) -> int:
        real = model_shape(shape, options)
        return reference_length(architecture_of(real, options), real.seq_len, choose(real, options).boundary)

    def details(shape: AttentionShape, options: Options) -> dict[str, Any]:
        real = model_shape(shape, options)
        chosen, architecture = choose(real, options), architecture_of(real, options)
        return {
            **chosen.implementation.details(real, chosen.options),
            "dim": architecture.dim,
            "depth": architecture.depth,
            "parameters": architecture.parameters,
        }

    def load_reference() -> Callable[..., Any]:
        from attention_impls.models.transformer_reference import transformer_logits

        def reference(parameters: Any, tokens: Any, shape: AttentionShape, options: Options) -> Any:
            real = model_shape(shape, options)
            chosen = choose(real, options)
            pattern = chosen.implementation.pattern(real, chosen.options)
            return transformer_logits(parameters, tokens, architecture_of(real, options), pattern)

        return reference

    return Implementation(
        name=name,
        summary=summary,
        load=load,
        details=details,
        defaults={**SIZE_DEFAULTS, **defaults},
        idle=idle,
        takes_backend=True,
        model=Model(
            load=load,
            load_reference=load_reference,
            vocab=lambda options: int(options.get("vocab") or SIZE_DEFAULTS["vocab"]),
            shape=model_shape,
            work=work,
            reference_tokens=reference_tokens,
        ),
    )


def _choose(shape: AttentionShape, options: Options) -> AttentionChoice:
    name = options.get("attention") or "vanilla"
    if name not in _OWN_OPTIONS:
        raise ValueError(f"unknown attention {name!r}: choose {', '.join(_OWN_OPTIONS)}")
    implementation, own = _OWN_OPTIONS[name]
    for other, (_, names) in _OWN_OPTIONS.items():
        for option in names:
            if other != name and options.get(option) is not None:
                raise ValueError(f"{option} belongs to attention {other}, not {name}: leave it out")
    given = {option: options[option] for option in own if options.get(option) is not None}
    settled = implementation.details(shape, given)  # what follows from the length is fixed at this one
    chosen = {option: given.get(option, settled.get(option)) for option in own if option in given or option in settled}
    return AttentionChoice(implementation, chosen, chosen.get("stride") or chosen.get("window") or 1)


def _idle(options: Options) -> frozenset[str]:
    """Options of the attentions that are not chosen, and those that the chosen one leaves idle."""
    name = options.get("attention") or "vanilla"
    if name not in _OWN_OPTIONS:
        return frozenset()
    implementation, own = _OWN_OPTIONS[name]
    others = {option for _, names in _OWN_OPTIONS.values() for option in names} - set(own)
    return frozenset(others | (implementation.idle(options) & set(own)))


def _load() -> Callable[..., Any]:
    from attention_impls.models.transformer import CausalAttention, Transformer, seeded

    def make(
        shape: AttentionShape,
        options: Options,
        *,
        backend: str | None,
        device: torch.device | str,
        dtype: torch.dtype,
        seed: int,
    ) -> Transformer:
        chosen = _choose(model_shape(shape, options), options)
        attention = CausalAttention(chosen.implementation, chosen.options, backend)
        return seeded(Transformer(architecture_of(shape, options), attention, device="meta", dtype=dtype), device, seed)

    return make


TRANSFORMER = language_model(
    name="transformer",
    summary="the network of longnet with vanilla, sparse or sliding-window attention",
    choose=_choose,
    defaults={"attention": "vanilla", "window": None, "pattern": None, "stride": None, "columns": None},
    load=_load,
    idle=_idle,
)
