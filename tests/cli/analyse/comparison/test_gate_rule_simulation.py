"""A small gate simulation: false alarms and power as docs/statistics.md has them, so that a broken rule is seen."""

from __future__ import annotations

import math
import random
from pathlib import Path

import pytest

from longbench_cli.analyse.comparison.rule import judge_pairs, smallest_detectable

TAU = math.log(1.03)


@pytest.fixture(autouse=True)
def _benchmarks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(Path(__file__).parents[4])


def test_gates_of_unchanged_code_do_not_fail_where_a_look_without_confirmation_does() -> None:
    """Sessions spread by 2%, and 5% of them spoiled: some 0.2% of gates fail, and unconfirmed more than 10%."""
    from benchmarks import gate_simulation as simulation
    from benchmarks.gate_alternatives import unconfirmed

    tally = simulation.run(simulation.SPOILED, 250)
    assert tally.failed <= 4
    assert tally.share("inconclusive") < 0.08  # a third of the points, without the extension
    assert tally.share("improvement") < 0.0005
    assert tally.pairs / tally.kinds.total() < 9
    rng = simulation._rng(simulation.SPOILED, 0.0)
    base, candidate = simulation.SPOILED.draw(250, rng)
    assert unconfirmed(base, candidate, rng).any(axis=1).sum() > 25


@pytest.mark.parametrize(("sd", "slowdown", "least"), [(0.01, 0.05, 0.995), (0.02, 0.05, 0.955), (0.02, 0.10, 0.998)])
def test_slowdowns_are_found(sd: float, slowdown: float, least: float) -> None:
    from benchmarks import gate_simulation as simulation

    tally = simulation.run(simulation.World(sd), 2000, slowdown=slowdown, points=1)
    assert tally.share("regression") >= least
    assert tally.share("ok") < 0.005


def test_drift_and_memory_of_the_machine_leave_a_duet_alone() -> None:
    from benchmarks import gate_simulation as simulation

    tally = simulation.run(simulation.World(0.01, memory="sessions", drift=True), 50)
    assert (tally.failed, tally.kinds["ok"]) == (0, 3000)
    base, candidate = simulation.World(0.0, drift=True).draw(1, simulation._rng(simulation.SPOILED, 1.0), duet=False)
    assert (candidate - base).mean() == pytest.approx(math.log(1.03) / 2)  # what runs one after the other see


@pytest.mark.parametrize("sd", [0.005, 0.02, 0.05])
def test_the_smallest_detectable_slowdown_is_found_nine_times_of_ten(sd: float) -> None:
    wave = [sd * math.sqrt(5 / 6) * sign for sign in (1, -1) * 3]  # its standard deviation is sd
    effect = math.log1p(smallest_detectable(wave, TAU))
    draw = random.Random(5)
    found = sum(judge_pairs([draw.gauss(effect, sd) for _ in range(18)], TAU).kind == "regression" for _ in range(1200))
    assert 0.87 <= found / 1200 <= 0.95
