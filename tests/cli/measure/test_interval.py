from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from longbench_cli.measure.interval import inflation, median, median_interval, quantile, relative_half_width

values = st.lists(st.integers(1, 10**12), min_size=1, max_size=60).map(sorted)


@pytest.mark.parametrize(("n", "ranks"), [(6, (1, 6)), (9, (2, 8)), (10, (2, 9)), (20, (6, 15)), (100, (40, 61))])
def test_ranks_are_those_of_the_published_table(n: int, ranks: tuple[int, int]) -> None:
    assert median_interval(range(1, n + 1)) == ranks


def test_no_interval_below_six_values() -> None:
    assert median_interval([1, 2, 3, 4, 5]) is None


@given(values)
def test_interval_holds_the_median(ordered: list[int]) -> None:
    interval = median_interval(ordered)
    assert interval is None or interval[0] <= median(ordered) <= interval[1]
    assert ordered[0] <= quantile(ordered, 0.95) <= ordered[-1]
    assert relative_half_width(ordered) >= 0


@given(st.lists(st.integers(1, 1000), min_size=6, max_size=60), st.floats(1, 3), st.floats(1, 3))
def test_a_larger_inflation_never_makes_an_interval_narrower(times: list[int], one: float, other: float) -> None:
    ordered = sorted(times)
    assert inflation(times) >= 1
    small, large = (median_interval(ordered, inflated) for inflated in sorted((one, other)))
    if large is not None:
        assert small is not None
        assert large[0] <= small[0] <= small[1] <= large[1]
    narrow = median_interval(ordered)
    assert median_interval(ordered, 1.0) == narrow
    assert small is None or (narrow is not None and small[0] <= narrow[0] <= narrow[1] <= small[1])


def test_values_worth_fewer_than_six_have_no_interval() -> None:
    assert median_interval(range(60), 10) is not None
    assert median_interval(range(60), 10.1) is None
    assert relative_half_width(range(1, 61), 10.1) == pytest.approx(59 / 2 / 30.5)


@pytest.mark.parametrize("n", [6, 11, 50, 1500])
def test_interval_covers_the_true_median_as_often_as_it_says(n: int) -> None:
    draw = random.Random(n)
    trials = 400
    hits = 0
    for _ in range(trials):
        low, high = median_interval(sorted(draw.lognormvariate(0, 1) for _ in range(n)))  # true median: 1
        hits += low <= 1 <= high
    assert hits / trials > 0.92
