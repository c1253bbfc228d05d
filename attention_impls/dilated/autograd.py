"""Forward and backward of dilated attention, on any back end.

The backward never sees a branch's own output: a flash backward called with the *merged* out and lse
and the undivided grad_out yields exactly that branch's share of dq, dk and dv, the gradient through
the mixing weights included. So q, k, v, out and lse are all that is saved.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from attention_impls.dilated.branches import branch_pieces
from attention_impls.dilated.schedule import Schedule
from attention_impls.kernels.base import Backend
from attention_impls.kernels.heads import repeat_kv, sum_groups
from attention_impls.merging import pieces
from attention_impls.merging.merge import add_piece, merge_piece, place_lse, place_piece
from attention_impls.merging.pieces import Gatherer, Piece, gather_lse


def _pieces(x: Tensor, schedule: Schedule, offsets: str, spans: Sequence[range] | None) -> Iterator[tuple[Piece, bool]]:
    """Pieces as they are launched, and whether each is the first that its rows are in.

    Undilated branches come first: the first of them, if it holds every row, needs nothing to mix with.
    """
    _, seq, heads, _ = x.shape
    copied, rows = pieces.copies_rows(x), pieces.rows_at_once(x)
    spanned = zip(schedule.branches, spans or [range(seq)] * len(schedule.branches), strict=True)
    for number, ((w, r), span) in enumerate(sorted(spanned, key=lambda one: one[0][1])):
        if not span:
            continue
        fresh = number == 0 and r == 1 and len(span) == seq
        for one in branch_pieces(len(span), w, r, heads, offsets):
            piece = replace(one, start=one.start + span.start) if span.start else one
            if copied:
                yield from ((part, fresh) for part in piece.slices(rows))
            elif fresh:
                yield piece, fresh  # its result is the output itself
            else:  # one run of heads is one strided view: the kernel reads it in place
                for run in piece.by_run():
                    yield from ((part, fresh) for part in run.slices(rows))


def dilated_forward(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    schedule: Schedule,
    offsets: str,
    causal: bool,
    scale: float,
    backend: Backend,
    spans: Sequence[range] | None = None,
) -> tuple[Tensor, Tensor]:
    """out (batch, seq, heads, d) and lse (batch, heads, seq) of the mixed branches.

    Where ``spans`` are given, each branch's segments begin at the start of its span, and end with it.
    """
    batch, seq, heads, _ = q.shape
    out: Tensor | None = None
    lse = _empty_lse(q, batch, heads, seq)
    gather = Gatherer()
    for piece, fresh in _pieces(q, schedule, offsets, spans):
        piece_q, piece_k, piece_v = (gather.tokens(name, x, piece) for name, x in (("q", q), ("k", k), ("v", v)))
        piece_out, piece_lse = backend.forward(piece_q, piece_k, piece_v, causal, scale)
        out = _begin(out, q, piece_out, piece, fresh=fresh)
        if fresh:
            place_piece(out, piece, piece_out)
            place_lse(lse, piece, piece_lse)
        else:
            merge_piece(out, lse, piece, piece_out, piece_lse)
        del piece_out, piece_lse  # not to be held while the next piece's are made
    return torch.zeros(q.shape, dtype=q.dtype, device=q.device) if out is None else out, lse


def _empty_lse(q: Tensor, batch: int, heads: int, seq: int) -> Tensor:
    """Minus infinity: no key has been seen."""
    wide = torch.float64 if q.dtype == torch.float64 else torch.float32
    return torch.full((batch, heads, seq), float("-inf"), dtype=wide, device=q.device)


def _begin(whole: Tensor | None, like: Tensor, part: Tensor, piece: Piece, *, fresh: bool) -> Tensor:
    """The accumulator, made by the first piece: its own result where that is all there is to it."""
    if whole is not None:
        return whole
    if fresh and piece.segments * piece.length == like.shape[1] and part.is_contiguous():
        return part.view(like.shape)
    make = torch.empty if fresh else torch.zeros
    return make(like.shape, dtype=like.dtype, device=like.device)


def dilated_backward(
    grad_out: Tensor,
    q: Tensor,
    k: Tensor,
    v: Tensor,
    out: Tensor,
    lse: Tensor,
    schedule: Schedule,
    offsets: str,
    mixing_gradient: str,
    causal: bool,
    scale: float,
    backend: Backend,
    spans: Sequence[range] | None = None,
    dq: Tensor | None = None,
) -> tuple[Tensor, Tensor, Tensor]:
    """dq, dk and dv, given the merged out and lse; those of branches beyond ``schedule`` may be in them.

    ``spans`` as in the forward; a ``dq`` that is given is added to.
    """
    grads: list[Tensor | None] = [dq, None, None]
    begun = [grad is not None for grad in grads]
    gather = Gatherer()
    for piece, fresh in _pieces(q, schedule, offsets, spans):
        parts = _attend_backward(grad_out, q, k, v, out, lse, piece, gather, mixing_gradient, causal, scale, backend)
        for i, (part, like) in enumerate(zip(parts, (q, k, v), strict=True)):
            whole = grads[i] = _begin(grads[i], like, part, piece, fresh=fresh)
            if fresh and not begun[i]:
                place_piece(whole, piece, part)
            else:
                add_piece(whole, piece, part)
    dq, dk, dv = (torch.zeros_like(x) if g is None else g for x, g in zip((q, k, v), grads, strict=True))
    return dq, dk, dv


def _attend_backward(
    grad_out: Tensor,
    q: Tensor,
    k: Tensor,
    v: Tensor,
    out: Tensor,
    lse: Tensor,
    piece: Piece,
    gather: Gatherer,
    mixing_gradient: str,
    causal: bool,
    scale: float,
    backend: Backend,
) -> tuple[Tensor, Tensor, Tensor]:
    """A piece's share of dq, dk and dv."""
    named = (("q", q), ("k", k), ("v", v), ("grad_out", grad_out))
    piece_q, piece_k, piece_v, grad = (gather.tokens(name, x, piece) for name, x in named)
    merged_lse = gather_lse(lse, piece)
    if mixing_gradient == "exact":
        piece_out, piece_lse = gather.tokens("out", out, piece), merged_lse
    else:  # the weights count as constants: each branch is its own softmax, scaled by its weight
        piece_out, piece_lse = backend.forward(piece_q, piece_k, piece_v, causal, scale)
        weight = torch.exp(piece_lse - merged_lse).to(grad.dtype)
        grad = grad * weight.transpose(1, 2).unsqueeze(-1)
    return backend.backward(grad, piece_q, piece_k, piece_v, piece_out, piece_lse, causal, scale)


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
        group = q.shape[2] // k.shape[2]
        out, lse = dilated_forward(
            q, repeat_kv(k, group), repeat_kv(v, group), schedule, offsets, causal, scale, backend
        )
        ctx.save_for_backward(q, k, v, out, lse)
        ctx.call = (schedule, offsets, mixing_gradient, causal, scale, backend)
        ctx.mark_non_differentiable(lse)
        return out, lse

    @staticmethod
    def backward(ctx: Any, *grads: Any) -> Any:
        q, k, v, out, lse = ctx.saved_tensors
        group = q.shape[2] // k.shape[2]
        k, v = repeat_kv(k, group), repeat_kv(v, group)
        dq, dk, dv = dilated_backward(grads[0], q, k, v, out, lse, *ctx.call)
        return dq, sum_groups(dk, group), sum_groups(dv, group), None, None, None, None, None, None
