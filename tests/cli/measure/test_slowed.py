"""A slowdown that is put into what is timed, on a clock that only moves when it is looked at or worked on."""

from __future__ import annotations

import pytest

from longbench_cli.measure.clock import CpuTimer
from longbench_cli.measure.slowed import _SlowedCpu, slowed


class Clock:
    """Nanoseconds; a look takes one."""

    def __init__(self) -> None:
        self.now = 0

    def __call__(self) -> int:
        self.now += 1
        return self.now


@pytest.mark.parametrize("share", [0.05, 0.1, 1.0])
def test_each_iteration_takes_that_much_longer_whatever_it_takes(share: float) -> None:
    clock = Clock()
    durations = iter([1_000, 100_000, 40_000])

    def work() -> str:
        clock.now += next(durations)
        return "done"

    iteration = _SlowedCpu(CpuTimer(clock=clock), share, clock).bind(work)
    for took in (1_000, 100_000, 40_000):
        assert iteration() == pytest.approx((1 + share) * took, abs=10)


def test_no_slowdown_is_no_wrapper() -> None:
    timer = CpuTimer()
    assert slowed(timer, 0.0, "cpu") is timer


def test_a_slowed_timer_tells_what_the_timer_does() -> None:
    timer = CpuTimer()
    wrapped = slowed(timer, 0.05, "cpu")
    assert wrapped.settled
    assert wrapped.timing() == timer.timing()
