"""The fit finds the exponent that is there, says honestly how sure it is, and refuses to guess."""

from __future__ import annotations

import math
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from longbench_cli.analyse.scaling import fit_power_law, local_exponents

LENGTHS = [1024 << step for step in range(8)]
exponents = st.floats(-1, 3)
coefficients = st.floats(1e-6, 1e9)


def law(coefficient: float, exponent: float, lengths: list[int] = LENGTHS) -> list[float]:
    return [coefficient * length**exponent for length in lengths]


@given(coefficients, exponents)
def test_finds_a_power_law_exactly(coefficient: float, exponent: float) -> None:
    fit = fit_power_law(LENGTHS, law(coefficient, exponent))
    assert fit is not None
    assert fit.exponent == pytest.approx(exponent, abs=1e-6)
    assert fit.coefficient == pytest.approx(coefficient, rel=1e-4)
    assert fit.low <= fit.exponent <= fit.high
    assert fit.high - fit.low < 1e-5


@given(exponents, st.floats(1e-3, 1e6), st.integers(1, 1000), st.integers(0, 2**32))
def test_units_change_neither_exponent_nor_interval(exponent: float, unit: float, stretch: int, seed: int) -> None:
    draw = random.Random(seed)
    values = [value * math.exp(draw.gauss(0, 0.05)) for value in law(3.0, exponent)]
    fit = fit_power_law(LENGTHS, values)
    other = fit_power_law([length * stretch for length in LENGTHS], [value * unit for value in values])
    assert fit is not None
    assert other is not None
    assert (other.exponent, other.low, other.high, other.r_squared) == pytest.approx(
        (fit.exponent, fit.low, fit.high, fit.r_squared), abs=1e-6
    )


@given(st.permutations(range(len(LENGTHS))))
def test_order_of_the_points_does_not_matter(order: list[int]) -> None:
    values = [value * (1 + 0.03 * (index % 3)) for index, value in enumerate(law(2.0, 1.5))]
    shuffled = fit_power_law([LENGTHS[index] for index in order], [values[index] for index in order])
    assert shuffled == fit_power_law(LENGTHS, values)


@pytest.mark.parametrize("count", [3, 4, 7])
def test_interval_covers_the_truth_95_times_in_100(count: int) -> None:
    draw, trials, covered = random.Random(count), 4000, 0
    lengths = [1024 + 128 * step for step in range(count)]  # all within a factor of 8
    for _ in range(trials):
        values = [value * math.exp(draw.gauss(0, 0.1)) for value in law(5.0, 1.3, lengths)]
        fit = fit_power_law(lengths, values)
        assert fit is not None
        covered += fit.low <= 1.3 <= fit.high
    assert covered / trials == pytest.approx(0.95, abs=0.014)  # four standard errors


def test_agrees_with_a_regression_worked_by_hand() -> None:
    # ln N = 0, 1, 2 and ln t = 0, 1, 3: b = 1.5, SSres = 1/6, se = 0.28868, t(0.975; 1) = 12.706.
    xs, ys = [0, 1, 2], [0, 1, 3]
    base = 4  # ln of 4**x is x ln 4: the exponent is unchanged if t is 4**y
    fit = fit_power_law([base**x for x in xs], [float(base**y) for y in ys])
    assert fit is not None
    assert fit.exponent == pytest.approx(1.5)
    assert fit.high - fit.exponent == pytest.approx(12.7062 * math.sqrt((1 / 6) / 2), rel=1e-4)
    assert fit.r_squared == pytest.approx(1 - (1 / 6) / (14 / 3))


def test_fixed_overhead_at_short_lengths_does_not_enter() -> None:
    fit = fit_power_law(LENGTHS, [max(1e9, 30.0 * length) for length in LENGTHS])
    assert fit is not None
    assert (fit.shortest, fit.longest, fit.points) == (LENGTHS[-4], LENGTHS[-1], 4)
    flat_then_steep = [1e12] * 4 + law(1.0, 2.0, LENGTHS[4:])
    fit = fit_power_law(LENGTHS, flat_then_steep)
    assert fit is not None
    assert fit.exponent == pytest.approx(2.0)


def test_uses_every_length_where_the_upper_part_has_too_few() -> None:
    lengths = [1024, 16384, 262144]
    fit = fit_power_law(lengths, law(1.0, 2.0, lengths))
    assert fit is not None
    assert (fit.shortest, fit.points) == (1024, 3)


@pytest.mark.parametrize("lengths", [[], [1024], [1024, 2048], [1024, 1024, 1024, 2048]])
def test_no_fit_with_fewer_than_three_lengths(lengths: list[int]) -> None:
    assert fit_power_law(lengths, [float(length) for length in lengths]) is None


@pytest.mark.parametrize(
    ("lengths", "values"), [([1, 2, 4], [1.0, 2.0]), ([1, 2, 4], [1.0, 0.0, 2.0]), ([0, 1, 2], [1.0, 1.0, 1.0])]
)
def test_refuses_what_has_no_logarithm(lengths: list[int], values: list[float]) -> None:
    with pytest.raises(ValueError, match="value"):
        fit_power_law(lengths, values)


def test_local_exponents_show_where_a_curve_bends() -> None:
    values = law(7.0, 2.0, LENGTHS[:4])
    values += [values[-1] * 2**step for step in range(1, 5)]
    steps = local_exponents(LENGTHS, values)
    assert [round(step.exponent, 6) for step in steps] == [2.0, 2.0, 2.0, 1.0, 1.0, 1.0, 1.0]
    assert (steps[0].shorter, steps[0].longer) == (1024, 2048)
