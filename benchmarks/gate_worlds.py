"""Made-up sessions of a gate: how noise, spoiled sessions and drift lie over points, pairs and sides."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Final, Literal

import numpy as np
from numpy.typing import NDArray
from scipy.signal import lfilter

from longbench_cli.analyse.comparison.rule import MOST_PAIRS, PAIRS

Logs = NDArray[np.float64]
"""Shape (gates, points, pairs): ln of the median of each session."""

POINTS = 60
SPOILED_SHARE, SPOILED_BY = 0.05, math.log(1.03)
RHO, DRIFT = 0.5, math.log(1.03)

LATER: Final = MOST_PAIRS - PAIRS


@dataclass(frozen=True, slots=True)
class World:
    """Where a gate is run.

    Attributes:
        sd: standard deviation of ln of a session, base and candidate each with noise of its own; d, their difference,
            spreads by sqrt(2) times as much where the noise has no memory.
        spoiled: of all sessions 5%, drawn at random, take 3% longer.
        memory: "none"; "sessions": the noise of a session has correlation 0.5 with that of the session before it, in
            the order of :func:`order_of`; "pairs": successive pairs of a point have it, on either side, as if nothing
            came between them.
        drift: the machine becomes 3% slower over the first 6 pairs of all points, and goes on so.
        turns: base and candidate take turns; else all sessions of the base come before those of the candidate. It is
            no part of the repr, which the benchmark seeds its numbers by: both orders have the same.
    """

    sd: float
    spoiled: bool = False
    memory: Literal["none", "sessions", "pairs"] = "none"
    drift: bool = False
    turns: bool = field(default=True, repr=False)

    def draw(self, gates: int, rng: np.random.Generator, *, points: int = POINTS) -> tuple[Logs, Logs]:
        """Sessions of base and candidate, the same code."""
        order = order_of(points, turns=self.turns)
        sides = self.sd * self._noise(gates, order, rng)
        if self.spoiled:
            sides = sides + SPOILED_BY * (rng.random(sides.shape) < SPOILED_SHARE)
        if self.drift:
            sides = sides + DRIFT * (order / (2 * points * PAIRS))[:, None]
        return sides[0], sides[1]

    def _noise(self, gates: int, order: NDArray[np.int64], rng: np.random.Generator) -> NDArray[np.float64]:
        """Of unit variance; shape (2 sides, gates, points, pairs)."""
        points = order.shape[1]
        if self.memory != "sessions":
            noise = rng.standard_normal((2, gates, points, MOST_PAIRS))
            return noise if self.memory == "none" else _remembering(noise)
        job = _remembering(rng.standard_normal((gates, 2 * points * PAIRS)))
        later = _remembering(rng.standard_normal((gates, points, 2 * LATER)), after=job[:, -1, None, None])
        places = order[:, 0, PAIRS:] - 2 * points * PAIRS
        noise = np.concatenate([job[:, order[..., :PAIRS]], np.moveaxis(later[..., places], 2, 1)], axis=-1)
        return np.moveaxis(noise, 1, 0)


def order_of(points: int, *, turns: bool = True) -> NDArray[np.int64]:
    """The place of each session in its job, from 0; shape (2 sides, points, pairs).

    As ``longbench gate`` goes: 6 pairs through all points, every other one in reverse and with the candidate first.
    Later pairs are played of undecided points only. Each point has them here as if it were the only one left: right
    after the 6 pairs and one after the other, where a gate's pairs remember most of each other.
    """
    if not turns:
        job = np.arange(2 * points * PAIRS).reshape(2, PAIRS, points).swapaxes(1, 2)
        later = 2 * points * PAIRS + np.arange(2 * LATER).reshape(2, 1, LATER)
    else:
        job = _alternating(points, PAIRS)
        later = 2 * points * PAIRS + _alternating(1, LATER)
    return np.concatenate([job, np.broadcast_to(later, (2, points, LATER))], axis=-1)


def _alternating(points: int, pairs: int) -> NDArray[np.int64]:
    """Shape (2 sides, points, pairs), from 0."""
    places = np.arange(2 * points * pairs).reshape(pairs, points, 2)
    places[1::2] = places[1::2, ::-1, ::-1].copy()
    return places.transpose(2, 1, 0)


def _remembering(noise: NDArray[np.float64], after: NDArray[np.float64] | None = None) -> NDArray[np.float64]:
    """Independent noise as a stationary autoregression x_t = rho x_(t-1) + e_t along the last axis, of unit variance.

    ``after`` is x before the first, which can be broadcast to the shape of ``noise`` but for its last axis of 1.
    """
    step = math.sqrt(1 - RHO**2)
    if after is None:
        noise[..., 0] /= step
        return np.asarray(lfilter([step], [1.0, -RHO], noise, axis=-1))
    start = np.broadcast_to(RHO * after, (*noise.shape[:-1], 1))
    return np.asarray(lfilter([step], [1.0, -RHO], noise, axis=-1, zi=start)[0])
