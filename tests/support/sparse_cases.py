"""Sparse patterns nobody would choose on purpose, and the definition of each written out."""

from __future__ import annotations

from typing import Any

import torch
from hypothesis import strategies as st
from torch import Tensor

from attention_impls import sliding_window_attention, sparse_attention
from attention_impls.shape import AttentionShape
from attention_impls.sparse.pattern import FixedPattern, SlidingWindowPattern, SparsePattern, StridedPattern


@st.composite
def sparse_patterns(draw: st.DrawFn, longest: int = 40) -> SparsePattern:
    """Any of the three, at lengths with and without a ragged end, down to one token and blocks beyond the end."""
    kv_heads = draw(st.integers(1, 2))
    shape = AttentionShape(
        seq_len=draw(st.integers(1, longest)),
        batch=draw(st.integers(1, 2)),
        heads=kv_heads * draw(st.integers(1, 2)),
        kv_heads=kv_heads,
        head_dim=draw(st.sampled_from([1, 3, 8])),
        causal=draw(st.booleans()),
    )
    size = draw(st.integers(1, shape.seq_len + 5))
    kind = draw(st.sampled_from(["window", "strided", "fixed"]))
    if kind == "window":
        return SlidingWindowPattern(shape, size)
    if kind == "strided":
        return StridedPattern(shape, size)
    return FixedPattern(shape, size, draw(st.integers(1, size)))


def definition(pattern: SparsePattern) -> Tensor:
    """Whether each query sees each key, (seq, seq) bool: the formulas of Child et al., section 4.3, mirrored."""
    places = torch.arange(pattern.shape.seq_len)
    i, j = places[:, None], places[None, :]
    if isinstance(pattern, SlidingWindowPattern):
        seen = (i - j).abs() < pattern.window
    elif isinstance(pattern, StridedPattern):  # the paper's window holds the first column as well
        seen = ((i - j).abs() <= pattern.stride) | ((i - j) % pattern.stride == 0)
    else:
        own = i // pattern.stride == j // pattern.stride
        seen = own | (j % pattern.stride >= pattern.stride - pattern.columns)
    return seen & (j <= i) if pattern.shape.causal else seen


def inputs(pattern: SparsePattern, seed: int, dtype: torch.dtype = torch.float64) -> list[Tensor]:
    """q, k and v of the pattern's shape, with gradients."""
    shape = pattern.shape
    generator = torch.Generator().manual_seed(seed)
    sizes = [(shape.batch, shape.seq_len, heads, shape.head_dim) for heads in (shape.heads, *[shape.kv_heads] * 2)]
    return [torch.randn(size, dtype=dtype, generator=generator).requires_grad_() for size in sizes]


def run(pattern: SparsePattern, q: Tensor, k: Tensor, v: Tensor, **more: Any) -> Any:
    """The public function that computes ``pattern``."""
    causal = pattern.shape.causal
    if isinstance(pattern, SlidingWindowPattern):
        return sliding_window_attention(q, k, v, window=pattern.window, causal=causal, **more)
    if isinstance(pattern, StridedPattern):
        return sparse_attention(q, k, v, pattern="strided", stride=pattern.stride, causal=causal, **more)
    return sparse_attention(
        q, k, v, pattern="fixed", stride=pattern.stride, columns=pattern.columns, causal=causal, **more
    )
