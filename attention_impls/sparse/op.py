"""Sparse and sliding-window attention as functions of tensors."""

from __future__ import annotations

from typing import Literal, overload

from torch import Tensor

from attention_impls.kernels.heads import check_qkv
from attention_impls.kernels.registry import get_backend
from attention_impls.shape import AttentionShape
from attention_impls.sparse.autograd import SparseAttention
from attention_impls.sparse.pattern import SparsePattern, sparse_pattern, window_pattern


def shape_of(q: Tensor, k: Tensor, v: Tensor, causal: bool) -> AttentionShape:
    """The shape of the attention problem; raises ValueError if q, k and v do not go together."""
    check_qkv(q, k, v)
    batch, seq_len, heads, head_dim = q.shape
    return AttentionShape(seq_len, batch, heads, k.shape[2], head_dim, causal)


def attend(
    q: Tensor, k: Tensor, v: Tensor, pattern: SparsePattern, scale: float | None, backend: str | None
) -> tuple[Tensor, Tensor]:
    """(out, lse) of q, k and v of ``pattern.shape``, as :func:`sparse_attention` returns them.

    Raises:
        Unsupported: the back end does not exist, or not for these inputs on this machine.
    """
    kernel = get_backend(backend, q.device.type, q.dtype, q.shape[3])
    factor = q.shape[3] ** -0.5 if scale is None else scale
    out, lse = SparseAttention.apply(q, k, v, pattern, factor, kernel)  # type: ignore[no-untyped-call]
    return out, lse


@overload
def sparse_attention(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    *,
    pattern: str = ...,
    stride: int | None = ...,
    columns: int | None = ...,
    causal: bool = ...,
    scale: float | None = ...,
    backend: str | None = ...,
    return_lse: Literal[False] = ...,
) -> Tensor: ...
@overload
def sparse_attention(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    *,
    pattern: str = ...,
    stride: int | None = ...,
    columns: int | None = ...,
    causal: bool = ...,
    scale: float | None = ...,
    backend: str | None = ...,
    return_lse: Literal[True],
) -> tuple[Tensor, Tensor]: ...
def sparse_attention(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    *,
    pattern: str = "strided",
    stride: int | None = None,
    columns: int | None = None,
    causal: bool = False,
    scale: float | None = None,
    backend: str | None = None,
    return_lse: bool = False,
) -> Tensor | tuple[Tensor, Tensor]:
    """The Sparse Transformer's attention (Child et al., 2019, arXiv:1904.10509, section 4.3; 5.1: merged head).

    Every query sees the union of both factors, each key once. ``strided``: the keys less than ``stride``
    away and those a multiple of ``stride`` away. ``fixed``: its own block of ``stride`` tokens, and the
    last ``columns`` places of every other block. The work is that of these pairs, O(N sqrt N) at the
    default stride: nothing is computed and then masked. Differentiable in q, k and v.

    Args:
        q: (batch, seq, heads, head_dim).
        k: (batch, seq, kv_heads, head_dim); kv_heads divides heads.
        v: like k.
        pattern: "strided" or "fixed".
        stride: l, in tokens; round(sqrt(seq)) if None. One longer than seq is full attention.
        columns: c, of the fixed pattern only; 8, or the stride if that is less, if None.
        causal: query t sees keys at or before t only.
        scale: factor on the scores; 1 / sqrt(head_dim) if None.
        backend: a name of :func:`attention_impls.kernels.registry.backends`; the best supported if None.
        return_lse: also return the log-sum-exp of the scores.

    Returns:
        out, like q; with ``return_lse`` (out, lse), lse being (batch, heads, seq) in natural-log units,
        fp32 (fp64 for fp64 inputs) and not differentiable.

    Raises:
        ValueError: shapes or options that do not go together.
        Unsupported: the back end does not exist, or not for these inputs on this machine.
    """
    chosen = sparse_pattern(shape_of(q, k, v, causal), pattern, stride, columns)
    out, lse = attend(q, k, v, chosen, scale, backend)
    return (out, lse) if return_lse else out


@overload
def sliding_window_attention(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    *,
    window: int,
    causal: bool = ...,
    scale: float | None = ...,
    backend: str | None = ...,
    return_lse: Literal[False] = ...,
) -> Tensor: ...
@overload
def sliding_window_attention(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    *,
    window: int,
    causal: bool = ...,
    scale: float | None = ...,
    backend: str | None = ...,
    return_lse: Literal[True],
) -> tuple[Tensor, Tensor]: ...
def sliding_window_attention(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    *,
    window: int,
    causal: bool = False,
    scale: float | None = None,
    backend: str | None = None,
    return_lse: bool = False,
) -> Tensor | tuple[Tensor, Tensor]:
    """Attention to the nearest keys: t - window + 1 to t if causal, else those less than ``window`` away.

    The window of Longformer (Beltagy et al., 2020, arXiv:2004.05150, section 3.1), with no waste: blocks
    of ``window`` tokens and the triangles between neighbours. Differentiable in q, k and v.

    Args:
        q: (batch, seq, heads, head_dim).
        k: (batch, seq, kv_heads, head_dim); kv_heads divides heads.
        v: like k.
        window: W, in tokens, the query's own included. One longer than seq is full attention.
        causal: query t sees keys at or before t only.
        scale: factor on the scores; 1 / sqrt(head_dim) if None.
        backend: a name of :func:`attention_impls.kernels.registry.backends`; the best supported if None.
        return_lse: also return the log-sum-exp of the scores.

    Returns:
        out, like q; with ``return_lse`` (out, lse), as :func:`sparse_attention` has it.

    Raises:
        ValueError: shapes or a window that do not go together.
        Unsupported: the back end does not exist, or not for these inputs on this machine.
    """
    out, lse = attend(q, k, v, window_pattern(shape_of(q, k, v, causal), window), scale, backend)
    return (out, lse) if return_lse else out
