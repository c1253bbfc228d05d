"""The median of a sample, and an interval for it that needs no distribution and no independence."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache

LEAST_FOR_95 = 6
"""Below 6 independent values no interval of order statistics reaches 95% (2 values of 5: 93.75%)."""

FEW = 20
"""Below 20 values neighbours look alike by chance too often; only what chance hardly does is taken for more."""

_EXACT_UP_TO = 1000
_Z95 = 1.959964
_BARTLETT = 1.645


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


def inflation(times: Sequence[float]) -> float:
    """How many values, in the order they were taken, are worth one independent value: at least 1.

    The variance of the share of values below the median is ``(1 + 2 sum rho_k)`` times what it would
    be if they were independent, rho_k the autocorrelation at lag k of the signs of x_i - median. The
    sum ends by Geyer's initial monotone sequence: sums of neighbouring lags, as long as they are
    positive, each at most the one before (Geyer, Practical Markov Chain Monte Carlo, Statistical
    Science 7, 1992, section 3.3). By Fourier transform: O(n log n). Below :data:`FEW` values it is
    1 unless rho_1 > 1.645 / sqrt(n), Bartlett's one-sided 5% bound for independent values.
    """
    import numpy as np  # here, so that importing this module stays cheap

    values = np.asarray(times, dtype=float)
    n = len(values)
    if n < LEAST_FOR_95:
        return 1.0
    signs = np.sign(values - np.median(values))
    signs -= signs.mean()
    variance = float(signs @ signs)
    if variance == 0:
        return 1.0
    size = 1 << (2 * n - 1).bit_length()  # padded: the transform's correlation is a circular one
    covariances = np.fft.irfft(np.abs(np.fft.rfft(signs, size)) ** 2, size)[: n - n % 2]
    if n < FEW and covariances[1] <= _BARTLETT / math.sqrt(n) * variance:
        return 1.0
    pairs = covariances.reshape(-1, 2).sum(axis=1)
    positive = pairs[: np.argmax(pairs <= 0)] if (pairs <= 0).any() else pairs
    return max(1.0, float(2 * np.minimum.accumulate(positive).sum() / variance) - 1)


def median_interval(ordered: Sequence[float], inflated: float = 1.0) -> tuple[float, float] | None:
    """95% interval of the median by order statistics, for values in ascending order.

    P(x_(k) <= median <= x_(n+1-k)) = 1 - 2 P(Binomial(n, 1/2) < k) whatever the distribution, if the
    values are independent (Conover, Practical Nonparametric Statistics, 3rd ed., section 3.2; for
    n > 1000 its normal approximation). If they are not, the ranks' distances from the middle grow
    with the standard deviation of the number of values below the median: by the square root of
    ``inflated`` (see :func:`inflation`). None below 6 values, or so many that are worth fewer than
    6: no such interval exists.
    """
    n = len(ordered)
    if n < LEAST_FOR_95 * inflated:
        return None
    middle = (n + 1) / 2
    k = max(1, math.floor(middle - (middle - _lower_rank(n)) * math.sqrt(inflated)))
    return float(ordered[k - 1]), float(ordered[n - k])


def relative_half_width(ordered: Sequence[float], inflated: float = 1.0) -> float:
    """Half the 95% interval over the median; half the whole spread where there is none; inf for a single value."""
    if len(ordered) < 2:
        return math.inf
    low, high = median_interval(ordered, inflated) or (ordered[0], ordered[-1])
    centre = median(ordered)
    return (high - low) / 2 / centre if centre > 0 else 0.0


def is_precise(noise: float, interval: tuple[float, float] | None, precision: float) -> bool:
    """Whether ``noise``, a relative half width, is within ``precision``.

    Where there is no ``interval`` because neighbours are too much alike, it is the half of a spread that
    may not be over: then the whole spread must be within ``precision``.
    """
    return noise <= (precision if interval is not None else precision / 2)


def quantile(ordered: Sequence[float], share: float) -> float:
    """Nearest-rank quantile of values in ascending order."""
    return float(ordered[max(0, math.ceil(share * len(ordered)) - 1)])
