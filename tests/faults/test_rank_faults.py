"""What one of several ranks does costs its point alone: status, whose last words, and no process left.

One real sweep on gloo: the faulty points and a sound one take turns, so that all are alive when one falls.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import pytest
from fault_table import FaultTable
from orphans import Process, left_behind, new_marker

from longbench_cli.record.journal import load_run
from longbench_cli.record.loading import Run

ROOT = Path(__file__).resolve().parents[2]
SWEEP = (
    "--impl", "faulty_ranks:IS_KILLED,faulty_ranks:SLEEPS,faulty_ranks:HAS_ANOTHER_PLAN,dilated", "--gpus", "2",
    "--seq", "96", "--heads", "2", "--head-dim", "16", "--dtype", "fp32", "--device", "cpu", "--threads", "2",
    "--segments", "16,96", "--dilations", "1,2", "--max-time", "0.05", "--min-iterations", "20",
)  # fmt: skip


@dataclass(frozen=True)
class Sweep:
    run: Run
    code: int
    stderr: str
    left: list[Process]


@pytest.fixture(scope="module")
def sweep(tmp_path_factory: pytest.TempPathFactory) -> Sweep:
    folder, marker = tmp_path_factory.mktemp("ranks"), new_marker()
    begin = time.monotonic()
    subprocess.run([sys.executable, "-c", "import longbench_cli.measure.ranks.process"], cwd=ROOT, check=True)
    patience = round(8 + 5 * (time.monotonic() - begin))  # one that is sound and ready is many times faster
    path = (ROOT, ROOT / "tests" / "fixtures", ROOT / "tests" / "support")
    done = subprocess.run(
        [sys.executable, "-m", "longbench_cli", "run", *SWEEP, "--timeout", str(patience), "-o", "run.jsonl"],
        cwd=folder,
        env={**os.environ, **marker, "PYTHONPATH": os.pathsep.join(map(str, path))},
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    left = left_behind(marker)
    assert (folder / "run.jsonl").exists(), done.stderr
    return Sweep(load_run(folder / "run.jsonl"), done.returncode, done.stderr, left)


@pytest.mark.parametrize(
    ("name", "status", "words"),
    [
        ("faulty_ranks:IS_KILLED", "crashed", ["rank 1 of 2: killed by SIGKILL: rank 1 was here"]),
        ("faulty_ranks:SLEEPS", "timeout", ["no result after", "rank 1 of 2 is behind: in ", ": rank 1 sleeps"]),
        (
            "faulty_ranks:HAS_ANOTHER_PLAN",
            "timeout",
            ["no result after", "all 2 ranks are in ", " after 1 collectives"],
        ),
        ("dilated", "ok", []),
    ],
)
def test_a_rank_costs_its_point_alone(
    sweep: Sweep, table: FaultTable, name: str, status: str, words: list[str]
) -> None:
    (point,) = (point for point in sweep.run.points if point.case.impl == name)
    if status != "ok":
        table.count(f"of 2 ranks one {name.partition(':')[2].lower().replace('_', ' ')}", orphans=len(sweep.left))
    assert point.status == status, point.reason
    for word in words:
        assert point.reason is not None
        assert word in point.reason
        assert len(point.reason.splitlines()) == 1


def test_every_point_is_recorded_once_and_nothing_stays_behind(sweep: Sweep) -> None:
    assert sorted(point.key for point in sweep.run.points) == sorted(sweep.run.header.plan)
    assert not sweep.left
    assert sweep.code == 1
    assert "Traceback" not in sweep.stderr
