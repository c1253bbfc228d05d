"""Laws are read off numbers: what is constant, a power or a logarithm is told from the others, and from none."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from longbench_cli.analyse.comm_growth import Axis, Growth, growth_of

DOUBLINGS = [2**step for step in range(1, 13)]


def law(of: Callable[[int], float], xs: Sequence[int] = DOUBLINGS, axis: Axis = "N") -> Growth:
    found = growth_of(xs, [of(x) for x in xs], axis)
    assert found is not None
    return found


@given(
    exponent=st.floats(-2, 3).filter(lambda value: abs(value) > 0.05),
    coefficient=st.floats(1e-3, 1e12),
    order=st.permutations(DOUBLINGS),
)
def test_a_power_is_told_with_its_exponent_in_any_order(exponent: float, coefficient: float, order: list[int]) -> None:
    found = law(lambda x: coefficient * x**exponent, order)
    assert found.law == "power"
    assert found.exponent == pytest.approx(exponent, abs=1e-6)
    assert found.within is not None
    assert found.within < 1e-9


@given(first=st.floats(0.5, 20), step=st.floats(0.5, 4))
def test_so_much_more_at_each_doubling_is_a_logarithm(first: float, step: float) -> None:
    found = law(lambda x: first + step * math.log2(x))
    assert found.law == "logarithmic"
    assert found.size == pytest.approx(step)


def test_constant_is_what_stays_within_one_percent() -> None:
    assert law(lambda x: 3e9).law == "constant"
    assert law(lambda x: 3e9).size == 3e9
    assert law(lambda x: 3e9 + x % 3).within == pytest.approx(0.5 / 3e9, rel=0.01)
    assert law(lambda x: x**0.004).law == "constant"  # 1.7% in all
    assert law(lambda x: x**0.01).law == "power"  # 4%


@pytest.mark.parametrize(
    ("of", "name", "exponent"),
    [
        (lambda ranks: 1.0, "constant", 0),  # a ring
        (lambda ranks: 1 / ranks, "power", -1),  # all-to-all
        (lambda ranks: ranks, "power", 1),  # all ranks of a ring together
    ],
)
@pytest.mark.parametrize("most", [8, 4096])
def test_the_share_that_a_rank_does_not_hold_is_a_factor(
    of: Callable[[int], float], name: str, exponent: int, most: int
) -> None:
    """(P - 1) / P looks like growth at 2 to 8 ranks, and is none."""
    found = law(lambda ranks: of(ranks) * (ranks - 1) / ranks, [p for p in DOUBLINGS if p <= most], "P")
    assert (found.law, found.others) == (name, True)
    assert found.exponent == pytest.approx(exponent, abs=1e-6)
    assert found.within == pytest.approx(0, abs=1e-9)
    against_length = law(lambda n: of(n) * (n - 1) / n, [2, 4, 8], "N")
    assert not against_length.others
    assert against_length.within is not None
    assert against_length.within > 0.01


@given(first=st.floats(1, 20), step=st.floats(1, 4))
def test_what_all_ranks_receive_of_a_logarithm_is_p_log_p(first: float, step: float) -> None:
    found = law(lambda ranks: ranks * (first + step * math.log2(ranks)), axis="P")
    assert found.law == "linearithmic"
    assert found.size == pytest.approx(step)
    assert found.exponent is not None
    assert 1 < found.exponent < 2


def test_what_is_read_off_is_the_upper_part_and_never_fewer_than_three_points() -> None:
    found = law(lambda x: 7.0 if x >= 64 else 1.0)
    assert (found.law, found.first, found.last, found.points) == ("constant", 64, 4096, 7)
    wide = law(lambda x: 5.0 * x, [2, 1000, 10**6, 10**9])
    assert (wide.law, wide.first, wide.points) == ("power", 2, 4)


def test_no_law_is_named_where_none_fits() -> None:
    found = law(lambda x: 1.0 if math.log2(x) % 2 else 2.0)
    assert found.law == "none"
    assert found.exponent == pytest.approx(0, abs=0.1)
    assert (found.low, found.high) == (1, 2)
    gaps = law(lambda x: 0.0 if math.log2(x) % 2 else 2.0)
    assert (gaps.law, gaps.exponent, gaps.low, gaps.high) == ("none", None, 0, 2)


def test_nothing_is_nothing() -> None:
    assert law(lambda x: 0.0).law == "nothing"
    assert law(lambda x: 1.0 if x < 64 else 0.0).law == "nothing"  # of short sequences only


def test_two_points_have_no_law() -> None:
    assert growth_of([2, 4], [1, 2], "N") is None
    assert growth_of([2, 2, 4], [1, 1, 2], "P") is None
    with pytest.raises(ValueError, match="growth needs"):
        growth_of([1, 2, 3], [1, 1, 1], "P")
