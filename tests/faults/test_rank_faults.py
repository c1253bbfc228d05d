"""What one of several ranks does costs its point alone: status, whose last words, and no process left.

Two real sweeps on gloo at once: their ranks never meet, and the patience that both of them lose runs out but once. In
one of them the faulty points and a sound one take turns, so that all are alive when one falls; its main process is
killed while ranks run, and it is resumed.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest
from fault_table import FaultTable
from orphans import Process, left_behind, marked, new_marker
from processes import wait_until

from longbench_cli.record.journal import load_run
from longbench_cli.record.loading import RecordedPoint, Run

ROOT = Path(__file__).resolve().parents[2]
IN_TURNS = "sparse,faulty_ranks:IS_KILLED,faulty_ranks:SLEEPS,dilated"
"""The first is refused, and recorded before any process is started: what a killed main process leaves is kept."""

ALONE = "faulty_ranks:HAS_ANOTHER_PLAN"
SHAPE = (
    "--gpus", "2", "--seq", "96", "--heads", "2", "--head-dim", "16", "--dtype", "fp32", "--device", "cpu",
    "--threads", "2", "--segments", "16,96", "--dilations", "1,2", "--max-time", "0.05", "--min-iterations", "20",
)  # fmt: skip
RANK = "longbench_cli.measure.ranks.process"


@dataclass(frozen=True)
class Sweeps:
    """What became of them.

    Attributes:
        runs: the one in turns, and the other.
        kept: the run file, as the main process that was killed left it.
        orphans: what outlived that main process.
        left: what outlived the others.
    """

    runs: tuple[Run, Run]
    kept: bytes
    codes: tuple[int, int]
    printed: str
    orphans: list[Process]
    left: list[Process]

    def point(self, impl: str) -> RecordedPoint:
        (found,) = (point for run in self.runs for point in run.points if point.case.impl == impl)
        return found


@pytest.fixture(scope="module")
def sweeps(tmp_path_factory: pytest.TempPathFactory) -> Sweeps:
    folder, marker, killed_marker = tmp_path_factory.mktemp("ranks"), new_marker(), new_marker()
    path = os.pathsep.join(str(part) for part in (ROOT, ROOT / "tests" / "fixtures", ROOT / "tests" / "support"))
    begin = time.monotonic()
    subprocess.run([sys.executable, "-c", f"import {RANK}"], cwd=ROOT, check=True)
    patience = round(8 + 6 * (time.monotonic() - begin))  # one that is sound and ready is many times faster
    words = (*SHAPE, "--timeout", str(patience))

    def start(impl: str, mark: Mapping[str, str], *where: str) -> subprocess.Popen[bytes]:
        with (folder / "stderr").open("ab") as stderr:
            return subprocess.Popen(
                [sys.executable, "-m", "longbench_cli", "run", "--impl", impl, *words, *where],
                cwd=folder,
                env={**os.environ, **mark, "PYTHONPATH": path},
                stdout=subprocess.DEVNULL,
                stderr=stderr,
            )

    def ranks_run() -> bool:
        return sum(RANK in process.command for process in marked(killed_marker)) == 2

    killed = start(IN_TURNS, killed_marker, "-o", "run.jsonl")
    ranks_ran = wait_until(lambda: ranks_run() or killed.poll() is not None, seconds=300, every=0.1)
    killed.kill()
    assert ranks_ran
    assert killed.wait() == -signal.SIGKILL, (folder / "stderr").read_text()
    kept = (folder / "run.jsonl").read_bytes()
    orphans = left_behind(killed_marker)
    both = start(ALONE, marker, "-o", "other.jsonl"), start(IN_TURNS, marker, "--resume", "run.jsonl")
    other, resumed = (main.wait(600) for main in both)
    left = left_behind(marker)
    runs = load_run(folder / "run.jsonl"), load_run(folder / "other.jsonl")
    return Sweeps(runs, kept, (resumed, other), (folder / "stderr").read_text(), orphans, left)


@pytest.mark.parametrize(
    ("name", "status", "words"),
    [
        ("faulty_ranks:IS_KILLED", "crashed", ["rank 1 of 2: killed by SIGKILL: rank 1 was here"]),
        ("faulty_ranks:SLEEPS", "timeout", ["no result after", "rank 1 of 2 is behind: in ", ": rank 1 sleeps"]),
        (ALONE, "timeout", ["no result after", "the ranks disagree at collective 1: rank 1 of 2 is in all_reduce, "]),
        ("sparse", "unsupported", ["sequence parallelism is not defined"]),
        ("dilated", "ok", []),
    ],
)
def test_a_rank_costs_its_point_alone(
    sweeps: Sweeps, table: FaultTable, name: str, status: str, words: list[str]
) -> None:
    point = sweeps.point(name)
    if status in ("crashed", "timeout"):
        table.count(f"of 2 ranks one {name.partition(':')[2].lower().replace('_', ' ')}", orphans=len(sweeps.left))
    assert point.status == status, point.reason
    for word in words:
        assert point.reason is not None
        assert word in point.reason
        assert len(point.reason.splitlines()) == 1


def test_every_point_is_recorded_once_and_nothing_stays_behind(sweeps: Sweeps) -> None:
    for run in sweeps.runs:
        assert sorted(point.key for point in run.points) == sorted(run.header.plan)
    assert not sweeps.left
    assert sweeps.codes == (1, 1)
    assert "Traceback" not in sweeps.printed


def test_a_main_process_killed_while_ranks_run_leaves_none_and_loses_nothing(sweeps: Sweeps, table: FaultTable) -> None:
    file = sweeps.runs[0].path.read_bytes()
    recorded = sweeps.kept.count(b"\n") - 1  # the first line is the run's
    table.count(
        "SIGKILL of the main process while ranks run",
        lost=0 if file.startswith(sweeps.kept) else recorded,
        orphans=len(sweeps.orphans),
    )
    assert recorded == 1
    assert file.startswith(sweeps.kept)
    assert not sweeps.orphans
