"""The rule of the gate: what it may depend on, in which direction, and its arithmetic."""

from __future__ import annotations

import itertools
import math
import statistics

import pytest
from hypothesis import given
from hypothesis import strategies as st

from longbench_cli.analyse.comparison.rule import (
    MOST_PAIRS,
    PAIRS,
    Decision,
    hodges_lehmann,
    judge_pairs,
    lower_bound,
    smallest_detectable,
    upper_bound,
)

TAU = math.log(1.03)
SLOWER, SAME, FASTER = [0.05, 0.049, 0.051] * 2, [0.001, -0.001, 0.0] * 2, [-0.05, -0.049, -0.051] * 2
WIDE = [0.01, -0.06, 0.07, 0.05, -0.04, 0.03]

logs = st.floats(-1, 1)


@st.composite
def pairs(draw: st.DrawFn) -> list[float]:
    """18 pairs about some effect, now quiet, now wild, so that every end of the rule is met."""
    effect, spread = draw(st.sampled_from([-0.1, -0.03, 0.0, 0.028, 0.032, 0.05, 0.1])), draw(st.floats(0, 0.05))
    noise = draw(st.lists(st.floats(-2, 2), min_size=MOST_PAIRS, max_size=MOST_PAIRS))
    return [effect + spread * one for one in noise]


@given(st.lists(logs, min_size=1, max_size=12))
def test_the_estimate_is_the_median_of_the_walsh_averages(d: list[float]) -> None:
    averages = [(one + other) / 2 for one, other in itertools.combinations_with_replacement(d, 2)]
    assert hodges_lehmann(d) == pytest.approx(statistics.median(averages), abs=1e-12)


def test_bounds_are_those_of_student() -> None:
    d = [0.01, 0.02, 0.03, 0.04, 0.05, 0.09]
    half = 3.364930 * statistics.stdev(d) / math.sqrt(6)  # t(0.99; 5), from a table
    assert lower_bound(d, 0.99) == pytest.approx(0.04 - half)
    assert upper_bound(d, 0.95) == pytest.approx(0.04 + half * 2.015048 / 3.364930)


@given(st.lists(logs, min_size=2, max_size=12), logs)
def test_estimate_and_bounds_move_with_the_values_and_turn_with_their_sign(d: list[float], shift: float) -> None:
    moved, turned = [value + shift for value in d], [-value for value in d]
    assert hodges_lehmann(moved) == pytest.approx(hodges_lehmann(d) + shift, abs=1e-9)
    assert lower_bound(moved, 0.99) == pytest.approx(lower_bound(d, 0.99) + shift, abs=1e-6)
    assert hodges_lehmann(turned) == pytest.approx(-hodges_lehmann(d), abs=1e-12)
    assert lower_bound(turned, 0.95) == pytest.approx(-upper_bound(d, 0.95), abs=1e-9)


@given(pairs())
def test_pairs_after_the_decision_change_nothing_and_before_it_more_are_wanted(d: list[float]) -> None:
    decided = judge_pairs(d, TAU)
    used = len(decided.values) + len(decided.confirmation)
    assert (decided.wants, [*decided.values, *decided.confirmation]) == (0, d[:used])
    for count in range(used):
        early = judge_pairs(d[:count], TAU)
        assert early.kind == "inconclusive"
        assert early.wants == -count % PAIRS or (count % PAIRS == 0 and early.wants == PAIRS)
        assert count + early.wants <= used
    for count in range(used, len(d) + 1):
        assert judge_pairs(d[:count], TAU) == decided


@given(pairs(), st.floats(1e-6, 0.5))
def test_a_regression_that_is_slower_still_is_one(d: list[float], more: float) -> None:
    if judge_pairs(d, TAU).kind == "regression":
        assert judge_pairs([value + more for value in d], TAU).kind == "regression"


@given(pairs())
def test_an_improvement_is_a_regression_seen_from_the_other_side(d: list[float]) -> None:
    other = judge_pairs([-value for value in d], TAU)
    if hodges_lehmann(d[:PAIRS]) >= TAU:
        assert (judge_pairs(d, TAU).kind == "regression") == (other.kind == "improvement")


@pytest.mark.parametrize(
    ("d", "kind", "used"),
    [
        (SAME * 3, "ok", 6),
        (SLOWER * 3, "regression", 12),
        (FASTER * 3, "improvement", 12),
        ([0.031, 0.03, 0.032] * 2 + SAME * 2, "ok", 12),  # not confirmed, and 12 pairs together rule it out
        (SLOWER + SAME * 2, "inconclusive", 12),  # not confirmed, nor ruled out
        ([*SLOWER, 0.02, 0.12, -0.05, 0.1, -0.02, 0.05, *SLOWER], "regression", 18),  # not at once, but by 12 and 6
        (WIDE + SAME * 2, "ok", 12),
        (WIDE + WIDE + SAME, "inconclusive", 12),
        (WIDE + [0.1, 0.11, 0.12] * 2 + SLOWER, "regression", 18),
        (WIDE + [0.1, 0.11, 0.12] * 2 + SAME, "inconclusive", 18),
        (FASTER + [2.0] * 6 + SLOWER, "inconclusive", 12),  # ruled out by 6, it does not come back
    ],
)
def test_the_ways_to_a_decision(d: list[float], kind: str, used: int) -> None:
    decided = judge_pairs(d, TAU)
    assert (decided.kind, len(decided.values) + len(decided.confirmation)) == (kind, used)


def test_a_regression_is_told_with_the_pairs_that_confirmed_it_and_every_look() -> None:
    decided = judge_pairs(SLOWER + FASTER[:2], TAU)
    assert (decided.wants, decided.values, decided.confirmation) == (4, tuple(SLOWER), tuple(FASTER[:2]))
    decided = judge_pairs(SLOWER * 2, TAU)
    assert (decided.values, decided.confirmation) == (tuple(SLOWER), tuple(SLOWER))
    assert decided.effect is not None
    assert decided.effect.ratio == pytest.approx(math.exp(0.05))
    assert decided.effect.interval[0] < decided.effect.ratio < decided.effect.interval[1]
    first, fresh = decided.steps
    assert first.startswith(
        "pairs 1-6: d = +5.13% +5.02% +5.23% +5.13% +5.02% +5.23%; estimate +5.13%, 99% lower bound +"
    )
    assert "95% upper bound" in first
    assert first.endswith(": slower, to be confirmed")
    assert fresh.startswith("pairs 7-12: ")
    assert fresh.endswith(": confirmed")


def test_before_the_second_pair_there_is_no_effect_and_two_far_apart_stay_numbers() -> None:
    none: Decision = judge_pairs([], TAU)
    assert (none.wants, none.effect, none.steps) == (PAIRS, None, ("6 more pairs wanted",))
    assert judge_pairs([0.1], TAU).effect is None
    wild = judge_pairs([-60.0, 60.0], TAU).effect
    assert wild is not None
    assert math.isfinite(wild.upper)


def test_the_noisier_the_pairs_the_larger_the_smallest_slowdown_that_is_found() -> None:
    assert smallest_detectable([0.0] * 6, TAU) == pytest.approx(0.03)
    quiet, wide = ([scale * one for one in WIDE] for scale in (0.1, 1))
    assert 0.03 < smallest_detectable(quiet, TAU) < 0.04 < smallest_detectable(wide, TAU)


AGREEING = [0.047, 0.052, 0.044, 0.055, 0.049, 0.051]


@pytest.mark.parametrize("wild", [math.log(8), -math.log(3)])
@pytest.mark.parametrize("place", [0, 5, 7, 11])
def test_one_wild_pair_of_many_that_agree_hides_nothing(wild: float, place: int) -> None:
    d = AGREEING * 3
    d[place] = wild
    found = judge_pairs(d, TAU)
    assert found.kind == "regression"
    assert found.effect is not None
    assert found.effect.ratio == pytest.approx(1.05, abs=0.01)


@pytest.mark.parametrize("wild", [math.log(8), -math.log(3)])
def test_one_wild_pair_makes_no_regression(wild: float) -> None:
    same = [0.001, -0.002, 0.004, -0.003, 0.002, -0.001]
    d = [wild, *same[1:], *same, *same]
    assert judge_pairs(d, TAU).kind == "ok"
    assert smallest_detectable(d[:12], TAU) < 0.05


@pytest.mark.parametrize(("count", "level"), [(6, 0.95), (12, 0.95), (12, 0.99), (18, 0.99)])
def test_the_rank_bound_is_the_largest_that_holds(count: int, level: float) -> None:
    """Of values so wild that Student's bound is useless, the bound is the order statistic whose binomial tail fits."""
    from scipy.stats import binom

    d = [*range(1, count), 1e6]
    rank = next(k for k in range(count) if binom.cdf(k, count, 0.5) > 1 - level)
    assert lower_bound(d, level) == sorted(d)[rank - 1]
