"""The mask of a pattern in tiles: how many pairs each square of queries and keys holds.

Keys are counted by arithmetic on the ranges of a query, so that a row costs its ranges times the tiles and
never its keys. Where there are too many rows, evenly spaced ones stand for the others.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from math import isqrt

import numpy as np
from numpy.typing import NDArray

from attention_impls.pattern import Pattern

MOST_TILES = 256
"""Tiles to a side; a sequence up to this long is shown cell by cell."""
ROWS = 1 << 18
"""About how many (head, query) rows are counted in a whole mask."""
LEAST_ROWS = 64
"""Queries counted in a row of tiles, at the least."""
_LEAST_SPACING = 5
"""Dilations and strides are mostly products of 2 and 3: rows spaced by a larger prime meet all their phases."""
_CHUNK = 1 << 12

Matrix = NDArray[np.float64]


@dataclass(frozen=True, slots=True, eq=False)
class Tiles:
    """The mask of some heads, queries down and keys across.

    Attributes:
        seq_len: tokens to a side of the mask.
        size: tokens to a side of a tile; the last ones may be smaller.
        heads: how many heads are taken together.
        values: with tiles of one token, how often each (query, key) is seen, summed over the heads;
            else pairs over the area of the tile, the mean of the heads.
        spacing: every which query was counted: 1 for all of them.
    """

    seq_len: int
    size: int
    heads: int
    values: Matrix
    spacing: int

    @property
    def exact(self) -> bool:
        """Whether each tile is a single cell of the mask."""
        return self.size == 1


def tile_pattern(pattern: Pattern, heads: Sequence[int]) -> Tiles:
    """The mask that ``heads`` have together, in at most 256 x 256 tiles."""
    n = pattern.shape.seq_len
    size = -(-n // MOST_TILES)
    edges = np.append(np.arange(0, n, size), n)
    spacing = _spacing(size, max(LEAST_ROWS, ROWS // (MOST_TILES * len(heads))))
    values = np.zeros((len(edges) - 1, len(edges) - 1))
    for row, first in enumerate(range(0, n, size)):
        queries = range(first, min(first + size, n), spacing)
        seen = Counter(keys for head in heads for query in queries for keys in pattern.key_ranges(head, query) if keys)
        values[row] = _pairs(seen, edges) / (len(queries) * np.diff(edges))
    return Tiles(n, size, len(heads), values if size == 1 else values / len(heads), spacing)


def _pairs(seen: Counter[range], edges: NDArray[np.int64]) -> Matrix:
    """Pairs between each two ``edges``, of ranges with how often each occurs."""
    ranges = list(seen)
    total = np.zeros(len(edges) - 1)
    for begin in range(0, len(ranges), _CHUNK):
        chunk = [
            (min(keys[0], keys[-1]), abs(keys.step), len(keys), seen[keys]) for keys in ranges[begin : begin + _CHUNK]
        ]
        first, step, count, times = (column[:, None] for column in np.array(chunk).T)
        below = np.clip(-((first - edges) // step), 0, count)  # keys below each edge
        total += (np.diff(below, axis=1) * times).sum(0)
    return total


def _spacing(size: int, wanted: int) -> int:
    """A prime that leaves at least ``wanted`` of ``size`` queries, or 1."""
    return next((p for p in range(size // wanted, _LEAST_SPACING - 1, -1) if _prime(p)), 1)


def _prime(number: int) -> bool:
    return all(number % factor for factor in range(2, isqrt(number) + 1))
