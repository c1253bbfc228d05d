"""The definition, written out: one softmax over the multiset of keys a pattern names."""

from __future__ import annotations

import torch
from torch import Tensor

from attention_impls.pattern import Pattern


def multiplicity(pattern: Pattern) -> Tensor:
    """How often each (head, query) sees each key: (heads, seq, seq), float64."""
    n, heads = pattern.shape.seq_len, pattern.shape.heads
    counts = torch.zeros(heads, n, n, dtype=torch.float64)
    for head in range(heads):
        for query in range(n):
            for keys in pattern.key_ranges(head, query):
                counts[head, query, list(keys)] += 1
    return counts


def dense_attention(
    q: Tensor, k: Tensor, v: Tensor, counts: Tensor, scale: float, return_lse: bool = False
) -> Tensor | tuple[Tensor, Tensor]:
    """softmax(scores + log multiplicity) v with every score held; zeros where a query sees nothing."""
    group = q.shape[2] // k.shape[2]
    k, v = k.repeat_interleave(group, 2), v.repeat_interleave(group, 2)
    scores = torch.einsum("bqhd,bkhd->bhqk", q, k) * scale + counts.to(q.dtype).log()
    lonely = (counts.sum(-1) == 0)[None, :, :, None]
    p = scores.masked_fill(lonely, 0).softmax(-1).masked_fill(lonely, 0)
    out = torch.einsum("bhqk,bkhd->bqhd", p, v)
    return (out, scores.logsumexp(-1)) if return_lse else out
