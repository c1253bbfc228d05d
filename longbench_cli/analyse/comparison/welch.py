"""The ratio of two groups of independent sessions, with bounds.

With y the logarithms of the session medians of either side, the estimate is mean(y_c) - mean(y_b); its standard error
and its degrees of freedom are Welch's, which do not take the two spreads for equal (Welch, The generalization of
"Student's" problem when several different population variances are involved, Biometrika 34, 1947)::

    v_i = sd_i^2 / n_i,   error = sqrt(v_b + v_c),   freedom = (v_b + v_c)^2 / (v_b^2 / (n_b - 1) + v_c^2 / (n_c - 1))
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass

from longbench_cli.analyse.comparison.types import Effect

_LARGEST_LOG = 700.0
"""Two sessions far apart bound nothing: the bound stays a number."""


@dataclass(frozen=True, slots=True)
class LogRatio:
    """ln(candidate / base), its standard error, and the error's degrees of freedom."""

    estimate: float
    error: float
    freedom: float

    def bound(self, level: float) -> float:
        """What ln(candidate / base) is below with this probability."""
        return self.estimate + self.quantile(level) * self.error

    def quantile(self, level: float) -> float:
        """Of Student's distribution."""
        from scipy.special import stdtrit  # here, so that importing this module stays cheap

        return float(stdtrit(self.freedom, level))

    @property
    def effect(self) -> Effect:
        return Effect(
            ratio=_exp(self.estimate),
            interval=(_exp(self.bound(0.025)), _exp(self.bound(0.975))),
            lower=_exp(self.bound(0.01)),
            upper=_exp(self.bound(0.95)),
        )


def log_ratio(base: Sequence[float], candidate: Sequence[float]) -> LogRatio:
    """Of session medians in nanoseconds, each above 0, at least two of each side."""
    logs = [[math.log(value) for value in side] for side in (base, candidate)]
    shares = [statistics.variance(side) / len(side) for side in logs]
    estimate = statistics.fmean(logs[1]) - statistics.fmean(logs[0])
    parts = sum(share**2 / (len(side) - 1) for share, side in zip(shares, logs, strict=True))
    # Sessions that are all alike have no error, whatever the freedom; so have those so alike that its square vanishes.
    freedom = sum(shares) ** 2 / parts if parts > 0 else float(min(map(len, logs)) - 1)
    return LogRatio(estimate, math.sqrt(sum(shares)), freedom)


def _exp(value: float) -> float:
    return math.exp(min(value, _LARGEST_LOG))
