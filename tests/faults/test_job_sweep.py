"""A sweep on two nodes, real from end to end but for Slurm and the distance: submitted, run by torchrun, recorded.

A rank of one of its points is killed, on the node that does not lead.
"""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from dataclasses import dataclass

import pytest
from fake_slurm import install
from fault_table import FaultTable
from orphans import Process, left_behind, new_marker
from processes import wait_until
from torchrun_nodes import environment_of_nodes, free_port

from longbench_cli.record.journal import load_run
from longbench_cli.record.loading import Run

SWEEP = (
    "--impl", "dilated,faulty_ranks:IS_KILLED", "--gpus", "1,2", "--seq", "96", "--heads", "2", "--head-dim", "16",
    "--dtype", "fp32", "--device", "cpu", "--threads", "2", "--segments", "16,96", "--dilations", "1,2",
    "--max-time", "0.05", "--min-iterations", "20",
)  # fmt: skip


@dataclass(frozen=True)
class Sweep:
    run: Run
    submitted: str
    code: int
    printed: list[str]
    left: list[Process]


@pytest.fixture(scope="module")
def sweep(tmp_path_factory: pytest.TempPathFactory) -> Sweep:
    folder, marker = tmp_path_factory.mktemp("nodes"), new_marker()
    port = free_port()
    while not 20_000 <= port < 30_000:  # where longbench has them; the job's number makes it this one
        port = 20_000 + port % 10_000
    programs = folder / "bin"
    ended = install(programs, port - 20_000)
    environment = environment_of_nodes(marker)
    environment["PATH"] = f"{programs}:{os.environ['PATH']}"
    done = subprocess.run(
        [sys.executable, "-m", "longbench_cli", "run", *SWEEP, "-o", "run.jsonl", "--launcher", "slurm",
         "--nodes", "2", "--slurm", "time=10"],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        timeout=300,
        check=True,
    )  # fmt: skip
    assert wait_until(lambda: ended.exists() and ended.read_text() != "", seconds=500), done.stdout
    left = left_behind(marker)
    printed = [(programs / f"node-{node}").read_text() for node in range(2)]
    assert (folder / "run.jsonl").exists(), printed
    return Sweep(load_run(folder / "run.jsonl"), done.stdout, int(ended.read_text()), printed, left)


def test_every_point_is_recorded_by_the_one_that_leads(sweep: Sweep, table: FaultTable) -> None:
    found = {(point.case.impl, point.case.world_size): point for point in sweep.run.points}
    killed = found.pop(("faulty_ranks:IS_KILLED", 2))
    lost = sum(point.status != "ok" for point in found.values())
    table.count("a rank on another node is killed", lost=lost, orphans=len(sweep.left))
    assert {point.status for point in found.values()} == {"ok"}, [point.reason for point in found.values()]
    assert killed.status == "crashed"
    assert killed.reason == f"rank 1 of 2 on {socket.gethostname()}: killed by SIGKILL: rank 1 was here"
    assert sorted(point.key for point in sweep.run.points) == sorted(sweep.run.header.plan)
    assert [rank.rank for rank in found["dilated", 2].ranks or []] == [0, 1]
    assert not sweep.left


def test_the_leader_alone_prints_and_its_code_is_the_jobs(sweep: Sweep) -> None:
    assert "is submitted; it prints to" in sweep.submitted
    assert sweep.code != 0  # a point crashed
    assert sum(f"[{len(sweep.run.header.plan)}/" in text for text in sweep.printed) == 1
    assert sum("run file:" in text for text in sweep.printed) == 1
