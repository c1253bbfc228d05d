"""Warm-up and the stopping rule on a fake clock: no real time passes."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator

import pytest

from longbench_cli.measure.sampling import LEAST_DRAWS, LEAST_NS, TURN_NS, Trial, sample, warm_up
from longbench_cli.sweep.settings import Settings

MS = 1_000_000
SECOND = 1000 * MS


class FakeMachine:
    """Iterations that take the given times and move the clock."""

    def __init__(self, times: Iterator[int]) -> None:
        self.now, self.draws, self.runs = 0, 0, 0
        self._times = times

    def clock(self) -> int:
        return self.now

    def _run(self) -> int:
        took = next(self._times)
        self.now += took
        self.runs += 1
        return took

    def trials(self) -> Iterator[Trial]:
        while True:
            self.draws += 1
            yield Trial(self._run)


def machine(make: Callable[[int], int]) -> FakeMachine:
    return FakeMachine(make(i) for i in itertools.count())


def test_steady_times_stop_at_the_minimum() -> None:
    quiet = machine(lambda _: 100 * MS)
    latency = sample(quiet.trials(), Settings(), quiet.clock).latency
    assert len(latency.iterations_ns) == 10
    assert (latency.stopped_by, latency.noise, latency.median_ns) == ("converged", 0.0, 100 * MS)


def test_short_iterations_are_not_converged_before_several_inputs_were_drawn() -> None:
    """Identical times on one layout of memory say nothing of the next layout's."""
    quiet = machine(lambda _: MS)
    latency = sample(quiet.trials(), Settings(), quiet.clock).latency
    assert latency.stopped_by == "converged"
    assert quiet.draws >= LEAST_DRAWS
    assert LEAST_NS <= quiet.clock() < 2 * LEAST_NS  # and half a second, which ticks of a clock take to tell of others


def test_noise_goes_on_until_the_interval_is_narrow() -> None:
    noisy = machine(lambda i: 20 * MS + (i * 7919 % 101) * 40_000)
    latency = sample(noisy.trials(), Settings(), noisy.clock).latency
    assert latency.stopped_by == "converged"
    assert latency.noise is not None
    assert latency.noise <= 0.01
    assert len(latency.iterations_ns) > 100
    assert latency.ci95_ns is not None
    assert latency.ci95_ns[0] <= latency.median_ns <= latency.ci95_ns[1]


def test_what_does_not_settle_stops_at_the_time_limit_and_says_so() -> None:
    two_modes = machine(lambda i: 50 * MS if i % 2 else 100 * MS)
    latency = sample(two_modes.trials(), Settings(max_time=5), two_modes.clock).latency
    assert latency.stopped_by == "max_time"
    assert latency.noise is not None
    assert latency.noise > 0.01
    assert 5 * SECOND <= sum(latency.iterations_ns) <= 5.2 * SECOND


def test_a_steady_rise_does_not_converge() -> None:
    """Times that only rise are worth few independent ones: their interval says nothing, and the record says so."""
    rising = machine(lambda i: round(100 * MS * 1.002**i))
    latency = sample(rising.trials(), Settings(), rising.clock).latency
    assert latency.stopped_by == "max_time"
    assert latency.effective_iterations is not None
    assert latency.effective_iterations < 6
    assert latency.ci95_ns is None
    assert latency.noise == pytest.approx((latency.iterations_ns[-1] / latency.iterations_ns[0] - 1) / 2, rel=0.1)


def test_a_long_iteration_is_taken_once_and_has_no_interval() -> None:
    slow = machine(lambda _: 40 * SECOND)
    latency = sample(slow.trials(), Settings(max_time=10), slow.clock).latency
    assert (len(latency.iterations_ns), latency.ci95_ns, latency.noise) == (1, None, None)
    assert latency.stopped_by == "max_time"


def test_short_iterations_reach_the_minimum_whatever_the_time_limit() -> None:
    uneven = machine(lambda i: 900 * MS if i % 3 else 500 * MS)
    latency = sample(uneven.trials(), Settings(max_time=1), uneven.clock).latency
    assert len(latency.iterations_ns) == 10


def test_the_most_iterations_are_a_limit_over_several_inputs() -> None:
    uneven = machine(lambda i: 1000 if i % 2 else 3000)
    latency = sample(uneven.trials(), Settings(max_iterations=50), uneven.clock).latency
    assert (len(latency.iterations_ns), latency.stopped_by) == (50, "max_iterations")
    assert uneven.draws == 10  # not one: 50 of these take far less than a turn


def test_inputs_are_drawn_anew_every_turn() -> None:
    quiet = machine(lambda i: TURN_NS // 5 + i * 1000)
    latency = sample(quiet.trials(), Settings(precision=1e-9, max_iterations=50), quiet.clock).latency
    assert quiet.draws == len(latency.iterations_ns) / 5


def test_the_first_of_short_iterations_on_fresh_inputs_is_not_recorded() -> None:
    def cold_first(of: FakeMachine) -> Iterator[Trial]:
        for trial in of.trials():
            times = itertools.chain([4 * MS], itertools.repeat(MS))
            yield Trial(lambda run=trial.run, times=times: run() * 0 + next(times))

    quick = machine(lambda _: MS)
    latency = sample(cold_first(quick), Settings(max_iterations=200, precision=1e-9), quick.clock).latency
    assert set(latency.iterations_ns) == {MS}
    assert quick.runs == len(latency.iterations_ns) + quick.draws


def test_every_one_of_long_iterations_is_recorded() -> None:
    slow = machine(lambda i: 20 * MS + i * 1000)
    latency = sample(slow.trials(), Settings(max_iterations=30, precision=1e-9), slow.clock).latency
    assert latency.iterations_ns == [20 * MS + i * 1000 for i in range(30)]


def test_times_are_kept_in_order_with_when_they_ended() -> None:
    quiet = machine(lambda i: 10 * MS + i)
    taken = sample(quiet.trials(), Settings(precision=0.5), quiet.clock)
    assert taken.latency.iterations_ns == [10 * MS + i for i in range(len(taken.ends_ns))]
    assert taken.ends_ns == list(itertools.accumulate(taken.latency.iterations_ns))
    assert taken.windows[0] == (0, 10 * MS)
    assert all(start == end for (_, end), (start, _) in itertools.pairwise(taken.windows))


def test_waiting_for_a_turn_takes_nothing_from_the_time_limit() -> None:
    waited = 0

    def turns(of: FakeMachine) -> Iterator[Trial]:
        nonlocal waited
        for trial in of.trials():
            of.now += 3 * SECOND
            waited += 3 * SECOND
            yield trial

    one = machine(lambda i: 100 * MS if i % 2 else 200 * MS)
    latency = sample(turns(one), Settings(max_time=4), one.clock, waited_ns=lambda: waited).latency
    assert latency.stopped_by == "max_time"
    assert 4 * SECOND <= sum(latency.iterations_ns) <= 4.2 * SECOND


@pytest.mark.parametrize(
    ("times", "used"),
    [([100, 90, 70, 70, 70, 70], 5), ([70, 70, 70, 99], 3), ([100, 70, 100, 70, 70, 70], 5)],
)
def test_warm_up_ends_when_two_in_a_row_are_near_the_fastest(times: list[int], used: int) -> None:
    cold = FakeMachine(took * MS for took in times)
    warm_up(next(cold.trials()), cold.clock, SECOND)
    assert cold.runs == used


def test_warm_up_of_short_iterations_takes_as_long_as_a_clock_needs_to_rise() -> None:
    quick = machine(lambda _: MS)
    warm_up(next(quick.trials()), quick.clock, SECOND)
    assert quick.now == TURN_NS


def test_warm_up_ends_at_its_limit() -> None:
    falling = machine(lambda i: SECOND // (i + 1))
    warm_up(next(falling.trials()), falling.clock, 2 * SECOND)
    assert 2 * SECOND <= falling.now < 3 * SECOND


def test_turns_count_the_recorded_iterations_of_each_set_of_inputs() -> None:
    quiet = machine(lambda _: 20 * MS)
    latency = sample(quiet.trials(), Settings(max_time=1), quiet.clock, full_time=True).latency
    assert latency.turns is not None
    assert sum(latency.turns) == len(latency.iterations_ns)
    assert set(latency.turns[:-1]) == {3}  # 60 ms, the first to reach 50
    assert len(latency.turns) == quiet.draws


def test_for_the_full_time_precision_ends_nothing() -> None:
    quiet = machine(lambda _: 20 * MS)
    latency = sample(quiet.trials(), Settings(max_time=2), quiet.clock, full_time=True).latency
    assert latency.stopped_by == "max_time"
    assert quiet.clock() >= 2 * SECOND
