"""The doctor's measurements on a fake clock: each number must follow from the times that were fed in."""

from __future__ import annotations

from collections.abc import Callable
from itertools import count, cycle

import pytest
from hypothesis import given
from hypothesis import strategies as st

from longbench_cli.measure.capability import (
    measure_noise,
    measure_rate,
    measure_timer,
    repeat,
    summarise_noise,
)

MS = 1_000_000


class FakeTime:
    """A clock that only work moves on."""

    def __init__(self) -> None:
        self.at = 0

    def now(self) -> int:
        return self.at

    def work(self, *lengths_ns: int) -> Callable[[], None]:
        following = cycle(lengths_ns)

        def step() -> None:
            self.at += next(following)

        return step


def test_a_timer_that_steps_slower_than_it_is_read() -> None:
    readings = count()
    timer = measure_timer(lambda: next(readings) // 4 * 100, reads=4001)
    assert timer.resolution_ns == 100
    assert timer.overhead_ns == pytest.approx(25)


def test_repeats_fill_the_budget_after_a_warm_up() -> None:
    time = FakeTime()
    assert repeat(time.work(70 * MS, 10 * MS, 10 * MS), 90 * MS, time.now) == [10 * MS, 10 * MS, 70 * MS]
    assert time.at == 160 * MS


def test_slow_work_is_still_repeated_three_times() -> None:
    time = FakeTime()
    assert len(repeat(time.work(900 * MS), 10 * MS, time.now)) == 3


def test_a_rate_is_the_amount_over_the_median_time() -> None:
    time = FakeTime()
    work = time.work(2 * MS, 2 * MS, 2 * MS, 2 * MS, 50 * MS)
    assert measure_rate(work, amount=1e9, budget_ns=500 * MS, now=time.now) == pytest.approx(5e11)


def test_a_steady_machine_has_no_noise() -> None:
    time = FakeTime()
    noise = measure_noise(time.work(MS), budget_ns=1000 * MS, now=time.now)
    assert noise.median_ns == 5 * MS  # five units of 1 ms make the 5 ms
    assert noise.repeats == 200
    assert (noise.iqr, noise.drift) == (0, 0)


def test_a_machine_that_slows_down_has_drift_but_little_spread() -> None:
    noise = summarise_noise([100] * 90 + [110] * 30)
    assert noise.drift == pytest.approx(0.10)
    assert noise.iqr < 0.05


def test_a_machine_that_jitters_has_spread_but_no_drift() -> None:
    noise = summarise_noise([100, 120, 140] * 80)
    assert noise.iqr == pytest.approx(40 / 120)
    assert noise.drift == 0


@given(st.lists(st.integers(1, 10**9), min_size=3, max_size=200), st.integers(2, 1000))
def test_noise_is_a_share_and_does_not_depend_on_the_unit(times: list[int], factor: int) -> None:
    noise, scaled = summarise_noise(times), summarise_noise([factor * value for value in times])
    assert noise.iqr >= 0
    assert noise.drift >= 0
    assert scaled.iqr == pytest.approx(noise.iqr)
    assert scaled.drift == pytest.approx(noise.drift)


@given(st.lists(st.integers(1, 10**9), min_size=3, max_size=200))
def test_spread_does_not_depend_on_the_order(times: list[int]) -> None:
    assert summarise_noise(times).iqr == pytest.approx(summarise_noise(sorted(times)).iqr)
