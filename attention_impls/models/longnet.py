"""LongNet as a language model (Ding et al., 2023, arXiv:2307.02486), and generation with it."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Generator, Tensor

from attention_impls.dilated.spec import DILATED
from attention_impls.models.sizes import Architecture
from attention_impls.models.transformer import CausalAttention, Transformer


class LongNetTransformer(Transformer):
    """A decoder-only language model with dilated attention in every block.

    Sub-LN and its initialisation, XPOS and (by default) SwiGLU are those of
    :class:`attention_impls.models.transformer.Transformer`. Segments and dilations are fixed, whatever the length
    of the input: :func:`attention_impls.dilated.schedule.named_schedule` makes those of a length to train for.

    Args:
        num_tokens: size of the vocabulary.
        dim: features of the residual stream.
        depth: blocks.
        heads: attention heads in a block.
        dim_head: features of a head, even.
        ff_mult: width inside the feed-forward over ``dim``; two thirds of it for SwiGLU.
        segments: segment length of each branch, in tokens.
        dilations: dilation rate of each branch.
        feed_forward: "swiglu" or "gelu".
        qk_norm: RMS-normalise q and k, a head at a time, with a learned scale.
        parallel_block: attention and feed-forward read the same input.
        offsets: which tokens of a segment a head keeps: "paper" or "grouped"; see
            :func:`attention_impls.dilated_attention`.
        backend: a name of :func:`attention_impls.kernels.registry.backends`; the best supported if None.
        device: of the parameters; as usual in torch.
        dtype: of the parameters; as usual in torch.

    Raises:
        ValueError: sizes or options that do not fit.
    """

    def __init__(
        self,
        num_tokens: int,
        dim: int,
        depth: int,
        heads: int,
        dim_head: int,
        ff_mult: float,
        segments: Sequence[int],
        dilations: Sequence[int],
        *,
        feed_forward: str = "swiglu",
        qk_norm: bool = False,
        parallel_block: bool = False,
        offsets: str = "paper",
        backend: str | None = None,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        architecture = Architecture(
            num_tokens, dim, depth, heads, dim_head, ff_mult, feed_forward, qk_norm, parallel_block
        )
        options = {"segments": list(segments), "dilations": list(dilations), "offsets": offsets}
        super().__init__(architecture, CausalAttention(DILATED, options, backend), device=device, dtype=dtype)


@torch.no_grad()
def generate(
    model: Transformer,
    prompt: Tensor,
    new_tokens: int,
    *,
    temperature: float = 1.0,
    top_k: int | None = None,
    generator: Generator | None = None,
) -> Tensor:
    """Go on from ``prompt`` for ``new_tokens``, each drawn from the logits of all before it.

    A cache holds keys and values, so a token costs one row of the attention, and its logits are those of a
    full forward.

    Args:
        model: any transformer of this package.
        prompt: (batch, n) int64, n at least 1, on the model's device.
        new_tokens: how many.
        temperature: what logits are divided by; 0 takes the likeliest.
        top_k: draw from the likeliest k only; from all if None.
        generator: what is drawn from; torch's own if None.

    Returns:
        prompt and new tokens, (batch, n + new_tokens).

    Raises:
        ValueError: an argument out of range.
    """
    if prompt.dim() != 2 or 0 in prompt.shape:
        raise ValueError(f"prompt must be (batch, n), at least one of each, not of shape {tuple(prompt.shape)}")
    if new_tokens < 0:
        raise ValueError(f"new_tokens must be at least 0, not {new_tokens}")
    if temperature < 0:
        raise ValueError(f"temperature must be at least 0, not {temperature}")
    if top_k is not None and top_k < 1:
        raise ValueError(f"top_k must be at least 1, not {top_k}")
    batch, n = prompt.shape
    tokens = torch.cat([prompt, prompt.new_empty(batch, new_tokens)], 1)
    cache = model.cache(batch, n + new_tokens)
    for stop in range(n, n + new_tokens):
        logits = model(tokens[:, cache.length : stop], cache)[:, -1]
        tokens[:, stop] = _next_token(logits, temperature, top_k, generator)
    return tokens


def _next_token(logits: Tensor, temperature: float, top_k: int | None, generator: Generator | None) -> Tensor:
    """One token a sequence, (batch,), of logits (batch, vocab)."""
    if temperature == 0:
        return logits.argmax(-1)
    scaled = logits.float() / temperature
    if top_k is not None and top_k < scaled.shape[-1]:
        best = scaled.topk(top_k, -1)
        scaled = torch.full_like(scaled, float("-inf")).scatter(-1, best.indices, best.values)
    return torch.multinomial(scaled.softmax(-1), 1, generator=generator)[:, 0]
