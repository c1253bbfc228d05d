"""What ranks that share a sequence share of a dilated attention: which segments, and which keys of them. No torch here.

The sequence is cut into one run of tokens a rank, so of each branch a rank has at most two segments that other
ranks hold a part of: the one that its first token is in the middle of, and the one that its last token does not end.

Heads that have one key head and one phase need the same keys, a *stream*. The keys of a shared segment are numbered
as rows: by position, those at one position by key head. With n streams, member i of stream x is row i n + x, whatever
the lengths; and what a rank holds is one run of rows, so the ranks' parts one after the other are the whole.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise

from attention_impls.dilated.pattern import head_offset
from attention_impls.dilated.schedule import Schedule
from attention_impls.distributed.sharding import contiguous, cut, owner
from attention_impls.shape import AttentionShape


@dataclass(frozen=True, slots=True)
class Streams:
    """The distinct (phase, key head) pairs of a branch, ascending; ``phases`` are their first halves."""

    dilation: int
    pairs: tuple[tuple[int, int], ...]
    phases: tuple[int, ...]

    def rows_before(self, tokens: int) -> int:
        """Rows of the first ``tokens`` tokens of a segment."""
        rounds, left = divmod(tokens, self.dilation)
        return rounds * len(self.phases) + bisect_left(self.phases, left)

    def members_before(self, tokens: int, phase: int) -> int:
        """Members of one stream, or head, of this phase among the first ``tokens`` tokens of a segment."""
        rounds, left = divmod(tokens, self.dilation)
        return rounds + (phase < left)


@dataclass(frozen=True, slots=True)
class SplitBranch:
    """A branch of which no segment is longer than the sequence."""

    segment: int
    streams: Streams


@dataclass(frozen=True, slots=True)
class Shared:
    """A segment that several ranks hold a part of, as one of them sees it.

    Attributes:
        branch: its number in the schedule.
        segment: its number in the branch.
        start: its first token, in the sequence.
        length: its tokens.
        ranks: those that hold a token of it.
        low: the first of its tokens that this rank holds, counted from ``start``.
        high: the first after it that this rank does not hold.
        first_row: rows of the ranks before this one.
        rows: rows of this rank.
        all_rows: rows of all.
    """

    branch: int
    segment: int
    start: int
    length: int
    ranks: range
    low: int
    high: int
    first_row: int
    rows: int
    all_rows: int


@dataclass(frozen=True, slots=True)
class Alike:
    """Heads that have equally many members in a shared segment.

    Attributes:
        before: members of each that earlier ranks hold.
        own: members that this rank holds, at least one.
        whole: members that all ranks hold.
        heads: (head, phase, stream) of each, in the order of streams.
    """

    before: int
    own: int
    whole: int
    heads: tuple[tuple[int, int, int], ...]


@dataclass(frozen=True, slots=True)
class Share:
    """What one rank computes.

    Attributes:
        tokens: those of the rank, in the sequence.
        local: for each branch, its segments that lie within ``tokens``, counted from the first of ``tokens``.
        shared: the other segments, those with most rows first: all ranks of any two have them in one order.
        left: how many more some rank shares.
    """

    tokens: range
    local: tuple[range, ...]
    shared: tuple[Shared, ...]
    left: int


@lru_cache(maxsize=64)
def share_of(shape: AttentionShape, schedule: Schedule, offsets: str, rank: int) -> Share:
    """The work of ``rank``, and what it shares with whom."""
    (tokens,) = contiguous(shape, rank)
    branches = split_branches(shape, schedule, offsets)
    local = [local_span(shape, branch.segment, tokens) for branch in branches]
    shared = sorted(shared_segments(shape, branches, tokens), key=lambda one: (-one.all_rows, one.branch, one.segment))
    return Share(
        tokens,
        tuple(range(span.start - tokens.start, span.stop - tokens.start) for span in local),
        tuple(shared),
        _most_shared(shape, schedule, offsets) - len(shared),
    )


def split_branches(shape: AttentionShape, schedule: Schedule, offsets: str) -> tuple[SplitBranch, ...]:
    """Every branch of a schedule, in its order."""
    return tuple(
        SplitBranch(min(w, shape.seq_len), streams_of(shape.heads, shape.kv_heads, r, offsets))
        for w, r in schedule.branches
    )


@lru_cache(maxsize=256)
def streams_of(heads: int, kv_heads: int, dilation: int, offsets: str) -> Streams:
    """The streams of a branch of that dilation rate."""
    group = heads // kv_heads
    pairs = sorted({(head_offset(head, dilation, heads, offsets), head // group) for head in range(heads)})
    return Streams(dilation, tuple(pairs), tuple(phase for phase, _ in pairs))


def local_span(shape: AttentionShape, segment: int, tokens: range) -> range:
    """The tokens of those segments that lie within ``tokens``, in the sequence."""
    start = -(-tokens.start // segment) * segment
    stop = tokens.stop if tokens.stop == shape.seq_len else tokens.stop // segment * segment
    return range(start, max(start, stop))


def shared_segments(shape: AttentionShape, branches: Iterable[SplitBranch], tokens: range) -> Iterator[Shared]:
    """The segments that lie partly within ``tokens``, without those that have no rows at all."""
    for number, branch in enumerate(branches):
        w, streams = branch.segment, branch.streams
        first, last = tokens.start // w, (tokens.stop - 1) // w
        cut_off = [first] if tokens.start % w else []
        if tokens.stop % w and tokens.stop != shape.seq_len and last not in cut_off:
            cut_off.append(last)
        for segment in cut_off:
            start = segment * w
            length = min(w, shape.seq_len - start)
            if all_rows := streams.rows_before(length):
                ranks = range(owner(shape, start), owner(shape, start + length - 1) + 1)
                low, high = max(0, tokens.start - start), min(length, tokens.stop - start)
                before = streams.rows_before(low)
                rows = streams.rows_before(high) - before
                yield Shared(number, segment, start, length, ranks, low, high, before, rows, all_rows)


@lru_cache(maxsize=64)
def _most_shared(shape: AttentionShape, schedule: Schedule, offsets: str) -> int:
    branches = split_branches(shape, schedule, offsets)
    spans = (contiguous(shape, rank)[0] for rank in range(shape.world_size))
    return max(sum(1 for _ in shared_segments(shape, branches, tokens)) for tokens in spans)


@lru_cache(maxsize=64)
def sharing_ranks(shape: AttentionShape, schedule: Schedule, offsets: str) -> tuple[range, ...]:
    """Every set of ranks that share a segment, in an order that all ranks have."""
    branches = split_branches(shape, schedule, offsets)
    spans = (contiguous(shape, rank)[0] for rank in range(shape.world_size))
    found = {shared.ranks for tokens in spans for shared in shared_segments(shape, branches, tokens)}
    return tuple(sorted(found, key=lambda ranks: (ranks.start, ranks.stop)))


@lru_cache(maxsize=512)
def part_rows(shape: AttentionShape, shared: Shared, streams: Streams) -> tuple[int, ...]:
    """The rows of each of a shared segment's ranks."""
    spans = [cut(shape.seq_len, shape.world_size, rank) for rank in shared.ranks]
    borders = [0, *(span.stop - shared.start for span in spans[:-1]), shared.length]
    before = [streams.rows_before(border) for border in borders]
    return tuple(after - rows for rows, after in pairwise(before))


@lru_cache(maxsize=512)
def query_heads(shape: AttentionShape, shared: Shared, streams: Streams, offsets: str) -> tuple[Alike, ...]:
    """The query heads that have a member on this rank."""
    streams_by_pair = {pair: stream for stream, pair in enumerate(streams.pairs)}
    heads = []
    for head in range(shape.heads):
        phase = head_offset(head, streams.dilation, shape.heads, offsets)
        heads.append((head, phase, streams_by_pair[phase, head // shape.group_size]))
    return _alike(shared, streams, sorted(heads, key=lambda one: (one[2], one[0])))


@lru_cache(maxsize=512)
def key_heads(shared: Shared, streams: Streams) -> tuple[Alike, ...]:
    """The key heads that have a member on this rank, once for each of their streams; streams are consecutive."""
    return _alike(shared, streams, [(head, phase, stream) for stream, (phase, head) in enumerate(streams.pairs)])


def _alike(shared: Shared, streams: Streams, heads: Iterable[tuple[int, int, int]]) -> tuple[Alike, ...]:
    found: dict[tuple[int, int, int], list[tuple[int, int, int]]] = {}
    for head in heads:
        before, through, whole = (
            streams.members_before(tokens, head[1]) for tokens in (shared.low, shared.high, shared.length)
        )
        if through > before:
            found.setdefault((before, through - before, whole), []).append(head)
    return tuple(Alike(*members, tuple(alike)) for members, alike in found.items())
