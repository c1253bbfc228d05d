"""The A/A benchmark's arithmetic, on sessions whose spread is known."""

from __future__ import annotations

import random
import sys
from pathlib import Path

import pytest


@pytest.fixture(autouse=True)
def _benchmarks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(Path(__file__).parents[1])


def test_rows_say_spread_alone_in_turns_and_how_often_the_interval_held(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    from benchmarks import aa

    draw = random.Random(3)

    def fake(impls: list[str], sessions: int, _folder: Path) -> dict[str, list[float]]:
        """Sessions that differ by 9%, and the sides of a pair by 1%."""
        common = [1e6 * draw.lognormvariate(0, 0.09) for _ in range(sessions)]
        return {impl: [value * draw.lognormvariate(0, 0.007) for value in common] for impl in impls}

    monkeypatch.setattr(aa, "medians_of", fake)
    alone, turns, held = aa.rows(100, 100, tmp_path)
    assert float(alone.measured.rstrip("%")) == pytest.approx(9, rel=0.2)
    assert float(turns.measured.rstrip("%")) == pytest.approx(1, rel=0.2)
    assert (alone.met, turns.met, held.met) == (None, True, True)
    assert "of 66 overlapping trials" in held.detail


def test_an_interval_within_a_session_would_not_hold() -> None:
    from benchmarks.aa import held

    rising = [1e6 * 1.05**number for number in range(40)]
    assert held(rising) == [False] * 6


def test_the_twins_are_measured_by_the_command_itself(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    from sample_runs import make_case, make_run, measured, write_run

    from benchmarks import aa

    commands: list[list[str]] = []

    def run(command: list[str], check: bool) -> None:
        commands.append(command)
        points = [
            measured(make_case(impl, 2048, backend="none"), 1e6 + number, noise=0, session=number)
            for number in (1, 0)
            for impl in (aa.ONE, aa.OTHER)
        ]
        write_run(make_run(points, Path(command[-1]).name), tmp_path)

    monkeypatch.setattr(aa.subprocess, "run", run)
    assert aa.medians_of([aa.ONE, aa.OTHER], 2, tmp_path) == {impl: [1e6, 1e6 + 1] for impl in (aa.ONE, aa.OTHER)}
    assert commands[0][:4] == [sys.executable, "-m", "longbench_cli", "run"]
    assert "benchmarks.twins:one,benchmarks.twins:other" in commands[0]
    with pytest.raises(RuntimeError, match="not every one of 3 sessions"):
        aa.medians_of([aa.ONE, aa.OTHER], 3, tmp_path)
