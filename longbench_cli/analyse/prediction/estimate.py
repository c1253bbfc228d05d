"""A number that was not measured, and the interval that goes with it."""

from __future__ import annotations

import math
from dataclasses import dataclass

from longbench_cli.analyse.prediction.drift import Mixture

TAIL = 0.05
"""Share of a prediction's distribution below its interval, and above it: the interval is of 90%."""


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
