"""Vanilla attention: exact softmax over all keys, through any back end."""

from __future__ import annotations

from typing import Any, Literal, overload

import torch
from torch import Tensor

from attention_impls.kernels.base import Backend
from attention_impls.kernels.heads import check_qkv, repeat_kv, sum_groups
from attention_impls.kernels.registry import get_backend


class _Vanilla(torch.autograd.Function):
    """Saves q, k, v, out and lse, like every flash attention; the back end recomputes the rest."""

    @staticmethod
    def forward(ctx: Any, q: Tensor, k: Tensor, v: Tensor, causal: bool, scale: float, backend: Backend) -> Any:
        group = q.shape[2] // k.shape[2]
        out, lse = backend.forward(q, repeat_kv(k, group), repeat_kv(v, group), causal, scale)
        ctx.save_for_backward(q, k, v, out, lse)
        ctx.call = (causal, scale, backend)
        ctx.mark_non_differentiable(lse)
        return out, lse

    @staticmethod
    def backward(ctx: Any, *grads: Any) -> Any:
        q, k, v, out, lse = ctx.saved_tensors
        causal, scale, backend = ctx.call
        group = q.shape[2] // k.shape[2]
        dq, dk, dv = backend.backward(grads[0], q, repeat_kv(k, group), repeat_kv(v, group), out, lse, causal, scale)
        return dq, sum_groups(dk, group), sum_groups(dv, group), None, None, None


@overload
def vanilla_attention(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    *,
    causal: bool = ...,
    scale: float | None = ...,
    backend: str | None = ...,
    return_lse: Literal[False] = ...,
) -> Tensor: ...
@overload
def vanilla_attention(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    *,
    causal: bool = ...,
    scale: float | None = ...,
    backend: str | None = ...,
    return_lse: Literal[True],
) -> tuple[Tensor, Tensor]: ...
def vanilla_attention(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    *,
    causal: bool = False,
    scale: float | None = None,
    backend: str | None = None,
    return_lse: bool = False,
) -> Tensor | tuple[Tensor, Tensor]:
    """softmax(scale * q k^T) v (Vaswani et al., 2017, equation 1), differentiable in q, k and v.

    Args:
        q: (batch, seq, heads, head_dim).
        k: (batch, seq, kv_heads, head_dim); kv_heads divides heads.
        v: like k.
        causal: query t sees keys 0..t only.
        scale: factor on the scores; 1 / sqrt(head_dim) if None.
        backend: a name of :func:`attention_impls.kernels.registry.backends`; the best supported if None.
        return_lse: also return the log-sum-exp of the scores.

    Returns:
        out, like q; with ``return_lse`` (out, lse), lse being (batch, heads, seq) in natural-log units,
        fp32 (fp64 for fp64 inputs) and not differentiable.

    Raises:
        ValueError: shapes that do not go together.
        Unsupported: the back end does not exist, or not for these inputs on this machine.
    """
    check_qkv(q, k, v)
    kernel = get_backend(backend, q.device.type, q.dtype, q.shape[3])
    factor = q.shape[3] ** -0.5 if scale is None else scale
    out, lse = _Vanilla.apply(q, k, v, causal, factor, kernel)  # type: ignore[no-untyped-call]
    return (out, lse) if return_lse else out
