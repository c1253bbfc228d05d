"""Sparse patterns cut into what a dense kernel computes without waste: triangles and rectangles.

A strict triangle of the mask becomes a square causal call when its rows start one token later than its
columns; an upper one when both are also taken last first. Equal triangles and rectangles go into one
call's batch. Together the parts of a pattern hold each of its (query, key) pairs exactly once.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

from attention_impls.merging.pieces import HeadRun, Piece
from attention_impls.sparse.pattern import FixedPattern, SlidingWindowPattern, SparsePattern, StridedPattern

FAN_OUT = 16
"""Children of a node in the tree of earlier blocks. A call each a level; a level each a mixing of every row."""


@dataclass(frozen=True, slots=True)
class Part:
    """Kernel calls of one shape: segment by segment, the queries of a piece against the keys of another.

    Attributes:
        queries: places of the queries in the sequence.
        keys: places of the keys in the sequence; in the summary rows if ``summarised``.
        triangle: the calls are causal: the i-th query sees the first i keys (both counted from the last
            place of the segment backwards if ``reverse``). Else every query sees every key.
        reverse: see ``triangle``.
        summarised: the keys are those of :mod:`attention_impls.sparse.summary`.
        fresh: no other part before this one has any of its queries; such parts come first and hold them all.
    """

    queries: Piece
    keys: Piece
    triangle: bool = False
    reverse: bool = False
    summarised: bool = False
    fresh: bool = False

    def mirrored(self) -> Part:
        """The transposed pairs: keys where queries were."""
        return replace(self, queries=self.keys, keys=self.queries, reverse=self.triangle and not self.reverse)

    def slices(self, most_rows: int) -> Iterator[Part]:
        """This part in runs of at most ``most_rows`` (token, head) rows, where it can be cut so small.

        Segments are cut apart; a rectangle of a single segment also between queries.
        """
        members, heads = max(self.queries.members, self.keys.members), self.queries.heads
        if self.queries.segments == 1 and not self.triangle:
            step = max(1, most_rows // heads)
            for first in range(0, self.queries.members, step):
                count = min(step, self.queries.members - first)
                start = self.queries.start + first * self.queries.dilation
                yield replace(self, queries=replace(self.queries, start=start, members=count))
            return
        step = max(1, most_rows // (members * heads))
        for first in range(0, self.queries.segments, step):
            count = min(step, self.queries.segments - first)
            queries, keys = (
                replace(piece, start=piece.start + first * piece.length, segments=count)
                for piece in (self.queries, self.keys)
            )
            yield replace(self, queries=queries, keys=keys)


def parts_of(pattern: SparsePattern) -> list[Part]:
    """The parts of ``pattern``: a fixed number, and for the causal fixed one some 15 log_16(blocks)."""
    shape = pattern.shape
    cut = _Cutter(shape.seq_len, shape.heads)
    if isinstance(pattern, FixedPattern):
        fixed = cut.fixed_causal if shape.causal else cut.fixed_full
        return list(fixed(pattern.stride, pattern.columns))
    window = pattern.window if isinstance(pattern, SlidingWindowPattern) else pattern.stride
    parts = [*cut.blocks(window, causal=shape.causal), *cut.earlier_in_window(window)]
    if isinstance(pattern, StridedPattern):
        parts += cut.earlier_in_column(pattern.stride)
    return parts if shape.causal else [*parts, *(part.mirrored() for part in parts if not part.fresh)]


@dataclass(frozen=True, slots=True)
class _Cutter:
    """Cuts a sequence of ``seq_len`` tokens, for ``heads`` heads that are all alike."""

    seq_len: int
    heads: int

    def _piece(self, start: int, members: int, segments: int = 1, length: int = 1, step: int = 1) -> Piece:
        """Members ``step`` apart in each of ``segments`` whose starts are ``length`` apart."""
        return Piece(start, segments, length, step, members, (HeadRun(0, self.heads, 0, 0),))

    def blocks(self, size: int, *, causal: bool) -> Iterator[Part]:
        """Every token with its own block."""
        full, tail = divmod(self.seq_len, size)
        if full:
            whole = self._piece(0, size, full, size)
            yield Part(whole, whole, triangle=causal, fresh=True)
        if tail:
            rest = self._piece(full * size, tail)
            yield Part(rest, rest, triangle=causal, fresh=True)

    def earlier_in_window(self, window: int) -> Iterator[Part]:
        """Keys of the block before that are less than ``window`` away, blocks being ``window`` long.

        The a-th query of a block sees those after the a-th key of the one before. A last block of
        r < window queries sees all of the last window - r of them, and of the others a triangle.
        """
        full, tail = divmod(self.seq_len, window)
        if full > 1 and window > 1:
            after, before = (self._piece(start, window - 1, full - 1, window) for start in (window, 1))
            yield Part(after, before, triangle=True, reverse=True)
        if full and tail:
            end = full * window
            yield Part(self._piece(end, tail), self._piece(end - window + tail, window - tail))
            if tail > 1:
                after, before = (self._piece(start, tail - 1) for start in (end, end - window + 1))
                yield Part(after, before, triangle=True, reverse=True)

    def earlier_in_column(self, stride: int) -> Iterator[Part]:
        """Keys a whole number of strides before: each residue class is a sequence of its own."""
        full, tail = divmod(self.seq_len, stride)
        for first, classes, members in ((0, tail, full + 1), (tail, stride - tail, full)):
            if classes and members > 1:
                after, before = (
                    self._piece(start, members - 1, classes, 1, stride) for start in (first + stride, first)
                )
                yield Part(after, before, triangle=True)

    def fixed_full(self, stride: int, columns: int) -> Iterator[Part]:
        """What is no summary of each token's own block, and the summaries of all blocks for all tokens."""
        full, tail = divmod(self.seq_len, stride)
        inner = stride - columns
        if full and inner:
            block, seen = (self._piece(0, members, full, stride) for members in (stride, inner))
            yield Part(block, seen, fresh=True)
        if tail and inner:
            yield Part(self._piece(full * stride, tail), self._piece(full * stride, min(tail, inner)), fresh=True)
        summary = full * columns + max(0, tail - inner)
        if summary:
            everyone = self._piece(0, self.seq_len)
            yield Part(everyone, self._piece(0, summary), summarised=True, fresh=not inner)

    def fixed_causal(self, stride: int, columns: int) -> Iterator[Part]:
        """Each token's own block, and the summaries of the blocks before it.

        Those are the prefixes of the summary rows, a length a block. To make few calls of them, blocks are
        the leaves of a tree with :data:`FAN_OUT` children a node: a token sees, at each level, the children
        of its node before its own, and the nodes of a level share a call for each child.
        """
        yield from self.blocks(stride, causal=True)
        child = 1  # blocks in a child of this level's nodes
        while child * stride < self.seq_len:
            tokens, summary = child * stride, child * columns
            for place in range(1, FAN_OUT):
                yield from self._children(place, tokens, summary)
            child *= FAN_OUT

    def _children(self, place: int, tokens: int, summary: int) -> Iterator[Part]:
        """Each node's child number ``place`` with the summaries of that node's children before it.

        A child has ``tokens`` tokens and ``summary`` summary rows; the last one may be shorter.
        """
        first, node = place * tokens, FAN_OUT * tokens
        full = max(0, (self.seq_len - first - tokens) // node + 1)
        if full:
            queries = self._piece(first, tokens, full, node)
            yield Part(queries, self._piece(0, place * summary, full, FAN_OUT * summary), summarised=True)
        begin = full * node + first
        if begin < self.seq_len:
            queries = self._piece(begin, self.seq_len - begin)
            yield Part(queries, self._piece(full * FAN_OUT * summary, place * summary), summarised=True)
