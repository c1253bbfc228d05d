"""What a law leaves over, and how far it may wander where nobody has measured.

The logarithm of measured over law is taken for a random walk: over h doublings of a size it moves by a normal
variable of variance ``tau^2 h``, whichever way, and each measurement adds its own noise. That is a Gaussian
process about a physical model (Kennedy and O'Hagan, Bayesian calibration of computer models, J. R. Statist.
Soc. B 63, 2001), here the one whose prediction is ordinary kriging with a linear variogram (Cressie, Statistics
for Spatial Data, 1993, section 3.2). Between measured sizes it interpolates what is left over, beyond them it
keeps the last of it, and its variance grows with the distance. Sizes are coordinates (sequence length, heads,
...), each in doublings, and their walks add up. So does that in the number of ranks, which has a tau of its own:
that a law goes well with length says nothing of the first time that processes share a machine.

How much it wanders, tau, is learnt by predicting: each point in turn, by ranks and then by work, from those before
it alone, law and all, so that what is learnt is how well extrapolation has gone (Dawid, The prequential approach,
J. R. Statist. Soc. A 147, 1984; Tashman, Out-of-sample tests of forecasting accuracy, Int. J. Forecasting 16,
2000). The errors of few points say little, and of ranks there are few: all points of a new number of ranks are off
alike, and count as one. So neither tau is one number but a distribution, which a weak prior begins, and intervals
are quantiles of the mixture, as wide as few points deserve.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Array = NDArray[np.float64]

PRIOR_SD = 0.05
"""A doubling, of a size or of ranks, is expected to move what is left over by some 5% before any error is seen."""

PRIOR_WEIGHT = 1.0
"""How many errors that expectation is worth."""

MOST_ORIGINS = 40
"""Most points that are predicted from those before them: each takes a fit."""

_GRID = tuple(0.002 * 1.35**step for step in range(20))
"""Values of tau that are weighed: 0.2% to 60% a doubling."""

_RANKS_GRID = _GRID[1::2]
"""The same of ranks, whose few errors tell no finer values apart."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where a point lies: logarithms to base 2 of its sizes, and of its number of ranks."""

    sizes: tuple[float, ...]
    ranks: float = 0.0


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
        import numpy as np
        from scipy.special import ndtr  # here, so that importing this module stays cheap

        means, sds, weights = (np.array(part) for part in (self.means, self.sds, self.weights))
        sds = np.maximum(sds, 1e-12)
        low, high = float((means - 12 * sds).min()), float((means + 12 * sds).max())
        for _ in range(60):
            middle = (low + high) / 2
            low, high = (middle, high) if weights @ ndtr((middle - means) / sds) < share else (low, middle)
        return (low + high) / 2


@dataclass(frozen=True, slots=True)
class Drift:
    """A random walk about a law, known at some places.

    Attributes:
        samples: what is left over where it was measured.
        weights: of the values of tau in the grid, each with all of those of ranks; they add up to 1.
    """

    samples: tuple[Sample, ...]
    weights: tuple[tuple[float, ...], ...]

    @property
    def tau(self) -> float:
        """The mean of what a doubling of a size moves, root mean square."""
        return math.sqrt(sum(sum(of) * tau**2 for of, tau in zip(self.weights, _GRID, strict=True)))

    @property
    def tau_ranks(self) -> float:
        """The same of ranks."""
        columns = zip(*self.weights, strict=True)
        return math.sqrt(sum(sum(of) * tau**2 for of, tau in zip(columns, _RANKS_GRID, strict=True)))

    def at(self, place: Place, noise: float = 0.0) -> Mixture:
        """The distribution of the logarithm of measured over law at ``place``, its own noise included."""
        means, variances = _krige(self.samples, place)
        weights = [of if means.shape[1] > 1 else (sum(of),) for of in self.weights]
        return Mixture(
            means=tuple(means.ravel().tolist()),
            sds=tuple(((variances + noise**2) ** 0.5).ravel().tolist()),
            weights=tuple(weight for of in weights for weight in of),
        )


def learn_drift(samples: Sequence[Sample], errors: Sequence[Error], prior_sd: float = PRIOR_SD) -> Drift:
    """The walk through ``samples`` whose taus are what ``errors`` of predictions say, and the prior.

    The prior of tau^2 is the scaled inverse chi-squared distribution, the natural one of a normal's variance
    (Gelman et al., Bayesian Data Analysis, 3rd ed., section 2.6).

    Raises:
        ValueError: no samples.
    """
    if not samples:
        raise ValueError("a walk needs a place to start from")
    import numpy as np

    logs = _log_prior(_GRID, prior_sd)[:, None] + _log_prior(_RANKS_GRID, prior_sd)[None, :]
    for error in errors:
        logs = logs + _log_densities(error)
    weights = np.exp(logs - logs.max())
    return Drift(tuple(samples), tuple(map(tuple, (weights / weights.sum()).tolist())))


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


def _log_prior(taus: Sequence[float], sd: float) -> Array:
    """Of tau^2, on a grid of even steps of log tau: density times tau^2."""
    import numpy as np

    of = np.array(taus)
    log: Array = -PRIOR_WEIGHT * (np.log(of) + sd**2 / (2 * of**2))
    return log


def _log_densities(error: Error) -> Array:
    """Of the error, for each tau of the grid, and of ranks."""
    import numpy as np

    means, variances = _krige(error.samples, error.place)
    total = variances + error.noise**2
    return -0.5 * np.log(total) - (error.log - means) ** 2 / (2 * total)


def _krige(samples: Sequence[Sample], place: Place) -> tuple[Array, Array]:
    """Ordinary kriging: the best unbiased prediction of the walk at ``place``, and its variance.

    Both for each tau (rows) and each of ranks (columns; a single one where all have the same number of ranks).
    """
    import numpy as np

    at = np.array([(sample.place.ranks, *sample.place.sizes) for sample in samples])
    away = np.abs(at - np.array((place.ranks, *place.sizes)))
    between = np.abs(at[:, None, :] - at[None, :, :])
    logs = np.array([sample.log for sample in samples])
    count, noise = len(samples), np.diag([sample.noise**2 for sample in samples])
    of_sizes = -0.5 * np.array(_GRID)[:, None, None, None] ** 2
    of_ranks = -0.5 * np.array(_RANKS_GRID if away[:, 0].any() or between[:, :, 0].any() else (0.0,)) ** 2
    of_ranks = of_ranks[None, :, None, None]
    system = np.ones((len(_GRID), of_ranks.size, count + 1, count + 1))
    system[..., count, count] = 0.0
    system[..., :count, :count] = of_sizes * between[:, :, 1:].sum(axis=2) + of_ranks * between[:, :, 0] + noise
    right = np.ones((len(_GRID), of_ranks.size, count + 1, 1))
    right[..., :count, :] = of_sizes * away[:, 1:].sum(axis=1)[:, None] + of_ranks * away[:, :1]
    solved = np.linalg.solve(system, right)
    variances = np.maximum(0.0, -(solved * right).sum(axis=(2, 3)))
    return solved[..., :count, 0] @ logs, variances
