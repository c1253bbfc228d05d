"""Reachability: how many hops information needs from one token to the others.

The attention graph has an edge from a key to each query that sees it. A layer is a hop: after h layers a token
can hold something of the tokens that reach it in at most h hops. Heads are taken together, since a layer mixes
them. *Directed* follows that flow; *undirected* takes each edge both ways, which a causal model cannot.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain

import numpy as np
from numpy.typing import NDArray

from attention_impls.dilated.pattern import DilatedPattern
from attention_impls.pattern import Pattern
from attention_impls.reach.groups import group_hops
from attention_impls.reach.ranges import Edges, keys_of, queries_of, range_hops

MAX_TOKENS = 1 << 24
"""The longest sequence that is searched: a search holds a few numbers a token and branch."""


@dataclass(frozen=True, slots=True, eq=False)
class Reach:
    """The hops from ``start`` to every token, (seq_len,); -1 where there is no path.

    ``possible`` tokens can be reached at most: causal and directed, those from ``start`` on.
    """

    start: int
    hops: NDArray[np.int32]
    possible: int

    @property
    def histogram(self) -> list[int]:
        """How many tokens are 0, 1, 2, ... hops away."""
        counts: list[int] = np.bincount(self.hops[self.hops >= 0]).tolist()
        return counts

    @property
    def reached(self) -> int:
        """How many tokens there is a path to, ``start`` included."""
        return int(np.count_nonzero(self.hops >= 0))

    @property
    def longest(self) -> int:
        """Hops to the tokens that are farthest away, of those reached."""
        return int(self.hops.max())

    def within(self, depth: int) -> int:
        """How many tokens are at most ``depth`` hops away."""
        return int(np.count_nonzero((self.hops >= 0) & (self.hops <= depth)))


def search(pattern: Pattern, start: int, *, heads: Sequence[int] | None = None, directed: bool) -> Reach:
    """Breadth-first search from ``start`` over the attention graph of ``heads`` together (None: all of them).

    Dilated attention is walked from group to group (:mod:`attention_impls.reach.groups`), any other pattern along
    the ranges it names (:mod:`attention_impls.reach.ranges`); neither ever holds N x N of anything.

    Raises:
        ValueError: no such token or head, a sequence above :data:`MAX_TOKENS`, or a pattern that neither names
            the queries of a key nor is small enough to list its pairs.
    """
    shape = pattern.shape
    n, chosen = shape.seq_len, range(shape.heads) if heads is None else heads
    if not 0 <= start < n:
        raise ValueError(f"there is no token {start}: they are 0 to {n - 1}")
    for head in chosen:
        if not 0 <= head < shape.heads:
            raise ValueError(f"there is no head {head}: they are 0 to {shape.heads - 1}")
    if n > MAX_TOKENS:
        raise ValueError(f"{n:,} tokens are more than the {MAX_TOKENS:,} that can be searched: take fewer")
    possible = n - start if directed and shape.causal else n
    if isinstance(pattern, DilatedPattern):
        hops = group_hops(pattern, start, chosen, directed=directed)
    else:
        distinct = chosen[:1] if getattr(pattern, "heads_alike", False) else chosen
        hops = range_hops(_edges(pattern, distinct, directed), n, start, possible)
    return Reach(start, hops, possible)


def _edges(pattern: Pattern, heads: Sequence[int], directed: bool) -> Edges:
    queries, keys = queries_of(pattern, heads), keys_of(pattern, heads)
    return queries if directed else lambda token: chain(queries(token), keys(token))
