"""A small gate simulation: false alarms and power as docs/statistics.md has them, so that a broken rule is seen."""

from __future__ import annotations

import math
import random
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from longbench_cli.analyse.comparison.rule import judge_pairs, smallest_detectable
from longbench_cli.commands.gate_session import Seams, measure_duet
from longbench_cli.sweep.options import resolve
from longbench_cli.sweep.plan import PlannedPoint, make_plan

TAU = math.log(1.03)


@pytest.fixture(autouse=True)
def _benchmarks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(Path(__file__).parents[4])


@pytest.mark.parametrize("sd", [0.005, 0.01])
def test_gates_of_unchanged_code_pass_on_a_quiet_machine(sd: float) -> None:
    from benchmarks import gate_simulation as simulation
    from benchmarks.gate_worlds import World

    tally = simulation.run(World(sd), 300)
    assert (tally.gates, tally.failed) == (300, 0)
    assert tally.share("ok") > 0.9995
    assert tally.pairs / tally.kinds.total() < 6.05


def test_gates_of_unchanged_code_pass_where_a_look_without_confirmation_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    """Sessions spread by 2%, and 5% of them spoiled: one gate of 1000 fails, and unconfirmed one of 7."""
    from benchmarks import gate_simulation as simulation
    from benchmarks.gate_alternatives import unconfirmed

    tally = simulation.run(simulation.SPOILED, 250)
    assert (tally.gates, tally.failed) == (250, 0)
    assert tally.share("inconclusive") < 0.06  # a third of the points, without the extension
    assert tally.share("improvement") < 0.0005
    assert tally.pairs / tally.kinds.total() < 8.5
    monkeypatch.setattr(simulation, "ALTERNATIVES", {"unconfirmed": unconfirmed})
    assert simulation.run_others(simulation.SPOILED, 250)["unconfirmed"] > 25


def test_other_rules_are_given_the_sessions_of_this_one(monkeypatch: pytest.MonkeyPatch) -> None:
    from benchmarks import gate_simulation as simulation
    from benchmarks.gate_worlds import World

    def itself(base: Any, candidate: Any, within: Any) -> Any:
        within.standard_normal(1000)  # what is drawn within sessions does not move the sessions
        kinds = [decision.kind for decision in simulation.decisions_of(base, candidate)]
        return np.array(kinds).reshape(base.shape[:2]) == "regression"

    monkeypatch.setattr(simulation, "ALTERNATIVES", {"itself": itself, "again": itself})
    failed = simulation.run_others(World(0.02), 600, slowdown=0.04, points=1)
    found = simulation.run(World(0.02), 600, slowdown=0.04, points=1).failed
    assert failed == {"itself": found, "again": found}
    assert 400 < found < 500


@pytest.mark.parametrize(("sd", "slowdown", "least"), [(0.01, 0.05, 0.995), (0.02, 0.05, 0.955), (0.02, 0.10, 0.998)])
def test_slowdowns_are_found(sd: float, slowdown: float, least: float) -> None:
    from benchmarks import gate_simulation as simulation
    from benchmarks.gate_worlds import World

    tally = simulation.run(World(sd), 2000, slowdown=slowdown, points=1)
    assert tally.share("regression") >= least
    assert tally.share("ok") < 0.005


def test_drift_and_memory_of_the_machine_leave_a_duet_alone() -> None:
    from benchmarks import gate_simulation as simulation
    from benchmarks.gate_worlds import World

    drifting = [World(sd, memory="sessions", drift=True) for sd in (0.01, 0.02)]
    for world in (*drifting, World(0.01, memory="pairs", drift=True)):
        tally = simulation.run(world, 60)
        assert (tally.failed, tally.kinds["regression"]) == (0, 0)
        assert tally.share("ok") > 0.998
    base, candidate = next(simulation.batches(World(0.0, drift=True, turns=False), 1))
    assert (candidate - base)[..., :6].mean() == pytest.approx(math.log(1.03) / 2)  # what no turns let in


@pytest.mark.parametrize("kept", range(3))
def test_the_simulated_order_is_that_of_a_gate_with_one_point_left(kept: int) -> None:
    from benchmarks.gate_worlds import order_of

    asked = {"impl": "vanilla", "seq": "1024,2048,4096", "device": "cpu", "heads": "1", "head_dim": "8"}
    plan = make_plan(resolve(asked))
    plan = replace(plan, points=tuple(replace(point, refused="not measured here") for point in plan.points))
    keys = [point.key for point in plan.points]
    flips: list[bool] = []
    played: list[tuple[int, int, int]] = []  # side, point, pair

    def judged() -> Any:
        wants = [(18 if place == kept else 6) - len(flips) for place in range(3)]
        return SimpleNamespace(points=[SimpleNamespace(key=key, wants=n) for key, n in zip(keys, wants, strict=True)])

    def opened(flipped: bool) -> Any:
        flips.append(flipped)
        return nullcontext()

    def started(number: int, point: PlannedPoint, _place: int, _of: int) -> None:
        played.extend((side, keys.index(point.key), number) for side in ((1, 0) if flips[number] else (0, 1)))

    file: Any = SimpleNamespace(run=SimpleNamespace(points=[]), append=lambda *_: None)
    measure_duet(plan, (file, file), judged, Seams(opened, lambda _: 1 << 40, lambda: 0.0, started, lambda _: None))
    order = order_of(3)
    assert [int(order[session]) for session in played] == list(range(2 * (3 * 6 + 12)))


@pytest.mark.parametrize("sd", [0.005, 0.02, 0.05])
def test_the_smallest_detectable_slowdown_is_found_nine_times_of_ten(sd: float) -> None:
    wave = [sd * math.sqrt(5 / 6) * sign for sign in (1, -1) * 3]  # its standard deviation is sd
    effect = math.log1p(smallest_detectable(wave, TAU))
    draw = random.Random(5)
    found = sum(judge_pairs([draw.gauss(effect, sd) for _ in range(18)], TAU).kind == "regression" for _ in range(1200))
    assert 0.87 <= found / 1200 <= 0.95
