"""The plot behind a verdict: every process of both sides, what pairs off joined, what confirms told apart."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import pytest
from verdicts import CONFIRMED, SLOWER, effect_of, paired

from longbench_cli.analyse.comparison.types import Side
from longbench_cli.present.comparison.figure import can_draw, point_figure


def figure_of(point: Any) -> Any:
    return point_figure(point).figure.to_plotly_json()


def traces(figure: Any, series: int) -> list[Any]:
    return [trace for trace in figure["data"] if trace.get("meta") == series]


def test_pairs_are_joined_and_their_changes_stand_below() -> None:
    point = paired("regression", SLOWER, CONFIRMED)
    figure = figure_of(point)
    (base,), (candidate,) = traces(figure, 0), traces(figure, 1)
    assert list(base["y"]) == [pytest.approx(value / 1e6) for value in point.base.medians_ns]
    assert list(candidate["x"]) == list(range(1, 13))
    assert candidate["marker"]["symbol"] == ["diamond"] * 6 + ["diamond-open"] * 6
    (joined,) = [trace for trace in figure["data"] if trace["mode"] == "lines"]
    assert list(joined["y"][:3]) == [base["y"][0], candidate["y"][0], None]
    (changes,) = [trace for trace in figure["data"] if trace.get("yaxis") == "y2"]
    assert list(changes["y"]) == [pytest.approx(100 * math.expm1(d)) for d in (*SLOWER, *CONFIRMED)]
    low, high = figure["layout"]["yaxis2"]["range"]
    assert low < 0 < 3.0 < 6.8 < high  # no change, the threshold and every pair are in sight
    ground = next(shape for shape in figure["layout"]["shapes"] if shape.get("yref") == "paper")
    assert (ground["x0"], ground["x1"]) == (6.5, 12.5)


def test_a_wild_pair_does_not_press_the_others_flat() -> None:
    wild = (*CONFIRMED[:4], 2.1, -1.1)
    figure = figure_of(paired("regression", SLOWER, wild, effect=effect_of(SLOWER)))
    low, high = figure["layout"]["yaxis2"]["range"]
    assert -10 < low < 0 < 3.0 < high < 12
    (changes,) = [trace for trace in figure["data"] if trace.get("yaxis") == "y2"]
    assert all(low < value < high for value in changes["y"])
    assert changes["marker"]["symbol"][-3:] == ["circle-open", "triangle-up-open", "triangle-down-open"]
    assert changes["text"] == [""] * 10 + ["+717%", "-66.7%"]
    assert "pair 11: +717%" in changes["hovertext"]


def test_the_label_of_the_threshold_is_above_the_marks() -> None:
    figure = figure_of(paired("regression", SLOWER))
    (label,) = [note for note in figure["layout"]["annotations"] if "threshold 3.0%" in note["text"]]
    top = figure["layout"]["yaxis2"]["domain"][1]
    assert (label["yref"], label["y"], label["yanchor"]) == ("paper", top, "bottom")
    assert top < figure["layout"]["yaxis"]["domain"][0]


def test_pairs_that_did_not_confirm_are_on_a_shaded_ground() -> None:
    figure = figure_of(paired("inconclusive", (*SLOWER, *(-d for d in CONFIRMED))))
    grounds = [shape for shape in figure["layout"]["shapes"] if shape.get("yref") == "paper"]
    assert [(ground["x0"], ground["x1"]) for ground in grounds] == [(6.5, 12.5)]
    (candidate,) = traces(figure, 1)
    assert candidate["marker"]["symbol"] == ["diamond"] * 6 + ["diamond-open"] * 6


def test_an_interval_without_ends_is_not_drawn() -> None:
    endless = replace(effect_of(SLOWER), interval=(0.0, math.inf))
    figure = figure_of(paired("inconclusive", SLOWER, effect=endless))
    assert all(map(math.isfinite, figure["layout"]["yaxis2"]["range"]))
    assert not [shape for shape in figure["layout"]["shapes"] if shape["type"] == "rect"]


@pytest.mark.parametrize("mode", ["stored", "paired"])
def test_what_does_not_pair_off_stands_side_by_side(mode: Any) -> None:
    point = paired("regression", SLOWER)
    point = replace(point, mode=mode, candidate=Side("ok", medians_ns=point.candidate.medians_ns[:5]))
    figure = figure_of(point)
    marks = [trace for series in (0, 1) for trace in traces(figure, series) if trace["mode"] == "markers"]
    assert [len(trace["x"]) for trace in marks] == [6, 5]
    assert max(marks[0]["x"]) < 0.5 < min(marks[1]["x"])
    assert list(figure["layout"]["xaxis"]["ticktext"]) == ["base", "candidate"]


def test_one_session_a_side_can_be_drawn() -> None:
    point = paired("not-comparable", mode="stored", base=Side("ok", medians_ns=(1e6,)))
    assert figure_of(replace(point, candidate=Side("ok", medians_ns=(2e6,))))["data"]
    assert not can_draw(replace(point, candidate=Side("oom", "too much")))
