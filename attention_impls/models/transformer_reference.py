"""A transformer's logits in float64, written out from the definitions: the truth that models are checked against.

It shares nothing with the modules but the names in their state dict. Attention is one softmax over the
multiset of keys that the pattern names, every score held, some rows at a time.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import count

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from attention_impls.models.sizes import Architecture
from attention_impls.pattern import Pattern

ROWS = 128
"""Queries at once: their scores over 2048 keys in 8 heads are 16 MiB. Kept for no block: the backward redoes them."""


def transformer_logits(
    parameters: Mapping[str, Tensor], tokens: Tensor, architecture: Architecture, pattern: Pattern
) -> Tensor:
    """Logits (batch, seq, vocab), float64, differentiable in ``parameters``.

    Args:
        parameters: a state dict of :class:`attention_impls.models.transformer.Transformer`, in float64.
        tokens: (batch, seq) int64; may be shorter than the pattern's length.
        architecture: for its heads, feed-forward and block; the sizes are those of the parameters.
        pattern: causal: which keys each query of a head sees.
    """
    p, a = parameters, architecture
    x = p["embedding.weight"][tokens] * p["embedding.weight"].shape[1] ** 0.5
    multiplicity = _multiplicity(pattern, a.heads, tokens.shape[1]).to(x.device)
    for block in count():
        name = f"blocks.{block}"
        if f"{name}.attention.qkv.weight" not in p:
            break
        attended = _attention(p, f"{name}.attention", x, a, multiplicity)
        if a.parallel_block:
            x = x + attended + _feed_forward(p, f"{name}.feed_forward", x, a)
        else:
            x = x + attended
            x = x + _feed_forward(p, f"{name}.feed_forward", x, a)
    return _layer_norm(p, "norm", x) @ p["logits.weight"].T


def _layer_norm(p: Mapping[str, Tensor], name: str, x: Tensor) -> Tensor:
    centred = x - x.mean(-1, keepdim=True)
    deviation = (centred.square().mean(-1, keepdim=True) + 1e-5).sqrt()
    return centred / deviation * p[f"{name}.weight"] + p[f"{name}.bias"]


def _rms_norm(p: Mapping[str, Tensor], name: str, x: Tensor) -> Tensor:
    return x / (x.square().mean(-1, keepdim=True) + 1e-6).sqrt() * p[f"{name}.weight"]


def _feed_forward(p: Mapping[str, Tensor], name: str, x: Tensor, a: Architecture) -> Tensor:
    hidden = _layer_norm(p, f"{name}.norm", x) @ p[f"{name}.fc1.weight"].T
    if a.feed_forward == "swiglu":
        width = hidden.shape[-1] // 2
        gate = hidden[..., :width]
        hidden = gate / (1 + torch.exp(-gate)) * hidden[..., width:]
    else:
        hidden = hidden * 0.5 * (1 + torch.erf(hidden / 2**0.5))
    return _layer_norm(p, f"{name}.inner_norm", hidden) @ p[f"{name}.fc2.weight"].T


def _attention(p: Mapping[str, Tensor], name: str, x: Tensor, a: Architecture, multiplicity: Tensor) -> Tensor:
    batch, seq, _ = x.shape
    qkv = _layer_norm(p, f"{name}.norm", x) @ p[f"{name}.qkv.weight"].T
    q, k, v = (part.reshape(batch, seq, a.heads, a.head_dim).transpose(1, 2) for part in qkv.chunk(3, -1))
    if a.qk_norm:
        q, k = _rms_norm(p, f"{name}.q_norm", q), _rms_norm(p, f"{name}.k_norm", k)
    q, k = _xpos(q, 1), _xpos(k, -1)
    rows = []
    for first in range(0, seq, ROWS):
        last = min(first + ROWS, seq)
        seen = multiplicity[:, first:last, :last]
        rows.append(
            checkpoint(_softmax_rows, q[:, :, first:last], k[:, :, :last], v[:, :, :last], seen, use_reentrant=False)
        )
    merged = torch.cat(rows, 2).transpose(1, 2).reshape(batch, seq, a.heads * a.head_dim)
    return _layer_norm(p, f"{name}.inner_norm", merged) @ p[f"{name}.out.weight"].T


def _softmax_rows(q: Tensor, k: Tensor, v: Tensor, seen: Tensor) -> Tensor:
    """Rows of softmax over a multiset: a key seen m times counts m times; zeros where nothing is seen."""
    scores = (q @ k.transpose(-2, -1) / q.shape[-1] ** 0.5).masked_fill(seen == 0, float("-inf"))
    highest = scores.detach().amax(-1, keepdim=True)
    weights = seen * torch.exp(scores - highest.masked_fill(highest == float("-inf"), 0))
    total = weights.sum(-1, keepdim=True)
    return weights @ v / total.masked_fill(total == 0, 1)


def _xpos(x: Tensor, sign: int) -> Tensor:
    """XPOS as a complex product: x (batch, heads, seq, d) of q (``sign`` 1) or k (-1); i is paired with i + d / 2.

    zeta ** (position / 512) as in the paper, not below exp(-80): see :func:`attention_impls.models.layers.xpos`.
    """
    seq, head_dim = x.shape[2:]
    half = head_dim // 2
    i = torch.arange(half, dtype=x.dtype, device=x.device)
    position = torch.arange(seq, dtype=x.dtype, device=x.device).unsqueeze(1)
    log_zeta = torch.log((2 * i / head_dim + 0.4) / 1.4)
    fading = sign * (position / 512 * log_zeta).clamp(min=-80)
    turned = torch.complex(x[..., :half], x[..., half:]) * torch.exp(
        torch.complex(fading, position * 10000 ** (-2 * i / head_dim))
    )
    return torch.cat((turned.real, turned.imag), -1)


def _multiplicity(pattern: Pattern, heads: int, seq: int) -> Tensor:
    """How often each (head, query) of the first ``seq`` tokens sees each key: (heads, seq, seq) int16."""
    counts = torch.zeros(heads, seq, seq, dtype=torch.int16)
    for head in range(heads):
        for query in range(seq):
            for keys in pattern.key_ranges(head, query):
                counts[head, query, keys.start : keys.stop : keys.step] += 1
    return counts
