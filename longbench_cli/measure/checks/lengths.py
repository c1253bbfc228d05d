"""Which sequence lengths to examine an attention at. Plain numbers: no torch."""

from __future__ import annotations

from collections.abc import Callable
from math import isqrt

from attention_impls.pattern import Pattern

SHORTEST, LONGEST = 1024, 8192
"""Between these the default length is chosen: long enough for kernels' blocks, short enough for a CPU."""

_EDGE = 64
"""Queries looked at, of all heads, at the beginning, about the middle and at the end."""


def acting_length(pattern_at: Callable[[int], Pattern]) -> int:
    """The shortest power of two at which a pattern does all that it does at :data:`LONGEST`.

    What it does, of a few queries: the most ranges of keys that one sees, and whether such a range has
    gaps, begins after and ends before the keys that there are.
    """
    whole, length = _doings(pattern_at(LONGEST)), LONGEST
    while length > SHORTEST:
        try:
            if _doings(pattern_at(length // 2)) != whole:
                break
        except ValueError:  # it declines what is shorter
            break
        length //= 2
    return length


def _doings(pattern: Pattern) -> tuple[int, frozenset[tuple[bool, bool, bool]]]:
    shape = pattern.shape
    n = shape.seq_len
    queries = {*range(_EDGE), *range(n // 2 - _EDGE // 2, n // 2 + _EDGE // 2), *range(n - _EDGE, n)}
    rows = [
        (n if not shape.causal else query + 1, pattern.key_ranges(head, query))
        for query in queries
        for head in range(shape.heads)
    ]
    kinds = {
        (keys.step > 1, keys.start >= keys.step, keys.start + len(keys) * keys.step < end)
        for end, ranges in rows
        for keys in ranges
    }
    return max(len(ranges) for _, ranges in rows), frozenset(kinds)


def ragged_lengths(length: int) -> list[int]:
    """Lengths that fit no block: 1, 2, 17, a prime near a third of ``length``, and both its neighbours."""
    third = max(2, length // 3)
    prime = next(n for n in range(third, 2 * third) if _is_prime(n))
    return sorted({n for n in (1, 2, 17, prime, length - 1, length + 1) if n >= 1} - {length})


def _is_prime(number: int) -> bool:
    return number > 1 and all(number % divisor for divisor in range(2, isqrt(number) + 1))
