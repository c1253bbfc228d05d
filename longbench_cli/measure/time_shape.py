"""What a list of times looks like: does it rise or fall, has it two modes? Pure functions."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import accumulate, combinations, pairwise
from statistics import median

STRETCHES = 9
"""A trend is looked for in the medians of this many consecutive stretches: long ones average out what
neighbours share, which a test of single times would take for a trend."""

_LEAST_SCORE = 26
"""Of 36 pairs of 9 stretches: independent medians in random order come to 26 or more, either way, in 0.6%
of cases (2 x 1068 of 9! orders have at most 5 pairs against)."""

_LEAST_FOR_MODES = 30
_LEAST_SHARE = 0.2
_LEAST_SEPARATION = 5.0


def trend(times: Sequence[float]) -> float | None:
    """Median of the last third over that of the first, less 1, if the times rise or fall; None if not.

    They do if Mann's rank test (Mann, Nonparametric Tests Against Trend, Econometrica 13, 1945) over
    the medians of 9 consecutive stretches says so at 0.6%, in the direction of that difference. None
    too below 9 times.
    """
    n = len(times)
    if n < STRETCHES:
        return None
    bounds = [n * place // STRETCHES for place in range(STRETCHES + 1)]
    medians = [median(times[start:stop]) for start, stop in pairwise(bounds)]
    score = sum((later > earlier) - (later < earlier) for earlier, later in combinations(medians, 2))
    first, last = median(times[: n // 3]), median(times[-(n // 3) :])
    change = last / first - 1 if first > 0 else 0.0
    return change if abs(score) >= _LEAST_SCORE and score * change > 0 else None


def two_modes(times: Sequence[float]) -> tuple[float, float, float] | None:
    """The centres of two modes and the share of the upper one; None if there are not two.

    The times are cut in two where the squared deviations within the parts are least (Otsu, A threshold
    selection method, IEEE Trans. SMC 9, 1979). The parts are modes if each holds 20% of the times and
    Ashman's D = |m1 - m2| / sqrt((s1^2 + s2^2) / 2) is at least 5 (Ashman, Bird and Zepf, Detecting
    bimodality in astronomical datasets, Astronomical Journal 108, 1994, who take 2 for clearly
    separated normals; but halves of ONE normal cut in this way have 2.6, of a uniform 3.5). Of fewer
    than 30 times nothing is said.
    """
    n = len(times)
    if n < _LEAST_FOR_MODES:
        return None
    ordered = sorted(times)
    centre = median(ordered)
    values = [value - centre for value in ordered]  # near 0, or the sums of squares lose their digits
    sums = list(accumulate(values))
    squares = list(accumulate(value * value for value in values))

    def part(start: int, stop: int) -> tuple[float, float]:
        """Mean and mean squared deviation of the values from ``start`` up to ``stop``."""
        before = (sums[start - 1], squares[start - 1]) if start else (0.0, 0.0)
        count = stop - start
        mean = (sums[stop - 1] - before[0]) / count
        return mean, max(0.0, (squares[stop - 1] - before[1]) / count - mean * mean)

    least = math.ceil(_LEAST_SHARE * n)
    cut = min(range(least, n - least + 1), key=lambda at: at * part(0, at)[1] + (n - at) * part(at, n)[1])
    (low, low_spread), (high, high_spread) = part(0, cut), part(cut, n)
    if high - low <= 0 or (high - low) ** 2 < _LEAST_SEPARATION**2 * (low_spread + high_spread) / 2:
        return None
    return low + centre, high + centre, (n - cut) / n
