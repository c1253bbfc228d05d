"""Who else took the processors: by time between two snapshots, but for those that waited for us."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from fake_machine import write_process

from longbench_cli.measure.telemetry.processes import busiest, is_fellow, name_of, snapshot
from longbench_cli.measure.types import OtherProcess

WORKER = ("python", "-m", "longbench_cli.measure.worker", "--result-fd", "5")


def test_the_busiest_are_named_most_first_and_at_most_five(tmp_path: Path) -> None:
    for pid in range(10, 18):
        write_process(tmp_path, pid, f"p{pid}", seconds=pid)
    write_process(tmp_path, os.getpid(), "python", seconds=1)
    before = snapshot(tmp_path)
    for pid in range(10, 18):
        write_process(tmp_path, pid, f"p{pid}", seconds=pid + (pid - 10))
    write_process(tmp_path, os.getpid(), "python", seconds=100)
    found = busiest(before, snapshot(tmp_path), 10.0, [0, 1], tmp_path)
    assert [process.pid for process in found] == [17, 16, 15, 14, 13]
    assert found[0] == OtherProcess(pid=17, name="p17", cpu_share=7 / 20)


def test_a_process_that_came_counts_whole_and_a_reused_number_is_another(tmp_path: Path) -> None:
    write_process(tmp_path, 20, "old", seconds=50, started=1)
    before = snapshot(tmp_path)
    write_process(tmp_path, 20, "new) (one", seconds=2, started=9)
    write_process(tmp_path, 21, "came", seconds=3)
    found = busiest(before, snapshot(tmp_path), 10.0, [0], tmp_path)
    assert [(process.name, process.cpu_share) for process in found] == [("came", 0.3), ("new) (one", 0.2)]


def test_who_rests_or_runs_elsewhere_is_not_named(tmp_path: Path) -> None:
    for pid, name in ((30, "rests"), (31, "elsewhere"), (32, "here")):
        write_process(tmp_path, pid, name, allowed="0-3,8")
    before = snapshot(tmp_path)
    write_process(tmp_path, 31, "elsewhere", seconds=9, allowed="0-3,8")
    write_process(tmp_path, 32, "here", seconds=5, allowed="4,5")
    assert [process.name for process in busiest(before, snapshot(tmp_path), 10.0, [4, 5], tmp_path)] == ["here"]


def test_a_worker_of_the_same_sweep_waits_for_its_turn_and_is_no_other(tmp_path: Path) -> None:
    """Each started by a guard of its own, of sweep 500; a worker of another sweep (600) is an other."""
    sweeps = {40: 500, 41: 600, os.getpid(): 500}
    for pid, sweep in sweeps.items():
        guard = pid + 1_000_000
        write_process(tmp_path, sweep, "longbench", parent=400 + sweep)
        write_process(tmp_path, guard, "guard", parent=sweep)
        write_process(tmp_path, pid, "python", parent=guard, command=WORKER)
    write_process(tmp_path, 42, "child", parent=500, command=("make",))
    assert {pid: is_fellow(tmp_path, pid) for pid in (40, 41, 42)} == {40: True, 41: False, 42: False}


def test_a_process_that_is_gone_has_no_name(tmp_path: Path) -> None:
    assert name_of(tmp_path, 50) is None
    assert not is_fellow(tmp_path, 50)
    write_process(tmp_path, 50, "here")
    assert name_of(tmp_path, 50) == "here"
    (tmp_path / "proc/50/stat").write_text("50 (torn")
    assert name_of(tmp_path, 50) is None


def test_a_real_process_that_works_is_seen() -> None:
    """It says when it has used 50 ms of processor time."""
    code = "import time\nwhile time.process_time() < 0.05: pass\nprint(flush=True)\ninput()"
    before = snapshot(Path("/"))
    with subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        after = snapshot(Path("/"))
        process.communicate(b"\n")
    assert process.pid not in before
    assert after[process.pid].seconds >= 0.04
    assert after[process.pid].parent == os.getpid()
