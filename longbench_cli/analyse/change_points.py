"""Where a series of times, a run each, moved to another level and stayed there.

Of x = ln(time), because noise of times multiplies:

1. The noise s is robust against steps: 1.4826 MAD of first differences / sqrt(2), and at least :data:`LEAST_NOISE`.
2. A single run that is further than :data:`SPIKE` s from the median of the 5 runs about it is a spike, not a level; it
   counts as that median here (Hampel's identifier: Davies and Gather, The identification of multiple outliers, 1993).
3. Candidates: the segmentation that minimises squared deviations plus :data:`PENALTY` s^2 ln(n) a change, segments of
   at least :data:`LEAST_RUNS` runs, exactly, by PELT (Killick, Fearnhead and Eckley, Optimal detection of changepoints
   with a linear computational cost, 2012) as ruptures has it.
4. Each candidate has to pass a test of its own, the weakest dropped first and the rest tested again: a step of at least
   the minimum effect; Student's t between its two segments at :data:`LEVEL`; and no run of a segment shorter than
   :data:`FEW` nearer to the other level than a quarter of the step. Runs that follow each other may be alike: the
   variance grows by (1 + r) / (1 - r), r the autocorrelation of what is left over, where it is more than chance does.

Testing what a search proposed is how Hunter does it (Fleming et al., Hunter: using change point detection to hunt for
performance regressions, ICPE 2023). The place was searched for, so :data:`LEVEL` is not the rate of false changes; that
rate was simulated (docs/history.md).
"""

from __future__ import annotations

import itertools
import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    Values = npt.NDArray[np.float64]

LEAST_RUNS: Final = 3
"""Runs on each side of a change."""

LEVEL: Final = 3e-4
PENALTY: Final = 4.0
SPIKE: Final = 4.0
LEAST_NOISE: Final = 1e-3
FEW: Final = 6
_WINDOW = 5
_MAD_TO_SD = 1.4826
_BARTLETT = 1.645
_LEAST_FOR_CORRELATION = 12
_NEAR = 0.25


@dataclass(frozen=True, slots=True)
class Stretch:
    """Runs on one level.

    Attributes:
        start, stop: places of its first run, and of the first after it.
        level: geometric mean of its values, spikes aside; the median of too few to have a change.
        ratio: its level over the one before, and ``interval`` the 95% interval of that; None of the first stretch.
    """

    start: int
    stop: int
    level: float
    ratio: float | None = None
    interval: tuple[float, float] | None = None


def stretches(values: Sequence[float], least_effect: float) -> list[Stretch]:
    """The stretches of ``values``, in their order; one where no change is found, none of no value.

    Args:
        values: times above 0, in the order of the runs.
        least_effect: the smallest step that counts, as a share: 0.03 is 3% up, or down by as much (ratio 1 / 1.03).
    """
    count = len(values)
    if count < 2 * LEAST_RUNS:
        return [Stretch(0, count, statistics.median(values))] if count else []
    import numpy as np
    import ruptures

    logs = np.log(np.asarray(values, dtype=np.float64))
    noise = max(_noise(logs), LEAST_NOISE)
    calm = _without_spikes(logs, noise)
    search = ruptures.KernelCPD(kernel="linear", min_size=LEAST_RUNS).fit(calm.reshape(-1, 1))
    ends = [0, *search.predict(pen=PENALTY * noise**2 * math.log(count))]
    while len(ends) > 2:
        found = [_Step.of(calm, ends, place) for place in range(1, len(ends) - 1)]
        weakest = min(range(len(found)), key=lambda place: found[place].strength(least_effect))
        if found[weakest].strength(least_effect) >= 0:
            break
        del ends[weakest + 1]
    return _stretches(calm, ends)


def _stretches(calm: Values, ends: list[int]) -> list[Stretch]:
    made = []
    for place, (start, stop) in enumerate(itertools.pairwise(ends)):
        level = _rounded(math.exp(float(calm[start:stop].mean())))
        if place == 0:
            made.append(Stretch(start, stop, level))
        else:
            step = _Step.of(calm, ends, place)
            made.append(Stretch(start, stop, level, math.exp(step.size), step.interval))
    return made


def _rounded(value: float) -> float:
    """Without what a logarithm and its inverse leave in the last digits."""
    return float(f"{value:.12g}")


@dataclass(frozen=True, slots=True)
class _Step:
    """From one segment to the next: ``size`` in logarithms, its standard error, and degrees of freedom."""

    size: float
    error: float
    freedom: int
    clear: bool

    @classmethod
    def of(cls, calm: Values, ends: list[int], place: int) -> _Step:
        import numpy as np

        before, after = calm[ends[place - 1] : ends[place]], calm[ends[place] : ends[place + 1]]
        over = np.concatenate([calm[i:j] - calm[i:j].mean() for i, j in itertools.pairwise(ends)])
        freedom = len(before) + len(after) - 2
        own = (len(before) * before.var() + len(after) * after.var()) / freedom
        # A short segment looks calm by chance: it is not taken to be calmer than the whole series.
        variance = max(float(own), float(over @ over) / (len(calm) - len(ends) + 1), LEAST_NOISE**2)
        size = float(after.mean() - before.mean())
        error = math.sqrt(_inflation(over, len(ends) - 1) * variance * (1 / len(before) + 1 / len(after)))
        return cls(size, error, freedom, _stays_clear(before, after) and _stays_clear(after, before))

    def strength(self, least_effect: float) -> float:
        """How far beyond the critical value its t is; -inf if it is too small, or runs are on the other level."""
        if abs(self.size) < math.log1p(least_effect) or not self.clear:
            return -math.inf
        from scipy.special import stdtrit

        return abs(self.size) / self.error - float(stdtrit(self.freedom, 1 - LEVEL / 2))

    @property
    def interval(self) -> tuple[float, float]:
        from scipy.special import stdtrit

        half = float(stdtrit(self.freedom, 0.975)) * self.error
        return math.exp(self.size - half), math.exp(self.size + half)


def _stays_clear(segment: Values, other: Values) -> bool:
    """Whether no run of a short segment is a run of the other level that went astray."""
    if len(segment) >= FEW:
        return True
    step = float(segment.mean() - other.mean())
    return bool(((segment - other.mean()) / step > _NEAR).all()) if step else False


def _noise(logs: Values) -> float:
    import numpy as np

    return float(np.median(np.abs(np.diff(logs)))) * _MAD_TO_SD / math.sqrt(2)


def _without_spikes(logs: Values, noise: float) -> Values:
    import numpy as np

    calm = logs.copy()
    for place in range(len(logs)):
        start = min(max(0, place - _WINDOW // 2), len(logs) - _WINDOW)
        middle = float(np.median(logs[start : start + _WINDOW]))
        if abs(logs[place] - middle) > SPIKE * noise:
            calm[place] = middle
    return calm


def _inflation(over: Values, segments: int) -> float:
    """By how much alike neighbours make the variance of a mean larger: 1 of a short series, or of independent runs."""
    count, total = len(over), float(over @ over)
    if count < _LEAST_FOR_CORRELATION or total == 0:
        return 1.0
    # Taking a segment's mean away makes what is left look less alike, by about 1/n a segment.
    correlation = float(over[:-1] @ over[1:]) / total + segments / count
    if correlation <= _BARTLETT / math.sqrt(count):
        return 1.0
    correlation = min(correlation, 0.9)
    return (1 + correlation) / (1 - correlation)
