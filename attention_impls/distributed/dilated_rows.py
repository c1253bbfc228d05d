"""Keys and values of a shared segment as they travel between ranks, and as kernels read them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor

from attention_impls.dilated.branches import head_runs
from attention_impls.distributed.dilated_plan import Alike, Share, Shared, Streams, key_heads
from attention_impls.merging import pieces
from attention_impls.merging.merge import add_piece
from attention_impls.merging.pieces import Piece, token_view


@dataclass(frozen=True, slots=True)
class Rows:
    """Consecutive rows of a shared segment (:mod:`attention_impls.distributed.dilated_plan`).

    Attributes:
        data: one-dimensional: (row, key or value, batch, feature). Keys and values, or gradients of both.
        first: number of the first row.
        streams: how many streams the segment has.
    """

    data: Tensor
    first: int
    streams: int
    batch: int
    head_dim: int

    def of(self, stream: int, count: int, member: int, members: int) -> Tensor:
        """A view (key or value, batch, members, streams, d) of ``members`` of ``count`` streams, from these on."""
        half = self.batch * self.head_dim
        row = member * self.streams + stream - self.first
        return self.data.as_strided(
            (2, self.batch, members, count, self.head_dim),
            (half, self.head_dim, self.streams * 2 * half, 2 * half, 1),
            self.data.storage_offset() + row * 2 * half,
        )


def piece_of(share: Share, shared: Shared, streams: Streams, alike: Alike) -> Piece:
    """This rank's members of a shared segment in its own tensors, for heads that have equally many."""
    return Piece(
        start=shared.start - share.tokens.start + alike.before * streams.dilation,
        segments=1,
        length=alike.own * streams.dilation,
        dilation=streams.dilation,
        members=alike.own,
        runs=head_runs([(head, phase) for head, phase, _ in alike.heads]),
    )


def pack(k: Tensor, v: Tensor, share: Share, shared: Shared, streams: Streams) -> Rows:
    """This rank's rows of k and v (batch, its tokens, key heads, d)."""
    batch, _, _, head_dim = k.shape
    data = k.new_empty(shared.rows * 2 * batch * head_dim)
    rows = Rows(data, shared.first_row, len(streams.pairs), batch, head_dim)
    for alike in key_heads(shared, streams):
        piece = piece_of(share, shared, streams, alike)
        whole = rows.of(alike.heads[0][2], len(alike.heads), alike.before, alike.own)
        for both, x in zip(whole, (k, v), strict=True):
            parts = both.split([run.count for run in piece.runs], dim=2)
            for run, part in zip(piece.runs, parts, strict=True):
                part.copy_(token_view(x, piece, run)[:, 0])
    return rows


def unpack_onto(dk: Tensor, dv: Tensor, rows: Rows, share: Share, shared: Shared, streams: Streams) -> None:
    """Add this rank's rows of gradients to dk and dv (batch, its tokens, key heads, d)."""
    for alike in key_heads(shared, streams):
        piece = piece_of(share, shared, streams, alike)
        new_dk, new_dv = rows.of(alike.heads[0][2], len(alike.heads), alike.before, alike.own)
        add_piece(dk, piece, new_dk)
        add_piece(dv, piece, new_dv)


def keys_for(rows: Rows, alike: Alike, members: int) -> tuple[Tensor, Tensor]:
    """k and v (batch, members, heads, d) of the first ``members`` members, for each of the query heads.

    A view where each head has a stream of its own and strided rows serve the device as well, else a copy.
    """
    views = [rows.of(stream, count, 0, members).transpose(2, 3) for stream, count in _runs(alike)]
    pays = pieces.copies_rows(rows.data) and members >= pieces.LEAST_COPIED_MEMBERS
    both = torch.cat(views, dim=2) if len(views) > 1 else views[0].contiguous() if pays else views[0]
    keys, values = both.transpose(2, 3)
    return keys, values


def add_for(rows: Rows, alike: Alike, member: int, dk: Tensor, dv: Tensor) -> None:
    """Add gradients (batch, members, heads, d) of the query heads to their streams, from ``member`` on."""
    done = 0
    for stream, count in _runs(alike):
        both = rows.of(stream, count, member, dk.shape[1])
        for whole, part in zip(both, (dk, dv), strict=True):
            whole.add_(part[:, :, done : done + count])
        done += count


def _runs(alike: Alike) -> Iterator[tuple[int, int]]:
    """The heads' streams as (first, count) of runs in which each is one more than the last."""
    streams = [stream for _, _, stream in alike.heads]
    yield from consecutive(streams)


def consecutive(numbers: Sequence[int]) -> Iterator[tuple[int, int]]:
    """(first, count) of the runs of ``numbers`` that go up by one."""
    cuts = [0, *(i for i, (a, b) in enumerate(pairwise(numbers), start=1) if b != a + 1), len(numbers)]
    return ((numbers[begin], end - begin) for begin, end in pairwise(cuts))
