"""Summary rows of the fixed pattern: the last columns of every block, side by side."""

from __future__ import annotations

import torch
from torch import Tensor

from attention_impls.sparse.pattern import FixedPattern


def _views(x: Tensor, pattern: FixedPattern) -> tuple[Tensor, Tensor]:
    """The summary places of x (batch, seq, heads, d): of full blocks (batch, blocks, columns, ...), of the last."""
    stride = pattern.stride
    full = x.shape[1] // stride
    first = stride - pattern.columns
    blocks = x[:, : full * stride].unflatten(1, (full, stride))[:, :, first:]
    return blocks, x[:, full * stride + first :]


def gather_summary(x: Tensor, pattern: FixedPattern) -> Tensor:
    """(batch, seq, heads, d) -> (batch, summary rows, heads, d), in the order of the sequence."""
    blocks, last = _views(x, pattern)
    return torch.cat([blocks.flatten(1, 2), last], 1)


def summary_accumulator(summary: Tensor) -> Tensor:
    """Zeros for the gradient of ``summary``, to which many parts add: at least fp32."""
    return torch.zeros_like(summary, dtype=torch.promote_types(summary.dtype, torch.float32))


def add_summary(grad: Tensor, summary_grad: Tensor, pattern: FixedPattern) -> None:
    """Add the gradient of :func:`gather_summary` to ``grad``, in place."""
    blocks, last = _views(grad, pattern)
    rows = blocks.shape[1] * pattern.columns
    blocks += summary_grad[:, :rows].unflatten(1, blocks.shape[1:3])
    last += summary_grad[:, rows:]
