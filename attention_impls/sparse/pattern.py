"""The patterns of sparse attention: a sliding window, and the Sparse Transformer's two factorised ones.

Child et al., 2019 (arXiv:1904.10509), section 4.3, each as the union of its two factors (section 5.1:
a "merged head"): a key that both name counts once. All heads are alike.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import sqrt
from typing import ClassVar

from attention_impls.shape import AttentionShape

PATTERNS = ("strided", "fixed")

DEFAULT_COLUMNS = 8
"""The fewest summary columns the paper uses. A share of the stride instead would cost O(N^2) pairs."""


def _non_empty(*ranges: range) -> list[range]:
    return [keys for keys in ranges if keys]


def _window_pairs(seq_len: int, window: int, causal: bool) -> int:
    window = min(window, seq_len)
    at_or_before = seq_len * window - window * (window - 1) // 2
    return at_or_before if causal else 2 * at_or_before - seq_len


@dataclass(frozen=True, slots=True)
class SlidingWindowPattern:
    """Query t sees keys t - window + 1 to t; if not causal, those less than ``window`` away on both sides."""

    shape: AttentionShape
    window: int
    exact_mixing: bool = True
    heads_alike: ClassVar[bool] = True

    def key_ranges(self, head: int, query: int) -> Sequence[range]:  # noqa: ARG002 (all heads alike)
        after = 1 if self.shape.causal else self.window
        return (range(max(0, query - self.window + 1), min(query + after, self.shape.seq_len)),)

    def query_ranges(self, head: int, key: int) -> Sequence[range]:  # noqa: ARG002 (all heads alike)
        """The queries that see ``key``."""
        before = 0 if self.shape.causal else self.window - 1
        return (range(max(0, key - before), min(key + self.window, self.shape.seq_len)),)

    def pairs(self) -> int:
        shape = self.shape
        return shape.batch * shape.heads * _window_pairs(shape.seq_len, self.window, shape.causal)


@dataclass(frozen=True, slots=True)
class StridedPattern:
    """A sliding window of ``stride`` tokens, and every ``stride``-th key beyond it.

    Query i sees the keys less than ``stride`` away and those a multiple of ``stride`` away; causal, of
    both only those at or before i.
    """

    shape: AttentionShape
    stride: int
    exact_mixing: bool = True
    heads_alike: ClassVar[bool] = True

    @property
    def window(self) -> SlidingWindowPattern:
        """The part of the pattern that is near the query."""
        return SlidingWindowPattern(self.shape, self.stride)

    def key_ranges(self, head: int, query: int) -> Sequence[range]:
        before, after = self._columns(query)
        return _non_empty(*self.window.key_ranges(head, query), before, *(() if self.shape.causal else (after,)))

    def query_ranges(self, head: int, key: int) -> Sequence[range]:
        """The queries that see ``key``; none is in two ranges."""
        before, after = self._columns(key)
        return _non_empty(*self.window.query_ranges(head, key), after, *(() if self.shape.causal else (before,)))

    def _columns(self, token: int) -> tuple[range, range]:
        """The tokens a whole number of strides before and after ``token``."""
        stride = self.stride
        return range(token % stride, token - stride + 1, stride), range(token + stride, self.shape.seq_len, stride)

    def pairs(self) -> int:
        shape = self.shape
        full, tail = divmod(shape.seq_len, self.stride)
        before = self.stride * (full * (full - 1) // 2) + tail * full  # query t has t // stride of them
        columns = before if shape.causal else 2 * before
        return self.window.pairs() + shape.batch * shape.heads * columns


@dataclass(frozen=True, slots=True)
class FixedPattern:
    """Blocks of ``stride`` tokens, and the last ``columns`` places of each as a summary for all others.

    Query i sees its own block, and in every other block the keys j with j mod stride >= stride - columns;
    causal, of both only those at or before i. The last block may be shorter: it has the summary columns
    whose places it reaches, and so perhaps none.
    """

    shape: AttentionShape
    stride: int
    columns: int
    exact_mixing: bool = True
    heads_alike: ClassVar[bool] = True

    def key_ranges(self, head: int, query: int) -> Sequence[range]:  # noqa: ARG002 (all heads alike)
        block = self._block(query)
        own = range(block.start, query + 1) if self.shape.causal else block
        first = self.stride - self.columns
        earlier = [range(place, block.start, self.stride) for place in range(first, self.stride)]
        later = [
            range(block.start + self.stride + place, self.shape.seq_len, self.stride)
            for place in range(first, self.stride)
        ]
        return _non_empty(own, *earlier, *(() if self.shape.causal else later))

    def query_ranges(self, head: int, key: int) -> Sequence[range]:  # noqa: ARG002 (all heads alike)
        """The queries that see ``key``; none is in two ranges."""
        block = self._block(key)
        own = range(key, block.stop) if self.shape.causal else block
        if key % self.stride < self.stride - self.columns:
            return (own,)
        earlier, later = range(block.start), range(block.stop, self.shape.seq_len)
        return _non_empty(own, later, *(() if self.shape.causal else (earlier,)))

    def _block(self, token: int) -> range:
        start = token - token % self.stride
        return range(start, min(start + self.stride, self.shape.seq_len))

    def pairs(self) -> int:
        shape, stride = self.shape, self.stride
        full, tail = divmod(shape.seq_len, stride)
        if shape.causal:
            own = full * (stride * (stride + 1) // 2) + tail * (tail + 1) // 2
            summary = self.columns * (stride * (full * (full - 1) // 2) + tail * full)
        else:
            own = full * stride * stride + tail * tail
            in_tail = max(0, tail - (stride - self.columns))
            everywhere = shape.seq_len * (full * self.columns + in_tail)
            summary = everywhere - full * stride * self.columns - tail * in_tail
        return shape.batch * shape.heads * (own + summary)


SparsePattern = SlidingWindowPattern | StridedPattern | FixedPattern


def window_pattern(shape: AttentionShape, window: int) -> SlidingWindowPattern:
    """The sliding window of ``window`` tokens; one longer than the sequence is full attention.

    Raises:
        ValueError: a window below 1.
    """
    if window < 1:
        raise ValueError(f"the window must be at least 1 token, not {window}")
    return SlidingWindowPattern(shape, window)


def sparse_pattern(
    shape: AttentionShape, pattern: str = "strided", stride: int | None = None, columns: int | None = None
) -> StridedPattern | FixedPattern:
    """The factorised pattern called ``pattern``.

    Args:
        shape: the attention problem.
        pattern: one of :data:`PATTERNS`.
        stride: l, in tokens; about sqrt(seq_len) if None.
        columns: c, of the fixed pattern; :data:`DEFAULT_COLUMNS`, or ``stride`` if that is less, if None.

    Raises:
        ValueError: an unknown pattern, or numbers that do not fit it.
    """
    if pattern not in PATTERNS:
        raise ValueError(f"unknown pattern {pattern!r}: choose {' or '.join(PATTERNS)}")
    stride = max(1, round(sqrt(shape.seq_len))) if stride is None else stride
    if stride < 1:
        raise ValueError(f"the stride must be at least 1 token, not {stride}")
    if pattern == "strided":
        if columns is not None:
            raise ValueError("columns belong to the fixed pattern: leave them out, or choose pattern fixed")
        return StridedPattern(shape, stride)
    columns = min(DEFAULT_COLUMNS, stride) if columns is None else columns
    if not 1 <= columns <= stride:
        raise ValueError(f"columns must lie between 1 and the stride ({stride}), not be {columns}")
    return FixedPattern(shape, stride, columns)
