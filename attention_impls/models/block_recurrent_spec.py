"""The Block-Recurrent Transformer as an entry of the registry: :mod:`attention_impls.models.block_recurrent`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from attention_impls.api import Implementation, Model, Options, Work
from attention_impls.models.block_recurrent_config import (
    DEFAULT_COMPRESSION_FACTOR,
    DEFAULT_QK_NORM_SCALE,
    BlockRecurrentConfig,
    upper_layer,
)
from attention_impls.models.block_recurrent_work import Blocks, block_recurrent_work
from attention_impls.shape import AttentionShape

if TYPE_CHECKING:
    import torch

_REFERENCE_FLOPS = 1.6e12
"""What a float64 reference may cost: some fifty seconds of one CPU core. Less would leave out the second block, and
with it memory and state, of the published sizes."""

DEFAULTS: Options = {
    "depth": 2,
    "ff_mult": 4,
    "vocab": 256,
    "block_width": 512,
    "states": 512,
    "qk_norm": False,
    "compressed_memory": None,
    "bptt": None,
}


def config_of(shape: AttentionShape, options: Options) -> BlockRecurrentConfig:
    """What ``options`` come to at ``shape``: a width of heads times head dim, one recurrent layer.

    Raises:
        ValueError: options that do not fit.
    """
    given = {**DEFAULTS, **options}
    depth = given["depth"]
    layers = tuple(range(1, depth + 1))
    return BlockRecurrentConfig(
        num_tokens=given["vocab"],
        dim=shape.heads * shape.head_dim,
        depth=depth,
        heads=shape.heads,
        kv_heads=shape.kv_heads,
        dim_head=shape.head_dim,
        ff_mult=given["ff_mult"],
        block_width=given["block_width"],
        num_state_vectors=given["states"],
        recurrent_layers=(upper_layer(depth),),
        xl_memories_layers=layers,
        qk_norm_layers=layers if given["qk_norm"] else (),
        qk_norm_scale=DEFAULT_QK_NORM_SCALE,
        compressed_memory=given["compressed_memory"],
        compression_factor=DEFAULT_COMPRESSION_FACTOR,
    )


def _bptt(options: Options) -> int | None:
    bptt = options.get("bptt")
    if bptt is not None and bptt < 1:
        raise ValueError(f"bptt must be at least 1 block, or left out for all, not {bptt}")
    return bptt


def _blocks(shape: AttentionShape, options: Options) -> Blocks:
    return Blocks(config_of(shape, options), shape.seq_len, _bptt(options))


def _details(shape: AttentionShape, options: Options) -> dict[str, Any]:
    """``blocks``: of a sequence; a time divided by it is the time per block."""
    blocks = _blocks(shape, options)
    config = blocks.config
    return {
        "blocks": blocks.touched,
        "recurrent_layers": list(config.recurrent_layers),
        "dim": config.dim,
        "depth": config.depth,
        "parameters": config.parameters(),
    }


def _work(shape: AttentionShape, options: Options, passes: str, element_bytes: int) -> Work:
    return block_recurrent_work(
        config_of(shape, options), _shape(shape, options), _bptt(options), passes, element_bytes
    )


def _shape(shape: AttentionShape, _options: Options) -> AttentionShape:
    """Causal; key heads as they are asked for."""
    return replace(shape, causal=True)


def _vocab(options: Options) -> int:
    return int({**DEFAULTS, **options}["vocab"])


def _reference_tokens(shape: AttentionShape, options: Options) -> int:
    """Two blocks and part of a third: memory and state act from the second on, compressed keys in the third.

    Fewer, down to 64 tokens, where that would cost more than :data:`_REFERENCE_FLOPS` (forward, recomputed attention
    and backward: four times the forward).
    """
    config = config_of(shape, options)
    width = config.block_width
    for wanted in (2 * width + width // 2 + 1, width + width // 8 + 1, 1024, 512, 256, 128):
        tokens = min(wanted, shape.seq_len)
        one = replace(shape, seq_len=tokens, batch=1)
        if 4 * block_recurrent_work(config, one, None, "fwd", 8).cost.flops <= _REFERENCE_FLOPS:
            return tokens
    return min(64, shape.seq_len)


def _load() -> Callable[..., Any]:
    from dataclasses import asdict

    from attention_impls.models.block_recurrent import seeded_logits

    def make(
        shape: AttentionShape,
        options: Options,
        *,
        backend: str | None,
        device: torch.device | str,
        dtype: torch.dtype,
        seed: int,
    ) -> Any:
        arguments = {**asdict(config_of(shape, options)), "backend": backend}
        return seeded_logits(arguments, _bptt(options), device, dtype, seed)

    return make


def _load_reference() -> Callable[..., Any]:
    from attention_impls.models.block_recurrent_reference import reference_logits

    def reference(
        parameters: dict[str, torch.Tensor], tokens: torch.Tensor, shape: AttentionShape, options: Options
    ) -> torch.Tensor:
        named = {name.removeprefix("model."): value for name, value in parameters.items()}
        return reference_logits(named, tokens, config_of(shape, options), _bptt(options))

    return reference


BLOCK_RECURRENT = Implementation(
    name="block-recurrent",
    summary="Block-Recurrent Transformer: blocks with the previous block's keys, and a recurrent state",
    load=_load,
    details=_details,
    defaults=DEFAULTS,
    takes_backend=True,
    model=Model(
        load=_load,
        load_reference=_load_reference,
        vocab=_vocab,
        shape=_shape,
        work=_work,
        reference_tokens=_reference_tokens,
    ),
)
