"""The stopping rule on a fake clock: no real time passes."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator

import pytest

from longbench_cli.measure.sampling import TURN_NS, Trial, sample, warm_up
from longbench_cli.sweep.settings import Settings

SECOND = 1_000_000_000


class FakeMachine:
    """Iterations that take the given times and move the clock."""

    def __init__(self, times: Iterator[int]) -> None:
        self.now, self.draws = 0, 0
        self._times = times

    def clock(self) -> int:
        return self.now

    def _run(self) -> int:
        took = next(self._times)
        self.now += took
        return took

    def trials(self) -> Iterator[Trial]:
        while True:
            self.draws += 1
            yield Trial(self._run)


def machine(make: Callable[[int], int]) -> FakeMachine:
    return FakeMachine(make(i) for i in itertools.count())


def test_steady_times_stop_at_the_minimum() -> None:
    quiet = machine(lambda _: 1_000_000)
    latency = sample(quiet.trials(), Settings(), quiet.clock)
    assert len(latency.iterations_ns) == 10
    assert (latency.stopped_by, latency.noise, latency.median_ns) == ("converged", 0.0, 1_000_000)


def test_noise_goes_on_until_the_interval_is_narrow() -> None:
    noisy = machine(lambda i: 1_000_000 + (i * 7919 % 101) * 2_000)
    latency = sample(noisy.trials(), Settings(), noisy.clock)
    assert latency.stopped_by == "converged"
    assert latency.noise is not None
    assert latency.noise <= 0.01
    assert len(latency.iterations_ns) > 100
    assert latency.ci95_ns is not None
    assert latency.ci95_ns[0] <= latency.median_ns <= latency.ci95_ns[1]


def test_what_does_not_settle_stops_at_the_time_limit_and_says_so() -> None:
    two_modes = machine(lambda i: 50_000_000 if i % 2 else 100_000_000)
    latency = sample(two_modes.trials(), Settings(max_time=5), two_modes.clock)
    assert latency.stopped_by == "max_time"
    assert latency.noise is not None
    assert latency.noise > 0.01
    assert 5 * SECOND <= sum(latency.iterations_ns) <= 5.2 * SECOND


def test_a_long_iteration_is_taken_once_and_has_no_interval() -> None:
    slow = machine(lambda _: 40 * SECOND)
    latency = sample(slow.trials(), Settings(max_time=10), slow.clock)
    assert (len(latency.iterations_ns), latency.ci95_ns, latency.noise) == (1, None, None)
    assert latency.stopped_by == "max_time"


def test_short_iterations_reach_the_minimum_whatever_the_time_limit() -> None:
    uneven = machine(lambda i: 900_000_000 if i % 3 else 500_000_000)
    latency = sample(uneven.trials(), Settings(max_time=1), uneven.clock)
    assert len(latency.iterations_ns) == 10


def test_the_most_iterations_are_a_limit() -> None:
    uneven = machine(lambda i: 1000 if i % 2 else 3000)
    latency = sample(uneven.trials(), Settings(max_iterations=50), uneven.clock)
    assert (len(latency.iterations_ns), latency.stopped_by) == (50, "max_iterations")


def test_inputs_are_drawn_anew_every_turn() -> None:
    quiet = machine(lambda i: TURN_NS // 5 + i * 1000)
    latency = sample(quiet.trials(), Settings(precision=1e-9, max_iterations=50), quiet.clock)
    assert quiet.draws == len(latency.iterations_ns) / 5


def test_times_are_kept_in_order() -> None:
    times = [1_000_000 + i for i in range(10)]
    latency = sample(FakeMachine(iter(times)).trials(), Settings(), lambda: 0)
    assert latency.iterations_ns == times


@pytest.mark.parametrize(
    ("times", "used"),
    [([100, 50, 10, 10, 10, 10], 5), ([10, 10, 10, 99], 3), ([100, 10, 100, 10, 10, 10], 5)],
)
def test_warm_up_ends_when_two_in_a_row_are_near_the_fastest(times: list[int], used: int) -> None:
    cold = FakeMachine(iter(times))
    warm_up(next(cold.trials()), cold.clock, SECOND)
    assert cold.now == sum(times[:used])


def test_warm_up_ends_at_its_limit() -> None:
    falling = machine(lambda i: 10**9 // (i + 1))
    warm_up(next(falling.trials()), falling.clock, 2 * SECOND)
    assert 2 * SECOND <= falling.now < 3 * SECOND
