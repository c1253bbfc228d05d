"""Reachability against a search over the dense adjacency, for patterns nobody would choose on purpose."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from attention_impls.dilated.pattern import DilatedPattern
from attention_impls.dilated.schedule import Schedule, named_schedule
from attention_impls.pattern import FullPattern, Pattern
from attention_impls.reach.groups import group_hops
from attention_impls.reach.ranges import MAX_LISTED_PAIRS, keys_of, queries_of, range_hops
from attention_impls.reach.search import MAX_TOKENS, search
from attention_impls.shape import AttentionShape
from attention_impls.sparse.pattern import FixedPattern, SlidingWindowPattern, StridedPattern


def dense_hops(pattern: Pattern, start: int, heads: Sequence[int], directed: bool) -> list[int]:
    """Breadth-first search over the N x N matrix of who sees whom; -1 where there is no path."""
    n = pattern.shape.seq_len
    flows = np.zeros((n, n), dtype=bool)  # from a key to a query
    for head in heads:
        for query in range(n):
            for keys in pattern.key_ranges(head, query):
                flows[list(keys), query] = True
    if not directed:
        flows |= flows.T
    hops = np.full(n, -1)
    hops[start], hop, frontier = 0, 0, np.arange(n) == start
    while frontier.any():
        hop += 1
        frontier = flows[frontier].any(0) & (hops < 0)
        hops[frontier] = hop
    return hops.tolist()


@dataclass(frozen=True)
class OnlyKeys:
    """Anybody's pattern: it names the keys of a query, and not the queries of a key."""

    whole: Pattern
    exact_mixing: bool = True

    @property
    def shape(self) -> AttentionShape:
        return self.whole.shape

    def key_ranges(self, head: int, query: int) -> Sequence[range]:
        return [keys[::-1] for keys in self.whole.key_ranges(head, query)]

    def pairs(self) -> int:
        return self.whole.pairs()


@st.composite
def shapes(draw: st.DrawFn, heads: int) -> AttentionShape:
    return AttentionShape(draw(st.integers(1, 70)), heads=heads, kv_heads=1, causal=draw(st.booleans()))


@st.composite
def dilated(draw: st.DrawFn) -> DilatedPattern:
    branches = draw(st.integers(1, 4))
    lengths = st.lists(st.integers(1, 80), min_size=branches, max_size=branches)
    rates = st.lists(st.integers(1, 20), min_size=branches, max_size=branches)
    shape = draw(shapes(draw(st.integers(1, 5))))
    return DilatedPattern(shape, Schedule.of(draw(lengths), draw(rates)), draw(st.sampled_from(["paper", "grouped"])))


@st.composite
def others(draw: st.DrawFn) -> Pattern:
    shape, length = draw(shapes(2)), draw(st.integers(1, 20))
    return draw(
        st.sampled_from(
            [
                FullPattern(shape),
                SlidingWindowPattern(shape, length),
                StridedPattern(shape, length),
                FixedPattern(shape, length, draw(st.integers(1, length))),
            ]
        )
    )


@settings(max_examples=250)
@given(dilated() | others(), st.data(), st.booleans())
def test_hops_are_those_of_a_search_over_the_dense_graph(pattern: Pattern, data: st.DataObject, directed: bool) -> None:
    start = data.draw(st.integers(0, pattern.shape.seq_len - 1))
    every = range(pattern.shape.heads)
    heads = data.draw(st.none() | st.sets(st.sampled_from(every), min_size=1).map(sorted))
    found = search(pattern, start, heads=heads, directed=directed)
    assert found.hops.tolist() == dense_hops(pattern, start, every if heads is None else heads, directed)


@settings(max_examples=100)
@given(dilated(), st.data(), st.booleans())
def test_a_pattern_that_names_only_keys_is_walked_too(
    pattern: DilatedPattern, data: st.DataObject, directed: bool
) -> None:
    start = data.draw(st.integers(0, pattern.shape.seq_len - 1))
    found = search(OnlyKeys(pattern), start, directed=directed)
    assert found.hops.tolist() == dense_hops(pattern, start, range(pattern.shape.heads), directed)


@settings(max_examples=60)
@given(st.integers(1, 2000), st.integers(0, 1999), st.booleans(), st.booleans(), st.integers(1, 9))
def test_groups_and_ranges_agree_on_longer_sequences(
    n: int, start: int, causal: bool, directed: bool, heads: int
) -> None:
    shape = AttentionShape(n, heads=heads, kv_heads=1, causal=causal)
    pattern = DilatedPattern(shape, Schedule.of([32, 96, 700], [1, 3, 12]))
    start, chosen = start % n, range(heads)
    queries, keys = queries_of(pattern, chosen), keys_of(pattern, chosen)
    edges = queries if directed else lambda token: [*queries(token), *keys(token)]
    by_ranges = range_hops(edges, n, start, n)
    assert group_hops(pattern, start, chosen, directed=directed).tolist() == by_ranges.tolist()


def worked_example(causal: bool) -> DilatedPattern:
    shape = AttentionShape(16, heads=1, kv_heads=1, causal=causal)
    return DilatedPattern(shape, Schedule.of([4, 8, 16], [1, 2, 4]))


@pytest.mark.parametrize("causal", [False, True])
def test_the_worked_example_reaches_all_tokens_undirected(causal: bool) -> None:
    found = search(worked_example(causal), 5, directed=False)
    assert found.hops.tolist() == [2, 3, 2, 3, 1, 0, 1, 1, 2, 3, 3, 3, 2, 3, 3, 3]
    assert (found.reached, found.possible, found.longest) == (16, 16, 3)
    assert found.histogram == [1, 3, 4, 8]
    assert [found.within(depth) for depth in range(5)] == [1, 4, 8, 16, 16]


def test_the_worked_example_reaches_three_tokens_causally() -> None:
    found = search(worked_example(causal=True), 5, directed=True)
    assert np.flatnonzero(found.hops >= 0).tolist() == [5, 6, 7]
    assert (found.reached, found.possible, found.longest) == (3, 11, 1)


def test_a_million_tokens_are_searched_by_group() -> None:
    """Its 22 billion pairs would not end; the segment that spans all tokens reaches them in two hops."""
    n = 1 << 20
    schedule = Schedule.of(
        [*named_schedule("geometric", n).segments, n], [*named_schedule("geometric", n).dilations, 512]
    )
    pattern = DilatedPattern(AttentionShape(n), schedule)
    for directed in (True, False):
        found = search(pattern, n // 2, directed=directed)
        assert (found.reached, found.longest) == (n, 2)
        assert sum(found.histogram) == n


def test_heads_that_are_alike_are_walked_once() -> None:
    asked: set[int] = set()

    class Watched:
        heads_alike = True
        shape = AttentionShape(64, heads=8, kv_heads=8)
        whole = StridedPattern(shape, 8)

        def key_ranges(self, head: int, query: int) -> Sequence[range]:
            asked.add(head)
            return self.whole.key_ranges(head, query)

        def query_ranges(self, head: int, key: int) -> Sequence[range]:
            asked.add(head)
            return self.whole.query_ranges(head, key)

    watched: Any = Watched()
    found = search(watched, 20, directed=False)
    assert asked == {0}
    assert found.hops.tolist() == dense_hops(Watched.whole, 20, range(8), directed=False)


def test_a_window_is_walked_once_however_long() -> None:
    n, window = 20_000, 7
    found = search(SlidingWindowPattern(AttentionShape(n, heads=1, kv_heads=1, causal=True), window), 0, directed=True)
    assert found.hops.tolist() == [-(-token // (window - 1)) for token in range(n)]


@pytest.mark.parametrize(
    ("pattern", "start", "heads", "message"),
    [
        (FullPattern(AttentionShape(8)), 8, None, "no token 8: they are 0 to 7"),
        (FullPattern(AttentionShape(8)), -1, None, "no token -1"),
        (FullPattern(AttentionShape(8)), 0, [8], "no head 8: they are 0 to 7"),
        (FullPattern(AttentionShape(MAX_TOKENS + 1)), 0, None, "16,777,217 tokens are more than"),
        (
            OnlyKeys(FullPattern(AttentionShape(4096))),
            0,
            None,
            f"more than the {MAX_LISTED_PAIRS:,} that can be listed",
        ),
    ],
)
def test_what_cannot_be_searched_is_refused(
    pattern: Pattern, start: int, heads: list[int] | None, message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        search(pattern, start, heads=heads, directed=True)
