"""Dilated attention over sequences that do not fit: chunk by chunk, any length.

A branch whose segments lie within a chunk runs per chunk, as on a short sequence. A branch that spans
chunks keeps only its members' rows (w / r a segment and head): its own softmax is computed first, from
rows fetched with a stride, and mixed into each chunk's as the chunk passes. Nothing of length seq is
ever held but those rows, so memory is that of a chunk whatever the length.

The backward needs each row's merged out and lse, so it recomputes the forward of a chunk and runs the
chunk's share of the backward at once; meanwhile the spanning branches' rows receive their merged out
and lse, and their share of the gradients follows at the end.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from attention_impls.api import Unsupported
from attention_impls.dilated.autograd import dilated_backward, dilated_forward
from attention_impls.dilated.branches import branch_pieces
from attention_impls.dilated.schedule import Schedule
from attention_impls.dilated.stream_plan import plan_stream, too_many_rows
from attention_impls.kernels.base import Backend
from attention_impls.kernels.heads import repeat_kv, sum_groups
from attention_impls.merging.merge import mix_rows
from attention_impls.merging.pieces import Piece
from attention_impls.shape import AttentionShape
from attention_impls.streams import ChunkSource, Collected, Event, Gradients, Outputs, SpanningGradients


@dataclass(slots=True)
class _SpanningPiece:
    """The rows of one piece: out (batch, segments, heads, members, d), lse (batch, segments, heads, members)."""

    piece: Piece
    out: Tensor
    lse: Tensor

    def heads(self) -> Iterator[tuple[int, int, int]]:
        """(index within the piece, head, offset) of every head."""
        index = 0
        for run in self.piece.runs:
            for i in range(run.count):
                yield index, run.first + i, run.offset + i * run.step
                index += 1

    def positions(self, segment: int, offset: int) -> range:
        """The members' positions in the sequence."""
        first = self.piece.start + segment * self.piece.length + offset
        return range(first, first + self.piece.members * self.piece.dilation, self.piece.dilation)

    def within(self, start: int, stop: int) -> Iterator[tuple[int, int, int, slice, slice]]:
        """Members in start..stop-1: (segment, index, head, slice of members, slice of the chunk's tokens)."""
        piece = self.piece
        end = piece.start + piece.segments * piece.length
        if stop <= piece.start or start >= end:
            return
        first = max(0, start - piece.start) // piece.length
        last = (min(stop, end) - 1 - piece.start) // piece.length
        for segment in range(first, last + 1):
            for index, head, offset in self.heads():
                at = self.positions(segment, offset)
                low = max(0, -(-(start - at.start) // at.step))
                high = min(len(at), -(-(stop - at.start) // at.step))
                if low < high:
                    tokens = slice(at[low] - start, at[high - 1] - start + 1, at.step)
                    yield segment, index, head, slice(low, high), tokens


class DilatedStream:
    """One dilated attention over a source; iterate :meth:`forward` or :meth:`backward` for its parts.

    Raises:
        Unsupported: a spanning branch would keep more rows than ``row_limit``.
    """

    def __init__(
        self,
        shape: AttentionShape,
        schedule: Schedule,
        offsets: str,
        backend: Backend,
        chunk_limit: int,
        row_limit: int,
    ) -> None:
        self.shape = shape
        self.plan = plan_stream(schedule, shape.seq_len, chunk_limit)
        self._offsets = offsets
        self._backend = backend
        self._scale = shape.head_dim**-0.5
        refused = too_many_rows(self.plan, shape, row_limit)
        if refused:
            raise Unsupported(refused)

    @property
    def chunks(self) -> list[tuple[int, int]]:
        """(start, stop) of every chunk."""
        n, step = self.shape.seq_len, self.plan.chunk
        return [(start, min(start + step, n)) for start in range(0, n, step)]

    def forward(self, source: ChunkSource) -> Iterator[Event]:
        """:class:`Collected`, then :class:`Outputs` of every chunk in order."""
        spanning = self._collect(source)
        yield Collected()
        for start, stop in self.chunks:
            q, k, v = self._inputs(source, start, stop)
            out, lse = self._mixed(q, k, v, spanning, start, stop)
            yield Outputs(start, out, lse)

    def backward(self, source: ChunkSource) -> Iterator[Event]:
        """:class:`Collected`; :class:`Outputs` and :class:`Gradients` of every chunk; :class:`SpanningGradients`."""
        spanning = self._collect(source)
        yield Collected()
        for start, stop in self.chunks:
            q, k, v = self._inputs(source, start, stop)
            grad_out = source.chunk("grad_out", start, stop)
            out, lse = self._mixed(q, k, v, spanning, start, stop)
            for rows in spanning:  # from here on they hold the merged out and lse
                for segment, index, head, members, tokens in rows.within(start, stop):
                    rows.out[:, segment, index, members] = out[:, tokens, head]
                    rows.lse[:, segment, index, members] = lse[:, head, tokens]
            yield Outputs(start, out, lse)
            dq, dk, dv = dilated_backward(
                grad_out, q, k, v, out, lse, self.plan.local, self._offsets, "exact",
                self.shape.causal, self._scale, self._backend,
            )  # fmt: skip
            group = self.shape.group_size
            yield Gradients(start, dq, sum_groups(dk, group), sum_groups(dv, group))
        for rows in spanning:
            yield from self._spanning_gradients(source, rows)

    def _inputs(self, source: ChunkSource, start: int, stop: int) -> tuple[Tensor, Tensor, Tensor]:
        group = self.shape.group_size
        q = source.chunk("q", start, stop)
        return q, repeat_kv(source.chunk("k", start, stop), group), repeat_kv(source.chunk("v", start, stop), group)

    def _mixed(
        self, q: Tensor, k: Tensor, v: Tensor, spanning: list[_SpanningPiece], start: int, stop: int
    ) -> tuple[Tensor, Tensor]:
        out, lse = dilated_forward(
            q, k, v, self.plan.local, self._offsets, self.shape.causal, self._scale, self._backend
        )
        for rows in spanning:
            for segment, index, head, members, tokens in rows.within(start, stop):
                mix_rows(
                    out[:, tokens, head],
                    lse[:, head, tokens],
                    rows.out[:, segment, index, members],
                    rows.lse[:, segment, index, members],
                )
        return out, lse

    def _collect(self, source: ChunkSource) -> list[_SpanningPiece]:
        found = []
        for w, r in self.plan.spanning.branches:
            for piece in branch_pieces(self.shape.seq_len, w, r, self.shape.heads, self._offsets):
                rows = _SpanningPiece(piece, torch.empty(0), torch.empty(0))
                outs, lses = [], []
                for segment in range(piece.segments):
                    q, k, v = (self._rows(source, name, rows, segment) for name in ("q", "k", "v"))
                    out, lse = self._backend.forward(q, k, v, self.shape.causal, self._scale)
                    outs.append(out.transpose(1, 2))
                    lses.append(lse)
                rows.out, rows.lse = torch.stack(outs, 1), torch.stack(lses, 1)
                found.append(rows)
        return found

    def _rows(self, source: ChunkSource, name: str, rows: _SpanningPiece, segment: int) -> Tensor:
        """One segment's members as kernel input: (batch, members, piece heads, d)."""
        group = self.shape.group_size if name in ("k", "v") else 1
        per_head = [
            source.strided(name, head // group, rows.positions(segment, offset)) for _, head, offset in rows.heads()
        ]
        return torch.stack(per_head, 1).transpose(1, 2)

    def _spanning_gradients(self, source: ChunkSource, rows: _SpanningPiece) -> Iterator[Event]:
        for segment in range(rows.piece.segments):
            grad, q, k, v = (self._rows(source, name, rows, segment) for name in ("grad_out", "q", "k", "v"))
            dq, dk, dv = self._backend.backward(
                grad, q, k, v, rows.out[:, segment].transpose(1, 2), rows.lse[:, segment],
                self.shape.causal, self._scale,
            )  # fmt: skip
            dq, dk, dv = (x if x.dtype == torch.float64 else x.float() for x in (dq, dk, dv))
            for index, head, offset in rows.heads():
                at = rows.positions(segment, offset)
                yield SpanningGradients(head, at, dq[:, :, index], dk[:, :, index], dv[:, :, index])
