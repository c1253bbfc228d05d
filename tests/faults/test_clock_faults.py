"""A wall clock that steps back whenever it is looked at: times and their order are of the clock that cannot."""

from __future__ import annotations

import os
import subprocess
import sys
from datetime import datetime
from pathlib import Path

from fault_table import FaultTable
from orphans import left_behind, new_marker

from longbench_cli.record.journal import load_run
from longbench_cli.record.schema import MeasuredPoint

ROOT = Path(__file__).resolve().parents[2]

# Python runs it when it starts, here and in every worker.
SITECUSTOMIZE = """
import datetime, itertools, os, time

_steps = itertools.count()

def _now():
    return 1.7e9 - 3600.0 * next(_steps)

class _Stepping(datetime.datetime):
    @classmethod
    def now(cls, tz=None):
        return cls.fromtimestamp(_now(), tz)

    @classmethod
    def utcnow(cls):
        return cls.fromtimestamp(_now(), datetime.timezone.utc).replace(tzinfo=None)

time.time, time.time_ns = _now, lambda: int(_now() * 1e9)
datetime.datetime = _Stepping
with open(os.environ["CLOCK_LOG"], "a") as log:
    log.write(f"{os.getpid()}\\n")
"""
SWEEP = (
    "run", "--impl", "vanilla", "--seq", "64,96", "--heads", "2", "--head-dim", "16", "--dtype", "fp32", "--device",
    "cpu", "--threads", "1", "--max-time", "0.2", "--timeout", "1000",
)  # fmt: skip


def test_a_clock_that_steps_back_changes_nothing(tmp_path: Path, table: FaultTable) -> None:
    (tmp_path / "clock").mkdir()
    (tmp_path / "clock" / "sitecustomize.py").write_text(SITECUSTOMIZE, encoding="utf-8")
    log, marker = tmp_path / "log", new_marker()
    done = subprocess.run(
        [sys.executable, "-m", "longbench_cli", *SWEEP],
        cwd=tmp_path,
        env={**os.environ, **marker, "CLOCK_LOG": str(log), "PYTHONPATH": f"{tmp_path / 'clock'}:{ROOT}"},
        capture_output=True,
        text=True,
        check=False,
    )
    left = left_behind(marker)
    assert done.returncode == 0, done.stderr
    (path,) = (tmp_path / "longbench-runs").glob("*.jsonl")
    run = load_run(path)
    table.count("clock stepping backwards", lost=2 - len(run.points), orphans=len(left))
    assert len(set(log.read_text(encoding="utf-8").split())) >= 3, "the clock of some process was left alone"
    assert [point.key for point in run.points] == run.header.plan
    assert datetime.fromisoformat(run.header.created).year == 2023
    for point in run.points:
        assert isinstance(point, MeasuredPoint)
        latency = point.latency
        assert 0 < min(latency.iterations_ns) <= latency.median_ns <= max(latency.iterations_ns) < 10**12
    assert not left
