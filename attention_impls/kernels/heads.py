"""Grouped-query attention for kernels that want as many key heads as query heads."""

from __future__ import annotations

from torch import Tensor


def repeat_kv(x: Tensor, group_size: int) -> Tensor:
    """(batch, seq, kv_heads, d) -> (batch, seq, kv_heads * group_size, d); a view if there is nothing to do."""
    return x if group_size == 1 else x.repeat_interleave(group_size, dim=2)


def sum_groups(grad: Tensor, group_size: int) -> Tensor:
    """The gradient of :func:`repeat_kv`."""
    if group_size == 1:
        return grad
    batch, seq, heads, head_dim = grad.shape
    return grad.view(batch, seq, heads // group_size, group_size, head_dim).sum(3)


def check_qkv(q: Tensor, k: Tensor, v: Tensor) -> int:
    """Check (batch, seq, heads, head_dim) inputs of one length; returns query heads per key head.

    Raises:
        ValueError: shapes, dtypes or devices that do not go together.
    """
    for name, x in (("q", q), ("k", k), ("v", v)):
        if x.dim() != 4:
            raise ValueError(f"{name} must be (batch, seq, heads, head_dim), not of shape {tuple(x.shape)}")
        if x.dtype != q.dtype or x.device != q.device:
            raise ValueError(f"{name} is {x.dtype} on {x.device}, but q is {q.dtype} on {q.device}")
    if k.shape != v.shape:
        raise ValueError(f"k and v differ in shape: {tuple(k.shape)} and {tuple(v.shape)}")
    if (q.shape[0], q.shape[1], q.shape[3]) != (k.shape[0], k.shape[1], k.shape[3]):
        raise ValueError(f"q {tuple(q.shape)} and k {tuple(k.shape)} differ in batch, seq or head_dim")
    if 0 in q.shape:
        raise ValueError(f"q is empty: {tuple(q.shape)}")
    if q.shape[2] % k.shape[2]:
        raise ValueError(f"q's heads ({q.shape[2]}) must be a multiple of k's ({k.shape[2]})")
    return q.shape[2] // k.shape[2]
