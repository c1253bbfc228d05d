"""Levels of a series: a real step is found where it is, and noise, spikes and small steps are none."""

from __future__ import annotations

import itertools
import math
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from longbench_cli.analyse.change_points import LEAST_RUNS, stretches

LEAST = 0.03


def noisy(draw: random.Random, *parts: tuple[int, float], sd: float) -> list[float]:
    """Times about 1 ms: ``count`` of each ``level``, with noise that multiplies."""
    return [1e6 * level * math.exp(draw.gauss(0, sd)) for count, level in parts for _ in range(count)]


def starts(values: list[float], least: float = LEAST) -> list[int]:
    return [one.start for one in stretches(values, least)[1:]]


def test_noise_alone_hardly_ever_has_a_change() -> None:
    """60 runs of 150 unchanged points at sd 1% and 2%: docs/history.md has the rate from many more."""
    draw = random.Random(7)
    found = [starts(noisy(draw, (60, 1.0), sd=sd)) for sd in (0.01, 0.02) for _ in range(150)]
    assert sum(map(bool, found)) <= 2


def test_a_step_of_5_percent_is_found_through_noise_of_2() -> None:
    draw = random.Random(8)
    found = [starts(noisy(draw, (30, 1.0), (20, 1.05), sd=0.02)) for _ in range(60)]
    assert sum(len(one) == 1 and abs(one[0] - 30) <= 3 for one in found) >= 56


def test_a_step_is_where_it_is_with_its_size_and_an_interval() -> None:
    draw = random.Random(9)
    values = noisy(draw, (12, 1.0), (10, 1.2), (9, 0.9), sd=0.01)
    first, up, down = stretches(values, LEAST)
    assert [(one.start, one.stop) for one in (first, up, down)] == [(0, 12), (12, 22), (22, 31)]
    assert first.ratio is None
    for one, ratio, level in ((up, 1.2, 1.2e6), (down, 0.75, 0.9e6)):
        assert one.ratio == pytest.approx(ratio, rel=0.02)
        assert one.level == pytest.approx(level, rel=0.02)


def test_the_interval_of_a_step_holds_it_19_times_of_20() -> None:
    draw, held = random.Random(14), 0
    for _ in range(100):
        _, after = stretches(noisy(draw, (12, 1.0), (10, 1.2), sd=0.01), LEAST)
        assert after.interval is not None
        held += after.interval[0] < 1.2 < after.interval[1]
    assert 88 <= held <= 99


def test_a_step_below_the_least_effect_is_none_however_sure() -> None:
    values = noisy(random.Random(10), (40, 1.0), (40, 1.02), sd=0.002)
    assert starts(values) == []
    assert starts(values, 0.01) == [40]


@pytest.mark.parametrize("place", [0, 1, 7, 14, 15])
def test_one_run_that_is_off_is_no_change(place: int) -> None:
    values = noisy(random.Random(11), (16, 1.0), sd=0.01)
    values[place] *= 1.5
    (only,) = stretches(values, LEAST)
    assert only.level == pytest.approx(1e6, rel=0.01)


def test_two_runs_are_not_enough_and_three_are() -> None:
    draw = random.Random(12)
    assert starts(noisy(draw, (12, 1.0), (2, 1.2), sd=0.005)) == []
    assert starts(noisy(draw, (12, 1.0), (3, 1.2), sd=0.005)) == [12]


def test_runs_that_follow_each_other_alike_do_not_make_levels() -> None:
    """A random walk about its mean (rho 0.5): the rate is larger than of independent noise, and still small."""
    draw, changed = random.Random(13), 0
    for _ in range(100):
        at, values = 0.0, []
        for _ in range(60):
            at = 0.5 * at + draw.gauss(0, 0.02 * math.sqrt(0.75))
            values.append(1e6 * math.exp(at))
        changed += bool(starts(values))
    assert changed <= 10


@given(
    st.lists(st.floats(min_value=1, max_value=1e18), max_size=40),
    st.floats(min_value=1e-3, max_value=1),
)
def test_whatever_the_times_stretches_tile_them(values: list[float], least: float) -> None:
    found = stretches(values, least)
    assert [one.start for one in found] == [0, *(one.stop for one in found)][: len(found)]
    assert (found[-1].stop if found else 0) == len(values)
    if len(found) > 1:
        assert min(one.stop - one.start for one in found) >= LEAST_RUNS
    for one, other in itertools.pairwise(found):
        assert other.ratio == pytest.approx(other.level / one.level, rel=1e-6)
        assert other.ratio is not None
        assert abs(math.log(other.ratio)) >= math.log1p(least) * (1 - 1e-9)


def test_equal_times_are_one_level() -> None:
    (only,) = stretches([5e5] * 20, LEAST)
    assert only.level == pytest.approx(5e5)
