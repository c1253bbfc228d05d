"""Warm-up and the stopping rule: how many iterations a point gets."""

from __future__ import annotations

import math
from bisect import insort
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from longbench_cli.measure.interval import (
    LEAST_FOR_95,
    inflation,
    is_precise,
    median,
    median_interval,
    quantile,
    relative_half_width,
)
from longbench_cli.measure.types import Latency, StoppedBy
from longbench_cli.sweep.settings import Settings

TURN_NS = 50_000_000
"""Inputs are redrawn after iterations worth 50 ms: one memory layout must not decide a median."""

LEAST_DRAWS = 4
"""Nor may so few that their difference does not show: a point is not converged before its fourth inputs."""

LEAST_NS = 500_000_000
"""Nor sooner than half a second: what else the machine did is counted in ticks of 10 ms."""

SHORT_NS = 5_000_000
"""Below 5 ms an iteration is over before caches, TLB and clock are what they are for the next: the first
one on fresh inputs, which also follows another process's turn, is not recorded."""

DUET_SHORT_NS = 250_000_000
"""The same of two that are compared turn by turn: after the other's turn a pass of 50 ms still takes a tenth longer
than the next one."""

_STEADY = 0.05
_LONG_NS = 1_000_000_000
_RECHECK = 1.1
_TURNS = 10  # at least so many turns fit in the most iterations


@dataclass(frozen=True, slots=True)
class Trial:
    """One set of inputs: each call of ``run`` is one iteration and returns its nanoseconds."""

    run: Callable[[], int]


@dataclass(frozen=True, slots=True)
class Sample:
    """What was recorded of a point.

    Attributes:
        latency: of the iterations recorded.
        ends_ns: when each of them ended, by the caller's clock.
        numbers: which each of them was of all that were run, from 0.
    """

    latency: Latency
    ends_ns: list[int]
    numbers: list[int]

    @property
    def windows(self) -> list[tuple[int, int]]:
        """(start, end) of each iteration in nanoseconds of that clock, in their order."""
        return [(end - took, end) for took, end in zip(self.latency.iterations_ns, self.ends_ns, strict=True)]


def warm_up(trial: Trial, now_ns: Callable[[], int], limit_ns: int) -> None:
    """Iterate until steady: 50 ms, and then two iterations in a row within 5% of the fastest so far; or ``limit_ns``.

    A processor or GPU that was idle takes tens of milliseconds to raise its clock.
    """
    start, fastest, calm, passed = now_ns(), math.inf, 0, 0
    while passed < limit_ns and (calm < 2 or passed < TURN_NS):
        took = trial.run()
        calm = calm + 1 if abs(took - fastest) <= _STEADY * fastest < math.inf else 0
        fastest = min(fastest, took)
        passed = now_ns() - start


def sample(
    trials: Iterator[Trial],
    settings: Settings,
    now_ns: Callable[[], int],
    on_iteration: Callable[[int], None] = lambda _count: None,
    start_ns: int | None = None,
    waited_ns: Callable[[], int] = lambda: 0,
    *,
    full_time: bool = False,
) -> Sample:
    """Iterate until the 95% interval of the median is within ``settings.precision``, or a limit.

    With ``full_time`` precision ends nothing: of two that are compared turn by turn neither leaves early.

    At least ``settings.min_iterations`` where an iteration takes under 1 s; longer ones stop at
    ``settings.max_time`` seconds, after one iteration at the least. Every recorded time is kept, in
    order. The time limit counts from ``start_ns``, where the first trial began before this call, and
    leaves out what ``waited_ns`` (a total so far) grows by: the waiting for other processes' turns.
    """
    taken = _Taken(settings, full_time)
    short_ns = DUET_SHORT_NS if full_time else SHORT_NS
    start = (now_ns() if start_ns is None else start_ns) - waited_ns()
    last: int | None = None
    ran = 0
    for trial in trials:
        taken.next_draw()
        turn, iterations, settled = 0, 0, False
        while turn < TURN_NS and iterations < taken.longest_turn:
            took = trial.run()
            ran += 1
            first_is_short = not settled and (took if last is None else last) < short_ns
            last, settled = took, True
            if first_is_short:
                continue
            turn, iterations = turn + max(1, took), iterations + 1
            taken.add(took, now_ns(), ran - 1)
            elapsed_ns = taken.ends[-1] - start - waited_ns()
            stopped = taken.check(on_iteration, elapsed_ns) or taken.limit(elapsed_ns)
            if stopped is not None:
                return Sample(summarise(taken.times, taken.ordered, stopped, taken.turns), taken.ends, taken.numbers)
        del trial  # and with it its inputs, before the next are made
    raise AssertionError("trials are endless")


@dataclass(slots=True)
class _Taken:
    """The iterations recorded so far, and whether they are enough."""

    settings: Settings
    full_time: bool
    times: list[int] = field(default_factory=list)
    ends: list[int] = field(default_factory=list)
    numbers: list[int] = field(default_factory=list)
    ordered: list[int] = field(default_factory=list)
    by_draw: list[int] = field(default_factory=list)
    next_check: int = LEAST_FOR_95

    @property
    def longest_turn(self) -> int:
        return max(1, self.settings.max_iterations // _TURNS)

    @property
    def turns(self) -> list[int]:
        """Iterations on each set of inputs that was iterated on."""
        return [count for count in self.by_draw if count]

    def next_draw(self) -> None:
        self.by_draw.append(0)

    def add(self, took: int, end: int, number: int) -> None:
        self.by_draw[-1] += 1
        self.times.append(took)
        self.ends.append(end)
        self.numbers.append(number)
        insort(self.ordered, took)

    def check(self, on_iteration: Callable[[int], None], elapsed_ns: int) -> StoppedBy | None:
        """Look at the interval now and then: 10% more iterations from one look to the next."""
        if len(self.times) < self.next_check:
            return None
        on_iteration(len(self.times))
        self.next_check = math.ceil(len(self.times) * _RECHECK)
        if self.full_time or len(self.times) < self._least or len(self.by_draw) < LEAST_DRAWS or elapsed_ns < LEAST_NS:
            return None
        inflated = inflation(self.times)
        noise, interval = relative_half_width(self.ordered, inflated), median_interval(self.ordered, inflated)
        return "converged" if is_precise(noise, interval, self.settings.precision) else None

    def limit(self, elapsed_ns: int) -> StoppedBy | None:
        if len(self.times) >= self.settings.max_iterations:
            return "max_iterations"
        least = 1 if self._long else self.settings.min_iterations
        return "max_time" if elapsed_ns >= self.settings.max_time * 1e9 and len(self.times) >= least else None

    @property
    def _long(self) -> bool:
        return median(self.ordered) >= _LONG_NS

    @property
    def _least(self) -> int:
        return min(self.settings.min_iterations, LEAST_FOR_95) if self._long else self.settings.min_iterations


def summarise(times: list[int], ordered: list[int], stopped_by: StoppedBy, turns: list[int] | None = None) -> Latency:
    """The latency record of iteration times in nanoseconds, in the order they were taken and in ascending order.

    ``turns`` are how many of them were taken on each set of inputs.
    """
    inflated = inflation(times)
    noise = relative_half_width(ordered, inflated)
    return Latency(
        iterations_ns=times,
        median_ns=median(ordered),
        ci95_ns=median_interval(ordered, inflated),
        mean_ns=sum(times) / len(times),
        p95_ns=quantile(ordered, 0.95),
        noise=noise if math.isfinite(noise) else None,
        stopped_by=stopped_by,
        effective_iterations=len(times) / inflated,
        turns=turns,
    )
