"""A branch (w, r) cut into pieces: all full segments, then the shorter last one; heads of equally many members."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from itertools import pairwise

from attention_impls.dilated.pattern import head_offset
from attention_impls.merging.pieces import HeadRun, Piece


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
            Piece(start, count, length, dilation, members, head_runs(phases)) for members, phases in by_members.items()
        ]
    return tuple(pieces)


def head_runs(phases: Sequence[tuple[int, int]]) -> tuple[HeadRun, ...]:
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
