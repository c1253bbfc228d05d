"""Forward and backward of sparse attention, on any back end.

As in :mod:`attention_impls.dilated.autograd`: parts of a softmax are mixed by their log-sum-exps, and a
back end's backward, called with the merged out and lse and the undivided grad_out, yields a part's share
of dq, dk and dv. So q, k, v, out and lse are all that is saved.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from attention_impls.kernels.base import Backend
from attention_impls.kernels.heads import repeat_kv, sum_groups
from attention_impls.merging import pieces
from attention_impls.merging.merge import add_piece, merge_piece, place_lse, place_piece
from attention_impls.merging.pieces import Gatherer, Piece, gather_lse
from attention_impls.sparse.parts import Part, parts_of
from attention_impls.sparse.pattern import FixedPattern, SparsePattern
from attention_impls.sparse.summary import add_summary, gather_summary, summary_accumulator


def _launches(q: Tensor, pattern: SparsePattern) -> Iterator[Part]:
    """Parts as they are launched: a few rows at once, so that their copies and results stay small."""
    copied, rows = pieces.copies_rows(q), pieces.rows_at_once(q)
    for part in parts_of(pattern):
        if part.fresh and not copied and _holds_all(part.queries, q):
            yield part  # its result is the output itself
        else:
            yield from part.slices(rows)


def _holds_all(piece: Piece, x: Tensor) -> bool:
    return piece.segments * piece.members == x.shape[1]


class _Whole:
    """A tensor like ``like`` (batch, seq, heads, d) that is made of parts; zero where there is none."""

    def __init__(self, like: Tensor) -> None:
        self._like = like
        self._tensor: Tensor | None = None

    @property
    def tensor(self) -> Tensor:
        if self._tensor is None:
            self._tensor = torch.zeros(self._like.shape, dtype=self._like.dtype, device=self._like.device)
        return self._tensor

    def _is(self, piece: Piece, rows: Tensor) -> bool:
        """Whether ``rows`` are all there is to it so far, and so become it."""
        if self._tensor is None and _holds_all(piece, self._like) and rows.is_contiguous():
            self._tensor = rows.view(self._like.shape)
            return True
        return False

    def place(self, piece: Piece, rows: Tensor) -> None:
        """Write ``rows`` (batch * segments, members, heads, d), the first of their tokens."""
        if not self._is(piece, rows):
            place_piece(self.tensor, piece, rows)

    def add(self, piece: Piece, rows: Tensor) -> None:
        """Add ``rows`` to what their tokens have."""
        if not self._is(piece, rows):
            add_piece(self.tensor, piece, rows)


def _turned(part: Part, x: Tensor, dim: int) -> Tensor:
    """x with the part's tokens, which are in ``dim``, last first if the part wants them so; its own inverse."""
    return x.flip(dim) if part.reverse else x


def sparse_forward(
    q: Tensor, k: Tensor, v: Tensor, pattern: SparsePattern, scale: float, backend: Backend
) -> tuple[Tensor, Tensor]:
    """out (batch, seq, heads, d) and lse (batch, heads, seq); k and v have as many heads as q."""
    batch, seq, heads, _ = q.shape
    wide = torch.promote_types(q.dtype, torch.float32)
    lse = torch.empty((batch, heads, seq), dtype=wide, device=q.device)
    out, gather = _Whole(q), Gatherer()
    summaries = _summaries(k, v, pattern)
    for part in _launches(q, pattern):
        keys, values = summaries if part.summarised else (k, v)
        named = (("q", q, part.queries), ("k", keys, part.keys), ("v", values, part.keys))
        part_q, part_k, part_v = (_turned(part, gather.tokens(*rows), 1) for rows in named)
        found, found_lse = backend.forward(part_q, part_k, part_v, part.triangle, scale)
        found, found_lse = _turned(part, found, 1), _turned(part, found_lse, 2)
        if part.fresh:
            out.place(part.queries, found)
            place_lse(lse, part.queries, found_lse)
        else:
            merge_piece(out.tensor, lse, part.queries, found, found_lse)
        del found, found_lse  # not to be held while the next part's are made
    return out.tensor, lse


def sparse_backward(
    grad_out: Tensor,
    q: Tensor,
    k: Tensor,
    v: Tensor,
    out: Tensor,
    lse: Tensor,
    pattern: SparsePattern,
    scale: float,
    backend: Backend,
) -> tuple[Tensor, Tensor, Tensor]:
    """dq, dk and dv, given the merged out and lse; k, v, dk and dv have as many heads as q."""
    dq, dk, dv, gather = _Whole(q), _Whole(k), _Whole(v), Gatherer()
    summaries = _summaries(k, v, pattern)
    summary_grads = [summary_accumulator(x) for x in summaries]
    for part in _launches(q, pattern):
        keys, values = summaries if part.summarised else (k, v)
        named = (
            *((name, x, part.queries) for name, x in (("grad_out", grad_out), ("q", q), ("out", out))),
            *((name, x, part.keys) for name, x in (("k", keys), ("v", values))),
        )
        grad, part_q, part_out, part_k, part_v = (_turned(part, gather.tokens(*rows), 1) for rows in named)
        part_lse = _turned(part, gather_lse(lse, part.queries), 2)
        found = backend.backward(grad, part_q, part_k, part_v, part_out, part_lse, part.triangle, scale)
        found_q, *found_kv = (_turned(part, x, 1) for x in found)
        dq.add(part.queries, found_q)
        if part.summarised:
            for summary_grad, rows in zip(summary_grads, found_kv, strict=True):
                add_piece(summary_grad, part.keys, rows)
        else:
            for whole, rows in zip((dk, dv), found_kv, strict=True):
                whole.add(part.keys, rows)
        del found, found_q, found_kv
    if isinstance(pattern, FixedPattern):
        for whole, summary_grad in zip((dk, dv), summary_grads, strict=True):
            add_summary(whole.tensor, summary_grad, pattern)
    return dq.tensor, dk.tensor, dv.tensor


def _summaries(k: Tensor, v: Tensor, pattern: SparsePattern) -> tuple[Tensor, ...]:
    """The summary rows of k and v; none if no part of the pattern has any."""
    return tuple(gather_summary(x, pattern) for x in (k, v)) if isinstance(pattern, FixedPattern) else ()


class SparseAttention(torch.autograd.Function):
    """The differentiable function of (q, k, v); lse is returned but not differentiable."""

    @staticmethod
    def forward(
        ctx: Any, q: Tensor, k: Tensor, v: Tensor, pattern: SparsePattern, scale: float, backend: Backend
    ) -> Any:
        group = pattern.shape.group_size
        out, lse = sparse_forward(q, repeat_kv(k, group), repeat_kv(v, group), pattern, scale, backend)
        ctx.save_for_backward(q, k, v, out, lse)
        ctx.call = (pattern, scale, backend)
        ctx.mark_non_differentiable(lse)
        return out, lse

    @staticmethod
    def backward(ctx: Any, *grads: Any) -> Any:
        q, k, v, out, lse = ctx.saved_tensors
        pattern, scale, backend = ctx.call
        group = pattern.shape.group_size
        k, v = repeat_kv(k, group), repeat_kv(v, group)
        dq, dk, dv = sparse_backward(grads[0], q, k, v, out, lse, pattern, scale, backend)
        return dq, sum_groups(dk, group), sum_groups(dv, group), None, None, None
