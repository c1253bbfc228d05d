from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from longbench_cli.measure.interval import median, median_interval, quantile, relative_half_width

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


@pytest.mark.parametrize("n", [6, 11, 50, 1500])
def test_interval_covers_the_true_median_as_often_as_it_says(n: int) -> None:
    draw = random.Random(n)
    trials = 400
    hits = 0
    for _ in range(trials):
        low, high = median_interval(sorted(draw.lognormvariate(0, 1) for _ in range(n)))  # true median: 1
        hits += low <= 1 <= high
    assert hits / trials > 0.92
