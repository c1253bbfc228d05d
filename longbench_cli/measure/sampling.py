"""Warm-up and the stopping rule: how many iterations a point gets."""

from __future__ import annotations

import math
from bisect import insort
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from longbench_cli.measure.interval import LEAST_FOR_95, median, median_interval, quantile, relative_half_width
from longbench_cli.measure.types import Latency, StoppedBy
from longbench_cli.sweep.settings import Settings

TURN_NS = 50_000_000
"""Inputs are redrawn after iterations worth 50 ms: one memory layout must not decide a median."""

_STEADY = 0.05
_LONG_NS = 1_000_000_000
_RECHECK = 1.1


@dataclass(frozen=True, slots=True)
class Trial:
    """One set of inputs: each call of ``run`` is one iteration and returns its nanoseconds."""

    run: Callable[[], int]


def warm_up(trial: Trial, now_ns: Callable[[], int], limit_ns: int) -> None:
    """Iterate until steady: two iterations in a row within 5% of the fastest so far, or ``limit_ns``."""
    start, fastest, calm = now_ns(), math.inf, 0
    while calm < 2:
        took = trial.run()
        calm = calm + 1 if abs(took - fastest) <= _STEADY * fastest < math.inf else 0
        fastest = min(fastest, took)
        if now_ns() - start >= limit_ns:
            return


def sample(
    trials: Iterator[Trial],
    settings: Settings,
    now_ns: Callable[[], int],
    on_iteration: Callable[[int], None] = lambda _count: None,
    start_ns: int | None = None,
) -> Latency:
    """Iterate until the 95% interval of the median is within ``settings.precision``, or a limit.

    At least ``settings.min_iterations`` where an iteration takes under 1 s; longer ones stop at
    ``settings.max_time`` seconds, after one iteration at the least. Every time is kept, in order.
    The time limit counts from ``start_ns``, where the first trial began before this call.
    """
    start = now_ns() if start_ns is None else start_ns
    times: list[int] = []
    ordered: list[int] = []
    next_check = LEAST_FOR_95
    for trial in trials:
        turn = 0
        while turn < TURN_NS:
            took = trial.run()
            turn += max(1, took)
            times.append(took)
            insort(ordered, took)
            if len(times) >= next_check:
                on_iteration(len(times))
                next_check = math.ceil(len(times) * _RECHECK)
                if (stopped := _converged(ordered, settings)) is not None:
                    return summarise(times, ordered, stopped)
            if (stopped := _limit(ordered, settings, now_ns() - start)) is not None:
                return summarise(times, ordered, stopped)
        del trial  # and with it its inputs, before the next are made
    raise AssertionError("trials are endless")


def _converged(ordered: list[int], settings: Settings) -> StoppedBy | None:
    enough = len(ordered) >= _least(ordered, settings)
    return "converged" if enough and relative_half_width(ordered) <= settings.precision else None


def _limit(ordered: list[int], settings: Settings, elapsed_ns: int) -> StoppedBy | None:
    if len(ordered) >= settings.max_iterations:
        return "max_iterations"
    if elapsed_ns < settings.max_time * 1e9 or len(ordered) < _least_at_time_limit(ordered, settings):
        return None
    return "max_time"


def _least(ordered: list[int], settings: Settings) -> int:
    return settings.min_iterations if median(ordered) < _LONG_NS else min(settings.min_iterations, LEAST_FOR_95)


def _least_at_time_limit(ordered: list[int], settings: Settings) -> int:
    return settings.min_iterations if median(ordered) < _LONG_NS else 1


def summarise(times: list[int], ordered: list[int], stopped_by: StoppedBy) -> Latency:
    """The latency record of iteration times in nanoseconds."""
    noise = relative_half_width(ordered)
    return Latency(
        iterations_ns=times,
        median_ns=median(ordered),
        ci95_ns=median_interval(ordered),
        mean_ns=sum(times) / len(times),
        p95_ns=quantile(ordered, 0.95),
        noise=noise if math.isfinite(noise) else None,
        stopped_by=stopped_by,
    )
