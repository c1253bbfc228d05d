"""Rows of a sequence as strided views: nothing is indexed, nothing is padded.

What attention needs at once is taken in *pieces* that one kernel launch can take: equal segments whose
heads have equally many members. Within a piece, heads come in *runs* whose phase moves by a constant step
from head to head, so that token stride and head stride add up and a run is one strided view of the
(batch, seq, heads, head_dim) tensor.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from math import prod

import torch
from torch import Tensor

LEAST_COPIED_MEMBERS = 256
"""A kernel reads each key once for every block of queries: with fewer members, too seldom to pay for a copy."""


COPIED_SHARE = 16
"""Where rows are copied, rows at once: one part in this many of all rows. The copies of q, k and v and the piece's
result then take a quarter of the output, and stay in cache from the copy to the mixing."""

VIEWED_SHARE = 3
"""Where they are viewed, a piece takes its result alone: at most a third of the output."""

LEAST_ROWS = 1 << 14
"""Fewer rows than this are not worth a launch of their own."""


@dataclass(frozen=True, slots=True)
class HeadRun:
    """Heads ``first .. first + count - 1``; head first + i has the phase ``offset + i * step``."""

    first: int
    count: int
    offset: int
    step: int


@dataclass(frozen=True, slots=True)
class Piece:
    """Equal segments of one branch, for the heads that have ``members`` tokens in each."""

    start: int
    segments: int
    length: int
    dilation: int
    members: int
    runs: tuple[HeadRun, ...]

    @property
    def heads(self) -> int:
        return sum(run.count for run in self.runs)

    def slices(self, most_rows: int) -> Iterator[Piece]:
        """This piece in runs of segments of at most ``most_rows`` (member, head) rows, one segment at least."""
        step = max(1, most_rows // (self.members * self.heads))
        for first in range(0, self.segments, step):
            count = min(step, self.segments - first)
            yield replace(self, start=self.start + first * self.length, segments=count)

    def by_run(self) -> Iterator[Piece]:
        """This piece a run of heads at a time: each is one strided view."""
        return (replace(self, runs=(run,)) for run in self.runs)


def token_view(x: Tensor, piece: Piece, run: HeadRun) -> Tensor:
    """The members of ``run`` in x (batch, seq, heads, d), as (batch, segments, members, run heads, d)."""
    batch, _, _, head_dim = x.shape
    by_batch, by_token, by_head, by_feature = x.stride()
    return x.as_strided(
        (batch, piece.segments, piece.members, run.count, head_dim),
        (by_batch, piece.length * by_token, piece.dilation * by_token, by_head + run.step * by_token, by_feature),
        x.storage_offset() + (piece.start + run.offset) * by_token + run.first * by_head,
    )


def lse_view(lse: Tensor, piece: Piece, run: HeadRun) -> Tensor:
    """The members of ``run`` in lse (batch, heads, seq), as (batch, segments, run heads, members)."""
    by_batch, by_head, by_token = lse.stride()
    return lse.as_strided(
        (lse.shape[0], piece.segments, run.count, piece.members),
        (by_batch, piece.length * by_token, by_head + run.step * by_token, piece.dilation * by_token),
        lse.storage_offset() + (piece.start + run.offset) * by_token + run.first * by_head,
    )


class Gatherer:
    """Brings a piece's members together for a kernel, one piece after the other.

    On CUDA a single run of heads is a view: a row is a whole cache line or more, wherever it lies. On a
    CPU it is a copy that holds each head's rows together: strided rows cost translation-buffer misses,
    again for every block of queries. Copies go to the same memory each time, because fresh memory costs
    a page fault every 4 KiB; so what was gathered under a name is gone at the next call with that name.
    """

    def __init__(self) -> None:
        self._memory: dict[str, Tensor] = {}

    def tokens(self, name: str, x: Tensor, piece: Piece) -> Tensor:
        """The piece's members of x as kernel input: (batch * segments, members, piece heads, d)."""
        if len(piece.runs) == 1 and not (copies_rows(x) and _copy_pays(x, piece)):
            return token_view(x, piece, piece.runs[0]).flatten(0, 1)
        shape = (x.shape[0], piece.segments, piece.heads, piece.members, x.shape[3])
        rows = self._rows(name, x, shape)
        done = 0
        for run in piece.runs:
            rows[:, :, done : done + run.count].copy_(token_view(x, piece, run).transpose(2, 3))
            done += run.count
        return rows.flatten(0, 1).transpose(1, 2)

    def _rows(self, name: str, x: Tensor, shape: tuple[int, ...]) -> Tensor:
        count = prod(shape)
        memory = self._memory.get(name)
        if memory is None or memory.numel() < count:
            memory = None
            self._memory.pop(name, None)  # the two must not live side by side
            self._memory[name] = memory = torch.empty(count, dtype=x.dtype, device=x.device)
        return memory[:count].view(shape)


def rows_at_once(x: Tensor) -> int:
    """How many of the (token, head) rows of x (batch, seq, heads, d) a launch should take at most."""
    return max(LEAST_ROWS, x.shape[1] * x.shape[2] // (COPIED_SHARE if copies_rows(x) else VIEWED_SHARE))


def copies_rows(x: Tensor) -> bool:
    """Whether kernels on this tensor's device are better served by copies than by strided views."""
    return x.device.type == "cpu"


def _copy_pays(x: Tensor, piece: Piece) -> bool:
    """Whether rows lie apart, and are read often enough to be worth moving together."""
    return piece.dilation * x.stride(1) != x.shape[3] and piece.members >= LEAST_COPIED_MEMBERS


def gather_lse(lse: Tensor, piece: Piece) -> Tensor:
    """The piece's members of lse as kernel input: (batch * segments, piece heads, members)."""
    rows = [lse_view(lse, piece, run) for run in piece.runs]
    return (torch.cat(rows, dim=2) if len(rows) > 1 else rows[0]).flatten(0, 1)
