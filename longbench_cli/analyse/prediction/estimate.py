"""A number that was not measured, and the interval that goes with it."""

from __future__ import annotations

import math
import random
from bisect import bisect
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate
from statistics import median

from longbench_cli.analyse.prediction.drift import Mixture

TAIL = 0.05
"""Share of a prediction's distribution below its interval, and above it: the interval is of 90%."""

_DRAWS = 4000


@dataclass(frozen=True, slots=True)
class Estimate:
    """The middle of a prediction's distribution, and its 90% interval."""

    value: float
    low: float
    high: float

    def holds(self, measured: float) -> bool:
        """Whether the interval does."""
        return self.low <= measured <= self.high


def estimate(value: float, about: Mixture) -> Estimate:
    """``value`` times the exponential of what ``about`` is the distribution of."""
    low, middle, high = (value * math.exp(about.quantile(share)) for share in (TAIL, 0.5, 1 - TAIL))
    return Estimate(middle, low, high)


@dataclass(frozen=True, slots=True)
class Scaled:
    """``seconds`` times the exponential of what ``about`` is the distribution of."""

    seconds: float
    about: Mixture


def together(computing: Scaled, exchanging: Scaled, overlaps: Sequence[float], crowded_sd: float) -> Estimate:
    """What is not hidden adds to the computing, and no more can be hidden than there is computing.

    By drawing from all distributions, always the same draws. Assumptions widen the interval and leave the value:

    - The share that is hidden is one of those measured, ``overlaps``; where there are none, the value is of none
      hidden, and the interval's lower end of all.
    - What processes cost each other that have to take turns for the first time makes the upper end later: its
      logarithm is the size of a normal variable of sd ``crowded_sd``.
    """
    draw = random.Random(0)
    ours, theirs = _draws(computing, draw), _draws(exchanging, draw)
    hidden = [draw.choice(overlaps) for _ in range(_DRAWS)] if overlaps else [draw.random() for _ in range(_DRAWS)]
    times = [max(c + (1 - share) * x, x) for c, x, share in zip(ours, theirs, hidden, strict=True)]
    value = median(times if overlaps else [c + x for c, x in zip(ours, theirs, strict=True)])
    crowded = sorted(time * math.exp(abs(draw.gauss(0, crowded_sd))) for time in times)
    low, high = sorted(times)[int(TAIL * _DRAWS)], crowded[int((1 - TAIL) * _DRAWS)]
    return Estimate(value, low, max(value, high))


def _draws(one: Scaled, draw: random.Random) -> list[float]:
    edges = list(accumulate(one.about.weights))
    found = []
    for _ in range(_DRAWS):
        at = min(bisect(edges, draw.random() * edges[-1]), len(edges) - 1)
        found.append(one.seconds * math.exp(draw.gauss(one.about.means[at], one.about.sds[at])))
    return found
