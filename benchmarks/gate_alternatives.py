"""Other ways to tell that a point became slower, as gates in use do it, on the sessions that the rule gets."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr, stdtr, stdtrit
from scipy.stats import rankdata

from benchmarks.gate_worlds import Logs
from longbench_cli.analyse.comparison.rule import PAIRS, SUSPECT_LEVEL

Failed = NDArray[np.bool_]
"""Shape (gates, points)."""


Alternative = Callable[[Logs, Logs, np.random.Generator], Failed]
"""A rule, of sessions of base and candidate, and of a generator of what is within a session."""

ITERATIONS: Final = 30
"""Of a session: as many as 2 s gave of a point of 60 ms (docs/statistics.md, ``python -m benchmarks.aa``)."""

ITERATION_SD: Final = 0.02
FIXED: Final = 0.05
ALPHA: Final = 0.05


def _iterations(sessions: Logs, rng: np.random.Generator) -> NDArray[np.float64]:
    """Times of the iterations of these sessions, session after session; shape (gates, points, iterations)."""
    noise = ITERATION_SD * rng.standard_normal((*sessions.shape, ITERATIONS))
    return np.exp(sessions[..., None] + noise).reshape(*sessions.shape[:2], -1)


def fixed_on_one_run(base: Logs, candidate: Logs, rng: np.random.Generator) -> Failed:
    """The mean of one run of either side, more than 5% apart."""
    means = [_iterations(side[..., :1], rng).mean(axis=-1) for side in (base, candidate)]
    return np.asarray(means[1] > (1 + FIXED) * means[0])


def _welch(before: NDArray[np.float64], now: NDArray[np.float64]) -> Failed:
    count = before.shape[-1]
    shares = [side.var(axis=-1, ddof=1) / count for side in (before, now)]
    total = shares[0] + shares[1]
    freedom = total**2 * (count - 1) / (shares[0] ** 2 + shares[1] ** 2)
    t = (now.mean(axis=-1) - before.mean(axis=-1)) / np.sqrt(total)
    return np.asarray(stdtr(freedom, -t) < ALPHA / 2)


def _mann_whitney(before: NDArray[np.float64], now: NDArray[np.float64]) -> Failed:
    """By the normal approximation, which serves from 30 values a side."""
    count = before.shape[-1]
    ranks = rankdata(np.concatenate([before, now], axis=-1), axis=-1)[..., count:].sum(axis=-1)
    u = ranks - count * (count + 1) / 2
    z = (u - count**2 / 2) / math.sqrt(count**2 * (2 * count + 1) / 12)
    return np.asarray(ndtr(-z) < ALPHA / 2)


def on_iterations(test: Callable[[NDArray[np.float64], NDArray[np.float64]], Failed], sessions: int) -> Alternative:
    """A test, two-sided at 5%, of all iterations of the first ``sessions`` of either side."""

    def fails(base: Logs, candidate: Logs, rng: np.random.Generator) -> Failed:
        return test(_iterations(base[..., :sessions], rng), _iterations(candidate[..., :sessions], rng))

    return fails


def welch_on_sessions(base: Logs, candidate: Logs, _rng: np.random.Generator) -> Failed:
    """Welch, two-sided at 5%, on the medians of 6 sessions a side: the right unit, and no margin."""
    return _welch(base[..., :PAIRS], candidate[..., :PAIRS])


def fixed_on_the_means_of_pairs(base: Logs, candidate: Logs, _rng: np.random.Generator) -> Failed:
    """The mean of 6 d, 3% or more."""
    return np.asarray((candidate - base)[..., :PAIRS].mean(axis=-1) >= math.log(1.03))


def unconfirmed(base: Logs, candidate: Logs, _rng: np.random.Generator) -> Failed:
    """The first look of the rule (of means), taken for the verdict."""
    d = (candidate - base)[..., :PAIRS]
    error = d.std(axis=-1, ddof=1) / math.sqrt(PAIRS)
    mean = d.mean(axis=-1)
    return np.asarray((mean >= math.log(1.03)) & (mean > stdtrit(PAIRS - 1, SUSPECT_LEVEL) * error))


ONE, ALL = "one run a side", f"{PAIRS} sessions a side"
ALTERNATIVES: Final[dict[str, Alternative]] = {
    f"fixed 5% on means, {ONE}": fixed_on_one_run,
    f"Welch on iterations, {ONE}": on_iterations(_welch, 1),
    f"Mann-Whitney on iterations, {ONE}": on_iterations(_mann_whitney, 1),
    f"Welch on iterations, {ALL}": on_iterations(_welch, PAIRS),
    f"Mann-Whitney on iterations, {ALL}": on_iterations(_mann_whitney, PAIRS),
    f"Welch on session medians, {ALL}": welch_on_sessions,
    f"fixed 3% on the mean of {PAIRS} d": fixed_on_the_means_of_pairs,
    "t-test of 6 d at 1%, and 3%, unconfirmed": unconfirmed,
}
