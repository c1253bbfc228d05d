"""Pairs of a gate with a stand-in for the processes: which points are played again, and what is written when."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
from typing import Any, Self

import pytest
from compared import duet_of

from longbench_cli.analyse.comparison.paired import compare_paired
from longbench_cli.analyse.comparison.types import Comparison
from longbench_cli.commands.gate_session import LEAST_ITERATIONS, Seams, SideFile, measure_duet, settings_of_pair
from longbench_cli.execute.duet import Piece
from longbench_cli.execute.outcome import Outcome
from longbench_cli.record.journal import Journal, Run, load_run
from longbench_cli.record.schema import MeasuredPoint
from longbench_cli.sweep.options import resolve
from longbench_cli.sweep.plan import Plan, make_plan
from longbench_cli.sweep.settings import Settings

TEMPLATE = duet_of([0.0])[0].points[0]


def plan_of(*lengths: int) -> Plan:
    asked = {"impl": "vanilla", "seq": ",".join(map(str, lengths)), "device": "cpu", "heads": "1", "head_dim": "8"}
    return make_plan(resolve(asked))


def outcome(median_ns: float, backend: str = "sdpa-flash") -> Outcome:
    assert isinstance(TEMPLATE, MeasuredPoint)
    turns = [round(median_ns)] * 4
    latency = TEMPLATE.latency.model_dump() | {
        "iterations_ns": turns, "turns": [1] * 4, "median_ns": median_ns, "mean_ns": median_ns, "p95_ns": median_ns,
        "ci95_ns": (median_ns, median_ns),
    }  # fmt: skip
    record = TEMPLATE.model_dump()
    result = {name: record[name] for name in ("memory", "telemetry", "cost", "verification", "timing", "verdict")}
    return Outcome("ok", None, result | {"latency": latency, "backend": backend})


class Stage:
    """Stands in for the processes: says of each point what the test asks for, and remembers what it was asked."""

    def __init__(self, slower: dict[int, float], failing: dict[tuple[int, int], Outcome] | None = None) -> None:
        self.slower, self.failing = slower, failing or {}
        self.flips: list[bool] = []
        self.played: list[list[int]] = []
        self.requests: list[dict[str, Any]] = []
        self.picked = 0

    def open(self, flipped: bool) -> Any:
        self.flips.append(flipped)
        self.played.append([])
        return self

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def ask(self, side: int, request: dict[str, Any], _timeout_s: float) -> Outcome:
        assert (side, request["pick"]) == (0, True)
        self.picked += 1
        return Outcome("ok", None, {"backend": "sdpa-flash"})

    def play(self, piece: Piece) -> tuple[Outcome, Outcome]:
        self.requests += map(dict, piece.requests)
        length = piece.requests[0]["case"]["seq_len"]
        pair = len(self.played) - 1
        self.played[-1].append(length)
        drift = 1 + 0.001 * (-1) ** pair  # no two pairs are quite alike
        candidate = self.failing.get((length, pair), outcome(1e7 * drift * (1 + self.slower.get(length, 0.0))))
        return outcome(1e7), candidate


def played(stage: Stage, plan: Plan, folder: Path, slowdown: float = 0.0) -> tuple[Comparison, list[Run]]:
    headers = [run.header.model_copy(update={"plan": [p.key for p in plan.points]}) for run in duet_of([0.0])]
    paths = [folder / f"{name}.jsonl" for name in ("base", "candidate")]
    with ExitStack() as opened:
        files = []
        for path, header in zip(paths, headers, strict=True):
            journal, earlier = Journal.open(path, header, resume=True)
            files.append(SideFile(opened.enter_context(journal), earlier or Run(path, header)))
        base, candidate = files
        comparison = measure_duet(
            plan,
            (base, candidate),
            lambda: compare_paired(base.run, candidate.run, noise={}, allow=()),
            Seams(stage.open, lambda _device: 1 << 40, lambda: 0.0, lambda *_: None, lambda _: None),
            slowdown,
        )
    return comparison, [load_run(path) for path in paths]


def test_what_is_alike_takes_six_pairs_and_what_is_slower_is_confirmed_by_six_more(tmp_path: Path) -> None:
    stage, plan = Stage({2048: 0.10}), plan_of(1024, 2048)
    comparison, runs = played(stage, plan, tmp_path)
    assert {point.case.seq_len: point.kind for point in comparison.points} == {1024: "ok", 2048: "regression"}
    assert [sorted(points) for points in stage.played] == [[1024, 2048]] * 6 + [[2048]] * 6
    assert stage.played[0] == [1024, 2048]
    assert stage.played[1] == [2048, 1024]
    assert stage.flips == [False, True] * 6
    for run in runs:
        assert sorted(point.session for point in run.points) == sorted([*range(6), *range(12)])


def test_the_back_end_is_settled_once_by_the_base(tmp_path: Path) -> None:
    stage = Stage({})
    played(stage, plan_of(1024, 2048), tmp_path)
    assert stage.picked == 2
    assert {request["case"]["backend"] for request in stage.requests} == {"sdpa-flash"}


def test_a_slowdown_is_put_into_the_candidate_alone(tmp_path: Path) -> None:
    stage = Stage({})
    played(stage, plan_of(1024), tmp_path, slowdown=0.05)
    assert [request["slowdown"] for request in stage.requests] == [0.0, 0.05] * 6
    assert all(request["full_time"] for request in stage.requests)


def test_pairs_that_are_in_the_files_are_not_measured_again(tmp_path: Path) -> None:
    plan = plan_of(1024)

    class Interrupted(Stage):
        def play(self, piece: Piece) -> tuple[Outcome, Outcome]:
            if len(self.played) == 4:
                raise KeyboardInterrupt
            return super().play(piece)

    with pytest.raises(KeyboardInterrupt):
        played(Interrupted({}), plan, tmp_path)
    stage = Stage({})
    comparison, (base, _) = played(stage, plan, tmp_path)
    assert len(stage.played) == 3
    assert stage.flips[0] is True  # pair number 3 begins as it would have
    assert [point.session for point in base.points] == list(range(6))
    assert comparison.points[0].kind == "ok"


def test_a_candidate_that_fails_is_asked_again_by_a_fresh_pair_before_it_is_a_regression(tmp_path: Path) -> None:
    oom = Outcome("oom", "no room")
    comparison, _ = played(Stage({}, {(1024, 0): oom, (1024, 1): oom}), plan_of(1024), tmp_path)
    assert comparison.points[0].kind == "regression"
    assert "oom" in comparison.points[0].reason
    assert len(load_run(tmp_path / "base.jsonl").points) == 2


def test_the_first_pairs_together_take_the_time_that_was_asked_for() -> None:
    settings = settings_of_pair(Settings(max_time=6.0, min_iterations=60))
    assert settings.max_time == pytest.approx(1.0)
    assert settings.min_iterations == 10
    assert settings_of_pair(Settings(min_iterations=1)).min_iterations == LEAST_ITERATIONS


def test_sides_that_run_out_of_memory_together_are_tried_one_after_the_other(tmp_path: Path) -> None:
    class Cramped(Stage):
        def play(self, piece: Piece) -> tuple[Outcome, Outcome]:
            outcomes = super().play(piece)
            return (outcomes[0], Outcome("oom", "no room for two")) if piece.together else outcomes

    stage = Cramped({})
    comparison, (base, candidate) = played(stage, plan_of(1024), tmp_path)
    (point,) = comparison.points
    assert point.kind == "ok"
    assert any("took no turns" in step for step in point.steps)
    for run in (base, candidate):  # turns of sides that were measured alone had no neighbours
        assert [one.latency.turns for one in run.points if isinstance(one, MeasuredPoint)] == [None] * 6
