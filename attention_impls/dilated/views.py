"""The members of a dilated branch as strided views: nothing is indexed, nothing is padded.

A branch (w, r) is cut into *pieces* that one kernel launch can take: equal segments (all full ones,
then the shorter last one) whose heads have equally many members. Within a piece, heads come in
*runs* whose phase moves by a constant step from head to head, so that token stride and head stride
add up and a run is one strided view of the (batch, seq, heads, head_dim) tensor.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise

import torch
from torch import Tensor

from attention_impls.dilated.pattern import head_offset


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


@lru_cache(maxsize=256)
def branch_pieces(seq_len: int, segment: int, dilation: int, heads: int, offsets: str) -> tuple[Piece, ...]:
    """The pieces of branch (segment, dilation): together every member (head, token) exactly once."""
    segment = min(segment, seq_len)
    full, tail = divmod(seq_len, segment)
    pieces = []
    for start, count, length in ((0, full, segment), (full * segment, 1, tail)):
        if length == 0:
            continue
        by_members: dict[int, list[tuple[int, int]]] = {}
        for head in range(heads):
            offset = head_offset(head, dilation, heads, offsets)
            members = len(range(offset, length, dilation))
            if members:
                by_members.setdefault(members, []).append((head, offset))
        pieces += [
            Piece(start, count, length, dilation, members, _runs(phases)) for members, phases in by_members.items()
        ]
    return tuple(pieces)


def _runs(phases: list[tuple[int, int]]) -> tuple[HeadRun, ...]:
    """Cut (head, offset) pairs wherever a head is left out or the offset's step changes."""
    cuts, step = [0], None
    for i, ((head, offset), (next_head, next_offset)) in enumerate(pairwise(phases), start=1):
        change = next_offset - offset
        if next_head != head + 1 or change not in (0, 1) or (step is not None and change != step):
            cuts.append(i)
            step = None
        else:
            step = change
    runs = []
    for begin, end in pairwise([*cuts, len(phases)]):
        (head, offset), last = phases[begin], phases[end - 1]
        runs.append(HeadRun(head, end - begin, offset, int(last[1] > offset)))
    return tuple(runs)


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


def gather_tokens(x: Tensor, piece: Piece) -> Tensor:
    """The piece's members of x as kernel input: (batch * segments, members, piece heads, d).

    A view where x allows it, without dilation; otherwise a copy that holds each head's rows
    together: strided rows cost a translation-buffer miss each, in the kernel once per block.
    """
    if piece.dilation == 1:
        view = token_view(x, piece, piece.runs[0])
        return view.flatten(0, 1)
    batch, head_dim = x.shape[0], x.shape[3]
    rows = torch.empty((batch, piece.segments, piece.heads, piece.members, head_dim), dtype=x.dtype, device=x.device)
    done = 0
    for run in piece.runs:
        rows[:, :, done : done + run.count].copy_(token_view(x, piece, run).transpose(2, 3))
        done += run.count
    return rows.flatten(0, 1).transpose(1, 2)


def gather_lse(lse: Tensor, piece: Piece) -> Tensor:
    """The piece's members of lse as kernel input: (batch * segments, piece heads, members)."""
    rows = [lse_view(lse, piece, run) for run in piece.runs]
    return (torch.cat(rows, dim=2) if len(rows) > 1 else rows[0]).flatten(0, 1)
