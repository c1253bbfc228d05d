"""Hops through any pattern, along the ranges it names.

Each token is taken once: for every step that a range has, pointers lead past the tokens already reached
(a union-find with path halving), so a range costs nearly nothing beyond the tokens it is the first to reach.
The walk is O(ranges + steps x N) up to the inverse Ackermann function, with the ranges of one call a head and
token, and ``steps`` the number of different steps: 1 for a window, 2 for strided attention.
"""

from __future__ import annotations

from array import array
from collections.abc import Callable, Iterable, Sequence
from itertools import chain

import numpy as np
from numpy.typing import NDArray

from attention_impls.pattern import Pattern

Edges = Callable[[int], Iterable[range]]
"""The tokens one hop from a token."""

MAX_LISTED_PAIRS = 1 << 22
"""Most (query, key) pairs that are listed to turn a pattern round: some 100 MiB."""


class _Unreached:
    """Which tokens have been reached, and after how many hops."""

    def __init__(self, seq_len: int) -> None:
        self.hops = array("i", [-1]) * seq_len
        self._pointers: dict[int, array[int]] = {}

    def take(self, tokens: range, hop: int) -> list[int]:
        """Those of ``tokens`` that are reached now for the first time, with ``hop`` hops."""
        if not tokens:
            return []
        if tokens.step < 0:
            tokens = tokens[::-1]
        step = tokens.step if len(tokens) > 1 else 1
        following = self._following(step)
        found, last = [], tokens[-1]
        at = _end(following, tokens.start)
        while at <= last:
            if self.hops[at] < 0:
                self.hops[at] = hop
                found.append(at)
            following[at] = at + step
            at = _end(following, at + step)
        return found

    def _following(self, step: int) -> array[int]:
        """From each token, one at or after it, whole steps on, with nothing unreached between."""
        if step not in self._pointers:
            self._pointers[step] = array("q", range(len(self.hops) + step))
        return self._pointers[step]


def _end(following: array[int], at: int) -> int:
    while (then := following[at]) != at:
        following[at] = following[then]
        at = following[at]
    return at


def range_hops(edges: Edges, seq_len: int, start: int, most: int) -> NDArray[np.int32]:
    """Fewest hops from ``start`` to every token, (seq_len,); -1 where there is no path.

    ``most`` is how many tokens can be reached at most: the walk ends there.
    """
    unreached = _Unreached(seq_len)
    frontier = unreached.take(range(start, start + 1), 0)
    reached, hop = 1, 0
    while frontier and reached < most:
        hop += 1
        frontier = [one for token in frontier for tokens in edges(token) for one in unreached.take(tokens, hop)]
        reached += len(frontier)
    return np.frombuffer(unreached.hops, dtype=np.int32)


def keys_of(pattern: Pattern, heads: Sequence[int]) -> Edges:
    """The keys that a token sees."""
    return lambda query: chain.from_iterable(pattern.key_ranges(head, query) for head in heads)


def queries_of(pattern: Pattern, heads: Sequence[int]) -> Edges:
    """The queries that see a token: as ``pattern.query_ranges`` names them or, without it, from a list of its pairs.

    Raises:
        ValueError: it has no ``query_ranges``, and more pairs than can be listed.
    """
    named: Callable[[int, int], Sequence[range]] | None = getattr(pattern, "query_ranges", None)
    if named is not None:
        return lambda key: chain.from_iterable(named(head, key) for head in heads)
    return _listed(pattern, heads)


def _listed(pattern: Pattern, heads: Sequence[int]) -> Edges:
    shape = pattern.shape
    pairs = pattern.pairs() // (shape.batch * shape.heads) * len(heads)
    if pairs > MAX_LISTED_PAIRS:
        raise ValueError(
            f"the pattern has no query_ranges(head, key), and its {pairs:,} pairs are more than the "
            f"{MAX_LISTED_PAIRS:,} that can be listed instead: take a shorter sequence, or add query_ranges"
        )
    rows = [(q, keys) for head in heads for q in range(shape.seq_len) for keys in pattern.key_ranges(head, q) if keys]
    keys = np.concatenate([np.arange(r.start, r.stop, r.step) for _, r in rows]) if rows else np.zeros(0, np.int64)
    queries = np.repeat([q for q, _ in rows], [len(r) for _, r in rows]).astype(np.int64)
    queries = queries[np.argsort(keys, kind="stable")]
    ends = np.cumsum(np.bincount(keys, minlength=shape.seq_len)).tolist()
    return lambda key: (range(q, q + 1) for q in queries[ends[key - 1] if key else 0 : ends[key]].tolist())
