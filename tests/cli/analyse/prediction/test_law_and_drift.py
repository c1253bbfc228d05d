"""A law finds the costs that are there, and the walk about it is as wide as the errors that it has made."""

from __future__ import annotations

import math
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from longbench_cli.analyse.prediction.drift import (
    Drift,
    Mixture,
    Place,
    Sample,
    errors_of_predicting,
    learn_drift,
)
from longbench_cli.analyse.prediction.law import fit_law

SIZES = [1024 * 2**step for step in range(6)]


@given(st.floats(1e-4, 10), st.floats(1e-3, 10), st.floats(1e-3, 10))
@settings(max_examples=30)
def test_a_law_finds_the_costs_that_are_there(fixed: float, linear: float, square: float) -> None:
    rows = [(1.0, float(n), float(n) ** 2) for n in range(1, 9)]
    values = [fixed + linear * n + square * n**2 for _, n, _ in rows]
    law = fit_law(rows, values)
    assert law.costs == pytest.approx((fixed, linear, square), rel=1e-4)
    assert law.at((1.0, 100.0, 1e4)) == pytest.approx(fixed + 100 * linear + 1e4 * square, rel=1e-6)


@given(st.lists(st.floats(1e-6, 1e9), min_size=2, max_size=6))
@settings(max_examples=30)
def test_no_cost_is_negative_so_that_no_law_turns_over(values: list[float]) -> None:
    rows = [(1.0, float(n), float(n) ** 2) for n in SIZES[: len(values)]]
    law = fit_law(rows, values)
    assert all(cost >= 0 for cost in law.costs)
    assert law.at((1.0, 1e9, 1e18)) >= law.at((1.0, 1e3, 1e6))


@pytest.mark.parametrize("values", [[], [1.0, 0.0]])
def test_a_law_needs_values_above_nothing(values: list[float]) -> None:
    with pytest.raises(ValueError, match="above 0"):
        fit_law([(1.0, 2.0)] * len(values), values)


def at(*sizes: float, ranks: float = 0.0) -> Place:
    return Place(tuple(map(float, sizes)), float(ranks))


def walk(logs: list[float], noise: float = 1e-6) -> Drift:
    samples = [Sample(at(place), log, noise) for place, log in enumerate(logs)]
    return learn_drift(samples, [])


def width(found: Mixture) -> float:
    return found.quantile(0.95) - found.quantile(0.05)


def test_between_points_it_interpolates_and_beyond_them_it_keeps_the_last() -> None:
    drift = walk([0.0, 0.2, 0.1])
    assert drift.at(at(0.5)).quantile(0.5) == pytest.approx(0.1, abs=1e-3)
    assert drift.at(at(1.0)).quantile(0.5) == pytest.approx(0.2, abs=1e-3)
    assert drift.at(at(9.0)).quantile(0.5) == pytest.approx(0.1, abs=1e-3)


def test_the_further_from_what_was_measured_the_wider() -> None:
    drift = walk([0.0, 0.02, 0.01])
    widths = [width(drift.at(at(2 + away))) for away in (0, 1, 2, 4, 8)]
    assert widths == sorted(widths)
    assert widths[4] / widths[2] == pytest.approx(2, rel=0.02)  # a walk: four times as far, twice as wide


def test_distances_of_several_sizes_add_up() -> None:
    drift = learn_drift([Sample(at(10, 0), 0.0, 0.0), Sample(at(11, 0), 0.0, 0.0)], [])
    both = width(drift.at(at(13, 2)))
    assert both == pytest.approx(width(drift.at(at(15, 0))))
    assert both > width(drift.at(at(13, 0)))
    assert width(drift.at(at(13, 0, ranks=1))) > width(drift.at(at(13, 0)))


def test_quantiles_of_a_mixture_are_those_of_its_parts() -> None:
    assert Mixture((1.0,), (2.0,), (1.0,)).quantile(0.95) == pytest.approx(1 + 2 * 1.644854, abs=1e-5)
    apart = Mixture((-10.0, 10.0), (1.0, 1.0), (0.5, 0.5))
    assert apart.quantile(0.25) == pytest.approx(-10, abs=1e-5)
    assert Mixture((0.5,), (0.0,), (1.0,)).quantile(0.05) == pytest.approx(0.5, abs=1e-6)


def test_a_walk_starts_somewhere() -> None:
    with pytest.raises(ValueError, match="start"):
        learn_drift([], [])


def learnt(logs: list[float], noise: float) -> Drift:
    places = [at(place) for place in range(len(logs))]
    noises = [noise] * len(logs)
    errors = errors_of_predicting(places, noises, lambda count: (logs[:count], logs[count]))
    return learn_drift([Sample(*parts) for parts in zip(places, logs, noises, strict=True)], errors)


@pytest.mark.parametrize("tau", [0.02, 0.15])
def test_it_learns_how_much_a_doubling_moves(tau: float) -> None:
    draw = random.Random(7)
    logs = [0.0]
    for _ in range(60):
        logs.append(logs[-1] + draw.gauss(0, tau))
    assert learnt(logs, 1e-3).tau == pytest.approx(tau, rel=0.35)


@pytest.mark.parametrize(("count", "least"), [(3, 0.85), (4, 0.85), (8, 0.86)])
@pytest.mark.parametrize("tau", [0.03, 0.12])
def test_intervals_hold_what_comes_as_often_as_they_say(count: int, least: float, tau: float) -> None:
    """90% intervals, of walks known at few places, one to six doublings on, their own noise included."""
    draw, held, trials, noise = random.Random(count), 0, 150, 0.01
    for _ in range(trials):
        walked = [0.0]
        for _ in range(count + 5):
            walked.append(walked[-1] + draw.gauss(0, tau))
        seen = [value + draw.gauss(0, noise) for value in walked]
        away = draw.randrange(count, count + 6)
        found = learnt(seen[:count], noise).at(at(away), noise)
        held += found.quantile(0.05) <= seen[away] <= found.quantile(0.95)
    assert held / trials >= least


def field(draw: random.Random, of_lengths: float, of_ranks: float, noise: float) -> dict[Place, float]:
    """A walk over 5 lengths, and one over 1, 2 and 4 ranks that is the same at each length."""
    lengths, ranks = [0.0], [0.0]
    for _ in range(4):
        lengths.append(lengths[-1] + draw.gauss(0, of_lengths))
    for _ in range(2):
        ranks.append(ranks[-1] + draw.gauss(0, of_ranks))
    return {at(n, ranks=p): lengths[n] + ranks[p] + draw.gauss(0, noise) for p in range(3) for n in range(5)}


def learnt_of_field(field: dict[Place, float], noise: float) -> Drift:
    places, logs = list(field), list(field.values())
    errors = errors_of_predicting(places, [noise] * len(logs), lambda count: (logs[:count], logs[count]))
    return learn_drift([Sample(place, log, noise) for place, log in field.items()], errors)


@pytest.mark.parametrize("of_ranks", [0.0, 0.03, 0.1])
def test_a_new_number_of_ranks_is_held_as_often_however_well_lengths_go(of_ranks: float) -> None:
    """Points of 1 and 2 ranks, whose lengths hardly wander; then 4 ranks, which are off alike at all lengths."""
    draw, held, trials = random.Random(3), [0.0] * 2, 60
    for _ in range(trials):
        walked = field(draw, 0.005, of_ranks, 0.01)
        drift = learnt_of_field({place: log for place, log in walked.items() if place.ranks < 2}, 0.01)
        for which, place in enumerate((at(0, ranks=2), at(4, ranks=2))):
            found = drift.at(place, 0.01)
            held[which] += (found.quantile(0.05) <= walked[place] <= found.quantile(0.95)) / trials
    assert min(held) >= 0.85


def test_what_lengths_teach_is_not_taken_for_ranks_nor_the_other_way_round() -> None:
    draw = random.Random(5)
    steady, apart = (
        learnt_of_field(
            {at(n, ranks=p): step * p + draw.gauss(0, 0.002) for p in range(ranks) for n in range(5)}, 0.002
        )
        for ranks, step in ((1, 0.0), (3, 0.3))
    )
    assert width(steady.at(at(4, ranks=1))) > 4 * width(steady.at(at(5)))
    assert apart.tau < 0.03 < 0.2 < apart.tau_ranks
    assert width(apart.at(at(5))) < 1.5 * width(steady.at(at(5)))


def test_points_that_are_too_few_for_a_law_are_no_errors() -> None:
    places = [at(place) for place in range(4)]
    errors = errors_of_predicting(places, [0.0] * 4, lambda count: ([0.0] * count, math.pi) if count >= 3 else None)
    assert [len(error.samples) for error in errors] == [3]
    assert errors[0].log == math.pi
