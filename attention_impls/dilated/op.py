"""Dilated attention as a function of tensors."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, overload

from torch import Tensor

from attention_impls.dilated.autograd import DilatedAttention
from attention_impls.dilated.pattern import OFFSETS
from attention_impls.dilated.schedule import Schedule
from attention_impls.kernels.heads import check_qkv
from attention_impls.kernels.registry import get_backend


@overload
def dilated_attention(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    *,
    segments: Sequence[int],
    dilations: Sequence[int],
    causal: bool = ...,
    scale: float | None = ...,
    offsets: str = ...,
    mixing_gradient: str = ...,
    backend: str | None = ...,
    return_lse: Literal[False] = ...,
) -> Tensor: ...
@overload
def dilated_attention(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    *,
    segments: Sequence[int],
    dilations: Sequence[int],
    causal: bool = ...,
    scale: float | None = ...,
    offsets: str = ...,
    mixing_gradient: str = ...,
    backend: str | None = ...,
    return_lse: Literal[True],
) -> tuple[Tensor, Tensor]: ...
def dilated_attention(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    *,
    segments: Sequence[int],
    dilations: Sequence[int],
    causal: bool = False,
    scale: float | None = None,
    offsets: str = "paper",
    mixing_gradient: str = "exact",
    backend: str | None = None,
    return_lse: bool = False,
) -> Tensor | tuple[Tensor, Tensor]:
    """LongNet's dilated attention (Ding et al., 2023, arXiv:2307.02486, equations 7 to 12).

    Branch i cuts the sequence into segments of ``segments[i]`` tokens and keeps every
    ``dilations[i]``-th of each, starting at the head's own offset; kept tokens attend to the kept
    tokens of their segment. Branches are mixed by the softmax of their log-sum-exps, which equals one
    softmax over all the keys a token sees, a key seen by m branches counting m times. A token that is
    in no branch of a head gets 0 there. Differentiable in q, k and v.

    Args:
        q: (batch, seq, heads, head_dim).
        k: (batch, seq, kv_heads, head_dim); kv_heads divides heads.
        v: like k.
        segments: segment length w of each branch, in tokens; one longer than seq is one segment.
        dilations: dilation rate r of each branch.
        causal: query t sees keys at or before t only.
        scale: factor on the scores; 1 / sqrt(head_dim) if None.
        offsets: which tokens of a segment head j keeps: "paper" from j mod r, "grouped" from
            j // ceil(heads / r).
        mixing_gradient: "exact", or "detached" to treat the mixing weights as constants.
        backend: a name of :func:`attention_impls.kernels.registry.backends`; the best supported if None.
        return_lse: also return the log-sum-exp of the scores.

    Returns:
        out, like q; with ``return_lse`` (out, lse), lse being (batch, heads, seq) in natural-log units,
        fp32 (fp64 for fp64 inputs), -inf where a token is in no branch, and not differentiable.

    Raises:
        ValueError: shapes or options that do not go together.
        Unsupported: the back end does not exist, or not for these inputs on this machine.
    """
    check_qkv(q, k, v)
    schedule = Schedule.of(segments, dilations)
    if offsets not in OFFSETS:
        raise ValueError(f"unknown offsets {offsets!r}: choose {' or '.join(OFFSETS)}")
    if mixing_gradient not in ("exact", "detached"):
        raise ValueError(f"unknown mixing gradient {mixing_gradient!r}: choose exact or detached")
    kernel = get_backend(backend, q.device.type, q.dtype, q.shape[3])
    factor = q.shape[3] ** -0.5 if scale is None else scale
    out, lse = DilatedAttention.apply(  # type: ignore[no-untyped-call]
        q, k, v, schedule, offsets, mixing_gradient, causal, factor, kernel
    )
    return (out, lse) if return_lse else out
