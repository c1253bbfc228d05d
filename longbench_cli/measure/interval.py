"""The median of a sample and its distribution-free interval."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache

LEAST_FOR_95 = 6
"""Below 6 values no interval of order statistics reaches 95% (2 values of 5: 93.75%)."""

_EXACT_UP_TO = 1000
_Z95 = 1.959964


@lru_cache(maxsize=4096)
def _lower_rank(n: int) -> int:
    """Largest k such that the median lies in [x_(k), x_(n+1-k)] with probability >= 95% (ranks from 1)."""
    if n > _EXACT_UP_TO:
        return max(1, math.floor((n - _Z95 * math.sqrt(n)) / 2))
    tail, k = 0, 0
    while 2 * (tail + math.comb(n, k)) <= 0.05 * 2**n:
        tail += math.comb(n, k)
        k += 1
    return k


def median(ordered: Sequence[float]) -> float:
    """The median of values in ascending order."""
    middle = len(ordered) // 2
    return float(ordered[middle]) if len(ordered) % 2 else (ordered[middle - 1] + ordered[middle]) / 2


def median_interval(ordered: Sequence[float]) -> tuple[float, float] | None:
    """95% interval of the median by order statistics, for values in ascending order.

    P(x_(k) <= median <= x_(n+1-k)) = 1 - 2 P(Binomial(n, 1/2) < k) whatever the distribution, if the
    values are independent (Conover, Practical Nonparametric Statistics, 3rd ed., section 3.2; for
    n > 1000 its normal approximation). None below 6 values, where no such interval exists.
    """
    n = len(ordered)
    if n < LEAST_FOR_95:
        return None
    k = _lower_rank(n)
    return float(ordered[k - 1]), float(ordered[n - k])


def relative_half_width(ordered: Sequence[float]) -> float:
    """Half the 95% interval over the median; half the whole spread below 6 values; inf for a single one."""
    if len(ordered) < 2:
        return math.inf
    low, high = median_interval(ordered) or (ordered[0], ordered[-1])
    centre = median(ordered)
    return (high - low) / 2 / centre if centre > 0 else 0.0


def quantile(ordered: Sequence[float], share: float) -> float:
    """Nearest-rank quantile of values in ascending order."""
    return float(ordered[max(0, math.ceil(share * len(ordered)) - 1)])
