"""Forward and backward of dilated attention, on any back end.

The backward never sees a branch's own output: a flash backward called with the *merged* out and lse
and the undivided grad_out yields exactly that branch's share of dq, dk and dv, the gradient through
the mixing weights included. So q, k, v, out and lse are all that is saved.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from attention_impls.dilated.merge import add_piece, merge_piece
from attention_impls.dilated.schedule import Schedule
from attention_impls.dilated.views import Piece, branch_pieces, gather_lse, gather_tokens
from attention_impls.kernels.base import Backend


def _pieces(q: Tensor, schedule: Schedule, offsets: str) -> list[Piece]:
    """All pieces, undilated branches first: they touch every row, so they start the accumulators."""
    branches = sorted(schedule.branches, key=lambda branch: branch[1])
    return [piece for w, r in branches for piece in branch_pieces(q.shape[1], w, r, q.shape[2], offsets)]


def _covers_all(piece: Piece, x: Tensor) -> bool:
    return piece.dilation == 1 and piece.segments * piece.length == x.shape[1]


def dilated_forward(
    q: Tensor, k: Tensor, v: Tensor, schedule: Schedule, offsets: str, causal: bool, scale: float, backend: Backend
) -> tuple[Tensor, Tensor]:
    """out (batch, seq, heads, d) and lse (batch, heads, seq) of the mixed branches."""
    batch, seq, heads, _ = q.shape
    out: Tensor | None = None
    lse: Tensor | None = None
    for piece in _pieces(q, schedule, offsets):
        piece_q, piece_k, piece_v = (gather_tokens(x, piece) for x in (q, k, v))
        piece_out, piece_lse = backend.forward(piece_q, piece_k, piece_v, causal, scale)
        if out is None or lse is None:
            if _covers_all(piece, q):
                out = piece_out.reshape(q.shape)
                lse = piece_lse.unflatten(0, (batch, piece.segments)).transpose(1, 2).reshape(batch, heads, seq)
                continue
            out = torch.zeros(q.shape, dtype=q.dtype, device=q.device)
            lse = torch.full((batch, heads, seq), float("-inf"), dtype=piece_lse.dtype, device=q.device)
        merge_piece(out, lse, piece, piece_out, piece_lse)
    if out is None or lse is None:  # no head of any branch has a member: every offset lies past the end
        wide = torch.float64 if q.dtype == torch.float64 else torch.float32
        out = torch.zeros_like(q)
        lse = torch.full((batch, heads, seq), float("-inf"), dtype=wide, device=q.device)
    return out, lse


def _accumulate(grad: Tensor | None, like: Tensor, piece: Piece, part: Tensor) -> Tensor:
    if grad is None:
        if _covers_all(piece, like):
            return part.reshape(like.shape)
        grad = torch.zeros(like.shape, dtype=like.dtype, device=like.device)
    add_piece(grad, piece, part)
    return grad


class DilatedAttention(torch.autograd.Function):
    """The differentiable function of (q, k, v); lse is returned but not differentiable."""

    @staticmethod
    def forward(
        ctx: Any,
        q: Tensor,
        k: Tensor,
        v: Tensor,
        schedule: Schedule,
        offsets: str,
        mixing_gradient: str,
        causal: bool,
        scale: float,
        backend: Backend,
    ) -> Any:
        out, lse = dilated_forward(q, k, v, schedule, offsets, causal, scale, backend)
        ctx.save_for_backward(q, k, v, out, lse)
        ctx.call = (schedule, offsets, mixing_gradient, causal, scale, backend)
        ctx.mark_non_differentiable(lse)
        return out, lse

    @staticmethod
    def backward(ctx: Any, *grads: Any) -> Any:
        q, k, v, out, lse = ctx.saved_tensors
        schedule, offsets, mixing_gradient, causal, scale, backend = ctx.call
        grad_out = grads[0]
        dq: Tensor | None = None
        dk: Tensor | None = None
        dv: Tensor | None = None
        for piece in _pieces(q, schedule, offsets):
            rows = [gather_tokens(x, piece) for x in (q, k, v)]
            grad = gather_tokens(grad_out, piece)
            merged_lse = gather_lse(lse, piece)
            if mixing_gradient == "exact":
                piece_out, piece_lse = gather_tokens(out, piece), merged_lse
            else:  # the weights count as constants: each branch is its own softmax, scaled by its weight
                piece_out, piece_lse = backend.forward(*rows, causal, scale)
                weight = torch.exp(piece_lse - merged_lse).to(grad.dtype)
                grad = grad * weight.transpose(1, 2).unsqueeze(-1)
            parts = backend.backward(grad, *rows, piece_out, piece_lse, causal, scale)
            dq = _accumulate(dq, q, piece, parts[0])
            dk = _accumulate(dk, k, piece, parts[1])
            dv = _accumulate(dv, v, piece, parts[2])
        zero = torch.zeros_like
        dq, dk, dv = (zero(x) if g is None else g for x, g in ((q, dq), (k, dk), (v, dv)))
        return dq, dk, dv, None, None, None, None, None, None
