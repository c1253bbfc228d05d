"""Which tokens of a sequence are which rank's. Plain arithmetic: no torch here."""

from __future__ import annotations

from collections.abc import Sequence

from attention_impls.shape import AttentionShape

Spans = tuple[range, ...]
"""The tokens of one rank: runs of positions in the sequence, ascending; its tensors hold them in this order."""


def cut(length: int, parts: int, part: int) -> range:
    """Part number ``part`` of ``length`` things cut evenly; the first parts hold one more where it does not go up."""
    each, more = divmod(length, parts)
    start = part * each + min(part, more)
    return range(start, start + each + (part < more))


def contiguous(shape: AttentionShape, rank: int) -> Spans:
    """One run of tokens a rank, in the order of ranks."""
    return (cut(shape.seq_len, shape.world_size, rank),)


def zigzag(shape: AttentionShape, rank: int) -> Spans:
    """Of 2P runs the one numbered ``rank`` and its mirror image: causal work is then the same for every rank."""
    runs = 2 * shape.world_size
    return cut(shape.seq_len, runs, rank), cut(shape.seq_len, runs, runs - 1 - rank)


def owner(shape: AttentionShape, position: int) -> int:
    """The rank that holds ``position`` in the :func:`contiguous` layout."""
    each, more = divmod(shape.seq_len, shape.world_size)
    if position < more * (each + 1):
        return position // (each + 1)
    return more + (position - more * (each + 1)) // each


def too_short(shape: AttentionShape, parts: int) -> str | None:
    """Why the sequence cannot be cut into ``parts`` that all hold a token; None if it can."""
    if shape.seq_len >= parts:
        return None
    tokens = "token" if shape.seq_len == 1 else "tokens"
    return f"{shape.seq_len} {tokens} cannot be cut into {parts} parts for {shape.world_size} ranks"


def local_index(spans: Sequence[range], position: int) -> int | None:
    """Where a rank's tensors hold ``position``; None if another rank does."""
    before = 0
    for span in spans:
        if position in span:
            return before + position - span.start
        before += len(span)
    return None
