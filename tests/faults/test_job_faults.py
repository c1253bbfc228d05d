"""Two agents of torchrun as two nodes: what is wrong with one is one line, and nothing measured is lost."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path

import psutil
from fault_table import FaultTable
from orphans import left_behind, marked, new_marker
from processes import wait_until
from torchrun_nodes import Nodes

from longbench_cli.record.journal import load_run

SWEEP = (
    "run", "--impl", "dilated", "--gpus", "2", "--seq", "96", "--heads", "2", "--head-dim", "16", "--dtype", "fp32",
    "--device", "cpu", "--threads", "1", "-o", "run.jsonl",
)  # fmt: skip
MAIN = "from longbench_cli.app import main; main()"

OTHER_VERSION = f"""
import os, longbench_cli
if os.environ["RANK"] == "1":
    longbench_cli.__version__ = "0.0.1"
{MAIN}
"""

IMPATIENT = f"""
import sys
from longbench_cli.execute import heart, seat
heart.BEAT_EVERY_S, heart.LOST_AFTER_S = 0.2, 4.0
seat.ONE_RANK = (sys.executable, "-c", "import time; print('light rank', flush=True); time.sleep(36000)")
{MAIN}
"""
"""Its ranks import nothing, and its supervisors give each other up soon."""


def test_other_versions_on_another_node_are_one_line_and_nothing_is_measured(tmp_path: Path, table: FaultTable) -> None:
    marker = new_marker()
    nodes = Nodes(tmp_path, [("-c", OTHER_VERSION, *SWEEP)] * 2, marker).end()
    left = left_behind(marker)
    table.count("other versions on another node", orphans=len(left))
    printed = "".join(node.printed for node in nodes)
    lines = [line for line in printed.splitlines() if line.startswith("longbench: ")]
    assert len(lines) == 1, printed
    assert "longbench 0.0.1 there and" in lines[0] or "and 0.0.1 here" in lines[0]
    assert "rank 1 on" in lines[0]
    assert "rank 0 on" in lines[0]
    assert printed.count("exitcode  : 2") == 2, printed  # as torchrun tells of its processes
    assert all(node.code for node in nodes)
    assert not (tmp_path / "run.jsonl").exists()
    assert not left


def test_a_node_that_is_lost_ends_the_sweep_and_what_was_recorded_stays(tmp_path: Path, table: FaultTable) -> None:
    """Its supervisor and its agent are killed at once, as when a machine loses power, while a point runs."""
    marker = new_marker()
    job = Nodes(tmp_path, [("-c", IMPATIENT, *SWEEP)] * 2, marker)
    log = tmp_path / "run.jsonl"

    def supervisors() -> dict[int, tuple[int, int]]:
        """By rank, each with its agent."""
        found = {}
        for process in marked(marker):
            try:
                seen = psutil.Process(process.pid)
                rank, parent = seen.environ().get("RANK"), seen.ppid()
            except psutil.Error:
                continue
            if rank is not None and parent in {agent.pid for agent in job.agents}:
                found[int(rank)] = (process.pid, parent)
        return found

    def ranks_run() -> bool:
        commands = [process.command for process in marked(marker)]
        return sum("--result-fd" in command and "guard.py" not in command for command in commands) == 2

    assert wait_until(ranks_run, seconds=300, every=0.1)
    for pid in supervisors()[1][::-1]:
        os.kill(pid, signal.SIGKILL)
    nodes = job.end()
    left = left_behind(marker)
    run = load_run(log)
    table.count("a node of a job is lost", orphans=len(left))
    printed = "".join(node.printed for node in nodes)
    assert "longbench: rank 1 on " in printed, printed
    assert "is gone: no sign of it for 4 s" in printed
    assert "interrupted with 0 of 1 points recorded; go on with: longbench run --resume run.jsonl" in printed
    assert not run.points  # that which ran is for a resume
    assert json.loads(log.read_text().splitlines()[0])["plan"]
    assert not left
