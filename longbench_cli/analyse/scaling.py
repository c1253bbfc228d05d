"""How a time grows with the sequence length: power-law fits, as pure functions.

The model is ``t = c N^b``, a straight line in logarithms, fitted by ordinary least squares
(Draper and Smith, Applied Regression Analysis, 3rd ed., chapter 1)::

    x = ln N, y = ln t,   b = Sxy / Sxx,   a = mean(y) - b mean(x),   c = exp(a)
    s^2 = sum (y - a - b x)^2 / (n - 2),   se(b) = s / sqrt(Sxx)
    95% interval of b:  b +- t(0.975; n - 2) se(b),     R^2 = 1 - SSres / SStot

The interval speaks of the scatter about a straight line. A curve that bends (a fixed overhead, a
cache that overflows) widens it; the local exponents show where it bends.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

UPPER_SPAN = 8
"""The fit uses lengths from the longest down to this fraction of it: below, fixed overhead shows."""

LEAST_POINTS = 3
"""Two points always lie on a line, so that nothing can be said about how well it fits."""

_LEAST_SPREAD = 1e-6
"""Of ln(N) about its mean, root of the sum of squares."""

_LARGEST_LOG = 700.0
"""A float's logarithm stays within it."""


@dataclass(frozen=True, slots=True)
class PowerLaw:
    """A fitted ``value = coefficient * N ** exponent``.

    Attributes:
        exponent: b, with its 95% interval ``low`` to ``high``.
        coefficient: c, in the unit of the values (nanoseconds for latencies).
        r_squared: share of the variance of ln(value) that the line explains.
        shortest, longest: range of N that was fitted, tokens.
        points: number of points that were fitted.
    """

    exponent: float
    low: float
    high: float
    coefficient: float
    r_squared: float
    shortest: int
    longest: int
    points: int


@dataclass(frozen=True, slots=True)
class LocalExponent:
    """Slope of ln(value) over ln(N) between two neighbouring lengths."""

    shorter: int
    longer: int
    exponent: float


def fit_power_law(lengths: Sequence[int], values: Sequence[float]) -> PowerLaw | None:
    """Fit the upper part of a curve: N >= N_max / 8 if that leaves 3 lengths, else all of it.

    Returns:
        The fit; None with fewer than 3 different lengths, or where they are so close that no line is to be had.

    Raises:
        ValueError: different numbers of lengths and values, or one that is not positive.
    """
    pairs = _checked(lengths, values)
    upper = [pair for pair in pairs if pair[0] * UPPER_SPAN >= pairs[-1][0]]
    chosen = upper if len({length for length, _ in upper}) >= LEAST_POINTS else pairs
    if len({length for length, _ in chosen}) < LEAST_POINTS:
        return None
    return _least_squares(chosen)


def local_exponents(lengths: Sequence[int], values: Sequence[float]) -> list[LocalExponent]:
    """``ln(t2 / t1) / ln(N2 / N1)`` for each pair of neighbouring lengths, shortest first.

    Raises:
        ValueError: as :func:`fit_power_law`.
    """
    pairs = _checked(lengths, values)
    return [
        LocalExponent(n1, n2, math.log(t2 / t1) / math.log(n2 / n1))
        for (n1, t1), (n2, t2) in pairwise(pairs)
        if n2 > n1
    ]


def _checked(lengths: Sequence[int], values: Sequence[float]) -> list[tuple[int, float]]:
    if len(lengths) != len(values):
        raise ValueError(f"{len(lengths)} lengths and {len(values)} values: one value a length is needed")
    if any(length < 1 for length in lengths) or any(not 0 < value < math.inf for value in values):
        raise ValueError("a power law needs positive, finite lengths and values")
    return sorted(zip(lengths, values, strict=True))


def _least_squares(pairs: list[tuple[int, float]]) -> PowerLaw | None:
    from scipy.special import stdtrit  # here, so that importing this module stays cheap

    xs = [math.log(length) for length, _ in pairs]
    ys = [math.log(value) for _, value in pairs]
    count = len(pairs)
    mean_x, mean_y = math.fsum(xs) / count, math.fsum(ys) / count
    sxx = math.fsum((x - mean_x) ** 2 for x in xs)
    if math.sqrt(sxx) < _LEAST_SPREAD:
        return None
    sxy = math.fsum((x - mean_x) * (y - mean_y) for x, y in zip(xs, ys, strict=True))
    slope = sxy / sxx
    intercept = mean_y - slope * mean_x
    if abs(intercept) > _LARGEST_LOG:
        return None
    residual = math.fsum((y - intercept - slope * x) ** 2 for x, y in zip(xs, ys, strict=True))
    total = math.fsum((y - mean_y) ** 2 for y in ys)
    error = math.sqrt(residual / (count - 2) / sxx)
    half_width = float(stdtrit(count - 2, 0.975)) * error
    return PowerLaw(
        exponent=slope,
        low=slope - half_width,
        high=slope + half_width,
        coefficient=math.exp(intercept),
        r_squared=1.0 - residual / total if total > 0 else 1.0,
        shortest=pairs[0][0],
        longest=pairs[-1][0],
        points=count,
    )
