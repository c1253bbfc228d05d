"""What a law leaves over, and how far it may wander where nobody has measured.

The logarithm of measured over law is taken for a random walk: over h doublings of a size it moves by a normal
variable of variance ``tau^2 h``, whichever way, and each measurement adds its own noise. That is a Gaussian
process about a physical model (Kennedy and O'Hagan, Bayesian calibration of computer models, J. R. Statist.
Soc. B 63, 2001), here the one whose prediction is ordinary kriging with a linear variogram (Cressie, Statistics
for Spatial Data, 1993, section 3.2). Between measured sizes it interpolates what is left over, beyond them it
keeps the last of it, and its variance grows with the distance. Sizes are coordinates (sequence length,
ranks, ...), each in doublings, and their walks add up.

How much it wanders, tau, is learnt by predicting: each point in turn from those of less work alone, law and
all, so that what is learnt is how well extrapolation has gone (Dawid, The prequential approach, J. R. Statist.
Soc. A 147, 1984; Tashman, Out-of-sample tests of forecasting accuracy, Int. J. Forecasting 16, 2000). The errors
of few points say little; so tau is not one number but a distribution, which a weak prior begins, and intervals
are quantiles of the mixture, as wide as few points deserve.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import NormalDist

Place = tuple[float, ...]
"""Where a point lies, each coordinate the logarithm to base 2 of a size."""

PRIOR_SD = 0.05
"""A size's doubling is expected to move what is left over by some 5% before any error is seen."""

PRIOR_WEIGHT = 1.0
"""How many errors that expectation is worth."""

MOST_ORIGINS = 40
"""Most points that are predicted from those before them: each takes a fit."""

_GRID = tuple(0.002 * 1.15**step for step in range(42))
"""Values of tau that are weighed: 0.2% to 60% a doubling."""


@dataclass(frozen=True, slots=True)
class Sample:
    """What is left over of one point: ``log`` of measured over law, at ``place``, with the sd of its own noise."""

    place: Place
    log: float
    noise: float


@dataclass(frozen=True, slots=True)
class Error:
    """A prediction's error (log of measured over predicted) from ``samples`` that it was made from."""

    samples: tuple[Sample, ...]
    place: Place
    noise: float
    log: float


@dataclass(frozen=True, slots=True)
class Mixture:
    """A distribution of a logarithm: with probability ``weights[i]`` a normal of ``means[i]`` and ``sds[i]``."""

    means: tuple[float, ...]
    sds: tuple[float, ...]
    weights: tuple[float, ...]

    def quantile(self, share: float) -> float:
        """The value below which ``share`` of it lies."""
        low = min(m - 12 * s for m, s in zip(self.means, self.sds, strict=True)) - 1e-9
        high = max(m + 12 * s for m, s in zip(self.means, self.sds, strict=True)) + 1e-9
        for _ in range(60):
            middle = (low + high) / 2
            low, high = (middle, high) if self._below(middle) < share else (low, middle)
        return (low + high) / 2

    def _below(self, value: float) -> float:
        return sum(
            weight * NormalDist(mean, sd).cdf(value) if sd > 0 else weight * (value >= mean)
            for mean, sd, weight in zip(self.means, self.sds, self.weights, strict=True)
        )


@dataclass(frozen=True, slots=True)
class Drift:
    """A random walk about a law, known at some places.

    Attributes:
        samples: what is left over where it was measured.
        weights: of the values of ``tau`` in the grid; they add up to 1.
    """

    samples: tuple[Sample, ...]
    weights: tuple[float, ...]

    @property
    def tau(self) -> float:
        """The mean of what a doubling moves, root mean square."""
        return math.sqrt(sum(w * tau**2 for w, tau in zip(self.weights, _GRID, strict=True)))

    def at(self, place: Place, noise: float = 0.0) -> Mixture:
        """The distribution of the logarithm of measured over law at ``place``, its own noise included."""
        found = _krige(self.samples, place)
        sds = tuple(math.sqrt(variance + noise**2) for _, variance in found)
        return Mixture(tuple(mean for mean, _ in found), sds, self.weights)


def learn_drift(samples: Sequence[Sample], errors: Sequence[Error], prior_sd: float = PRIOR_SD) -> Drift:
    """The walk through ``samples`` whose tau is what ``errors`` of predictions say, and the prior.

    The prior of tau^2 is the scaled inverse chi-squared distribution, the natural one of a normal's variance
    (Gelman et al., Bayesian Data Analysis, 3rd ed., section 2.6).

    Raises:
        ValueError: no samples.
    """
    if not samples:
        raise ValueError("a walk needs a place to start from")
    logs = [_log_prior(tau, prior_sd) for tau in _GRID]
    for error in errors:
        logs = [log + more for log, more in zip(logs, _log_densities(error), strict=True)]
    most = max(logs)
    weights = [math.exp(value - most) for value in logs]
    return Drift(tuple(samples), tuple(weight / sum(weights) for weight in weights))


Refit = Callable[[int], tuple[Sequence[float], float] | None]
"""Of a law fitted to the first k points alone: the logarithms of measured over law of those k, and of the next."""


def errors_of_predicting(places: Sequence[Place], noises: Sequence[float], refit: Refit) -> list[Error]:
    """The errors of predicting each point, in this order, from those before it.

    ``refit(k)`` is None where k points are too few for a law. Of many points, as many are predicted as
    :data:`MOST_ORIGINS`, the last ones.
    """
    found = []
    for count in range(max(1, len(places) - MOST_ORIGINS), len(places)):
        logs = refit(count)
        if logs is not None:
            before = tuple(Sample(*parts) for parts in zip(places[:count], logs[0], noises[:count], strict=True))
            found.append(Error(before, places[count], noises[count], logs[1]))
    return found


def _log_prior(tau: float, sd: float) -> float:
    """Of tau^2, on a grid of even steps of log tau: density times tau^2."""
    return -PRIOR_WEIGHT * math.log(tau) - PRIOR_WEIGHT * sd**2 / (2 * tau**2)


def _log_densities(error: Error) -> list[float]:
    """Of the error, for each tau of the grid."""
    found = []
    for mean, variance in _krige(error.samples, error.place):
        total = variance + error.noise**2
        found.append(-0.5 * math.log(total) - (error.log - mean) ** 2 / (2 * total))
    return found


def _krige(samples: Sequence[Sample], place: Place) -> list[tuple[float, float]]:
    """Ordinary kriging: the best unbiased prediction of the walk at ``place``, and its variance, for each tau."""
    import numpy as np  # here, so that importing this module stays cheap

    count = len(samples)
    at = np.array([sample.place for sample in samples])
    logs = np.array([sample.log for sample in samples])
    noise = np.diag([sample.noise**2 for sample in samples])
    between = np.abs(at[:, None, :] - at[None, :, :]).sum(axis=2)
    away = np.abs(at - np.array(place)).sum(axis=1)
    half = -0.5 * np.array(_GRID)[:, None] ** 2
    system = np.ones((len(_GRID), count + 1, count + 1))
    system[:, count, count] = 0.0
    system[:, :count, :count] = half[:, :, None] * between + noise
    right = np.ones((len(_GRID), count + 1))
    right[:, :count] = half * away
    solved = np.linalg.solve(system, right[:, :, None])[:, :, 0]
    means = solved[:, :count] @ logs
    variances = np.maximum(0.0, -(solved * right).sum(axis=1))
    return list(zip(means.tolist(), variances.tolist(), strict=True))
