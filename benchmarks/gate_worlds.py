"""Made-up sessions of a gate: how noise, spoiled sessions and drift lie over points, pairs and sides."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy.signal import lfilter

from longbench_cli.analyse.comparison.rule import MOST_PAIRS, PAIRS

Logs = NDArray[np.float64]
"""Shape (gates, points, pairs): ln of the median of each session."""

POINTS = 60
SPOILED_SHARE, SPOILED_BY = 0.05, math.log(1.03)
RHO, DRIFT = 0.5, math.log(1.03)


@dataclass(frozen=True, slots=True)
class World:
    """Where a gate is run.

    Attributes:
        sd: standard deviation of ln of a session, base and candidate each with noise of its own; d, their difference,
            spreads by sqrt(2) times as much.
        spoiled: of all sessions 5%, drawn at random, take 3% longer.
        memory: "none"; "sessions": the noise of successive sessions of a gate, which go round over the points, base
            and candidate by turns, has autocorrelation 0.5; "pairs": that of successive pairs of a point has, on either
            side, as if nothing came between them.
        drift: the machine becomes 3% slower over the 6 pairs of all points.
    """

    sd: float
    spoiled: bool = False
    memory: Literal["none", "sessions", "pairs"] = "none"
    drift: bool = False

    def draw(
        self, gates: int, rng: np.random.Generator, *, points: int = POINTS, duet: bool = True
    ) -> tuple[Logs, Logs]:
        """Sessions of base and candidate, the same code; without ``duet`` all of the base come before the candidate."""
        sides = self.sd * self._noise(gates, points, rng)
        if self.spoiled:
            sides = sides + SPOILED_BY * (rng.random(sides.shape) < SPOILED_SHARE)
        if self.drift:
            sides = sides + DRIFT * _moments(points, duet=duet)
        return sides[0], sides[1]

    def _noise(self, gates: int, points: int, rng: np.random.Generator) -> NDArray[np.float64]:
        """Of unit variance; shape (2 sides, gates, points, pairs)."""
        if self.memory == "none":
            return rng.standard_normal((2, gates, points, MOST_PAIRS))
        if self.memory == "pairs":
            return _remembering(rng.standard_normal((2, gates, points, MOST_PAIRS)))
        series = _remembering(rng.standard_normal((gates, MOST_PAIRS * points * 2)))
        series = series.reshape(gates, MOST_PAIRS, points, 2)
        series[:, 1::2] = series[:, 1::2, :, ::-1]  # the order of the sides flips
        return np.transpose(series, (3, 0, 2, 1))


def _remembering(noise: NDArray[np.float64]) -> NDArray[np.float64]:
    """Independent noise as a stationary autoregression x_t = rho x_(t-1) + e_t along the last axis."""
    step = math.sqrt(1 - RHO**2)
    noise[..., 0] /= step
    return np.asarray(lfilter([step], [1.0, -RHO], noise, axis=-1))


def _moments(points: int, *, duet: bool) -> NDArray[np.float64]:
    """When each session is, 0 to 1 over the job of 6 pairs; shape (2 sides, 1, points, pairs)."""
    pair, point = np.meshgrid(np.arange(MOST_PAIRS), np.arange(points))
    before = (pair * points + point) / (points * PAIRS)
    if not duet:
        return np.stack([before / 2, before / 2 + 0.5])[:, None]
    odd = pair % 2
    later = 1 / (2 * points * PAIRS)
    return np.stack([before + later * odd, before + later * (1 - odd)])[:, None]
