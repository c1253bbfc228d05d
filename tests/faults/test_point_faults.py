"""What a point does to its process costs that point alone: right status, its last words kept, the next one unharmed.

Three real sweeps at once, most faults in one of them: each point pays for an import of torch.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import pytest
from fault_table import FaultTable
from memory_group import NoGroup, memory_group
from orphans import Process, left_behind, new_marker

from longbench_cli.record.journal import load_run
from longbench_cli.record.loading import RecordedPoint, Run

ROOT = Path(__file__).resolve().parents[2]
POINT = (
    "--seq", "96", "--heads", "2", "--head-dim", "16", "--dtype", "fp32", "--device", "cpu", "--threads", "1",
    "--max-time", "0.05", "--min-iterations", "2",
)  # fmt: skip
MEMORY = 64 << 20
TRACEBACK = "Traceback (most recent call last):"

# What one does to the next would show in what comes of that: most that end are followed by one that goes on.
ENDED = [
    "raises", "writes_to_descriptors", "raises_a_page", "prints_megabytes", "segfaults", "leaves_processes",
    "allocates_past_the_limit", "forks", "exits", "right", "prints_and_exits", "forks_and_both_go_on",
    "corrupts_its_heap", "is_killed_for_memory",
]  # fmt: skip
HUNG = ["hangs", "right", "hangs_in_c", "leaves_threads", "stops_itself"]
TOGETHER = ["right", "segfaults", "hangs"]


@dataclass(frozen=True)
class Sweep:
    """One `longbench run` and what it left behind.

    Attributes:
        left: processes that outlived it.
        notes: folder of what was alive when each point began (:mod:`faulty_attention`).
    """

    run: Run
    code: int
    stdout: str
    stderr: str
    left: list[Process]
    notes: Path

    def point(self, fault: str) -> RecordedPoint:
        (found,) = (point for point in self.run.points if point.case.impl in (fault, f"faulty_attention:{fault}"))
        return found

    def after(self, fault: str) -> RecordedPoint:
        """The point that followed."""
        return self.run.points[self.run.points.index(self.point(fault)) + 1]

    def orphans(self, fault: str) -> list[str]:
        """What was still alive of ``fault`` when the next point began, or after the last one."""
        note = self.notes / f"{self.after(fault).case.impl.removeprefix('faulty_attention:')}.json"
        if not note.exists():
            return [process.command for process in self.left]
        return list(json.loads(note.read_text(encoding="utf-8")))


class _Started:
    """A sweep under way."""

    def __init__(self, folder: Path, impls: list[str], *words: str, timeout_s: float, **environment: str) -> None:
        self._path, self._marker = folder / "run.jsonl", new_marker()
        self._notes = folder / "notes"
        self._notes.mkdir(parents=True)
        names = ",".join([*(f"faulty_attention:{name}" for name in impls), "vanilla"])
        path = (ROOT, ROOT / "tests" / "fixtures", ROOT / "tests" / "support")
        self._process = subprocess.Popen(
            [sys.executable, "-m", "longbench_cli", "run", "--impl", names, *POINT, *words, "--json",
             "--timeout", f"{timeout_s:g}", "-o", str(self._path)],
            cwd=folder,
            env={**os.environ, **environment, **self._marker, "OMP_NUM_THREADS": "1",
                 "FAULTY_ATTENTION_NOTES": str(self._notes), "PYTHONPATH": os.pathsep.join(map(str, path))},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )  # fmt: skip

    def end(self) -> Sweep:
        stdout, stderr = self._process.communicate(timeout=3000)
        left = left_behind(self._marker)
        assert self._path.exists(), stderr
        run = load_run(self._path)
        return Sweep(run, self._process.returncode, stdout, stderr, left, self._notes)

    def stop(self) -> None:
        self._process.kill()
        left_behind(self._marker, seconds=0)


@pytest.fixture(scope="module")
def patience() -> float:
    """Seconds after which a point of the sweeps below hangs indeed: many times what this machine takes to start one."""
    begin = time.monotonic()
    subprocess.run([sys.executable, "-c", "import longbench_cli.measure.worker"], cwd=ROOT, check=True)
    return round(6 + 2.5 * (time.monotonic() - begin))


@pytest.fixture(scope="module")
def sweeps(tmp_path_factory: pytest.TempPathFactory, patience: float) -> Iterator[dict[str, Sweep]]:
    folder = tmp_path_factory.mktemp("faults")
    environment = {}
    ended = list(ENDED)
    with ExitStack() as stack:
        try:
            environment["FAULTY_ATTENTION_GROUP"] = str(stack.enter_context(memory_group(MEMORY)))
        except NoGroup:
            ended.remove("is_killed_for_memory")
        sequential = ("--order", "sequential")
        started = {
            "ended": _Started(folder / "ended", ended, *sequential, timeout_s=50 * patience, **environment),
            "hung": _Started(folder / "hung", HUNG, *sequential, timeout_s=patience),
            "together": _Started(folder / "together", TOGETHER, "--order", "interleaved", timeout_s=patience),
        }
        for one in started.values():
            stack.callback(one.stop)
        yield {name: one.end() for name, one in started.items()}


def no_group() -> str | None:
    """Why the kernel cannot be made to kill for memory here; None if it can."""
    try:
        with memory_group(MEMORY):
            return None
    except NoGroup as refusal:
        return str(refusal)


@dataclass(frozen=True)
class Fault:
    """What is to come of a fault: its row in the table, the point's status, and words of its reason."""

    row: str
    status: str = "ok"
    words: tuple[str, ...] = ()


FAULTS = {
    "raises": Fault("raises", "crashed", ("code 1", "ZeroDivisionError: a bug of its own")),
    "raises_a_page": Fault(
        "raises a long message", "crashed", ("code 1", "RuntimeError: kernel launch failed: no such symbol")
    ),
    "is_killed_for_memory": Fault("killed by the kernel for memory", "oom", ("out-of-memory killer",)),
    "allocates_past_the_limit": Fault("allocates past the limit", "oom", ("memory", str(1 << 30))),
    "segfaults": Fault("segfaults", "crashed", ("SIGSEGV", "in string_at")),
    "exits": Fault("calls os._exit", "crashed", ("code 7",)),
    "prints_and_exits": Fault("prints megabytes and ends", "crashed", ("code 5", "line 199")),
    "corrupts_its_heap": Fault("corrupts its own heap", "crashed", ("SIGABRT", "in corrupts_its_heap")),
    "prints_megabytes": Fault("prints megabytes and goes on"),
    "writes_to_descriptors": Fault("writes to fd 1 and 2"),
    "leaves_processes": Fault("leaves children, a daemon too"),
    "leaves_threads": Fault("leaves threads that never end"),
    "forks": Fault("forks, the fork stays"),
    "forks_and_both_go_on": Fault("forks, both go on"),
    "hangs": Fault("hangs in Python", "timeout", ("no result after",)),
    "hangs_in_c": Fault("hangs in C, the GIL held", "timeout", ("no result after",)),
    "stops_itself": Fault("stopped by SIGSTOP", "timeout", ("no result after",)),
}
HARMLESS = Fault("none")


@pytest.mark.parametrize("name", FAULTS)
def test_a_point_costs_itself_alone(name: str, sweeps: dict[str, Sweep], table: FaultTable) -> None:
    """Its own status and reason, those of the point that follows, and no process of it in the next one's time."""
    if name == "is_killed_for_memory" and (why := no_group()):
        pytest.skip(why)
    fault, sweep = FAULTS[name], sweeps["ended" if name in ENDED else "hung"]
    point, follower, orphans = sweep.point(name), sweep.after(name), sweep.orphans(name)
    unharmed = FAULTS.get(follower.case.impl.partition(":")[2], HARMLESS).status
    table.count(fault.row, lost=int(follower.status != unharmed), orphans=len(orphans))
    assert point.status == fault.status, point.reason
    if fault.status != "ok":
        assert point.reason
        assert len(point.reason.splitlines()) == 1
        for word in fault.words:
            assert word in point.reason
    assert follower.status == unharmed, follower.reason
    assert not orphans


def test_the_last_50_lines_of_what_a_point_printed_are_kept(sweeps: dict[str, Sweep]) -> None:
    ended = sweeps["ended"]
    assert ended.point("prints_and_exits").stderr_tail == [f"line {number}" for number in range(150, 200)]
    for fault in ("raises", "raises_a_page"):
        tail = ended.point(fault).stderr_tail
        assert TRACEBACK in tail
        assert "raise " in "\n".join(tail)
    assert ended.point("raises_a_page").stderr_tail[-1] == "or set VERBOSE=1 for more"
    assert any("faulty_attention.py" in line for line in ended.point("segfaults").stderr_tail)


@pytest.mark.parametrize("which", ["ended", "hung", "together"])
def test_every_point_is_recorded_once_and_nothing_stays_behind(sweeps: dict[str, Sweep], which: str) -> None:
    sweep = sweeps[which]
    assert sorted(point.key for point in sweep.run.points) == sorted(sweep.run.header.plan)
    assert {point.status for point in sweep.run.points if point.case.impl in ("vanilla", "faulty_attention:right")} == {
        "ok"
    }
    assert not sweep.run.warnings
    assert not sweep.left
    assert sweep.code == 1
    assert TRACEBACK not in sweep.stderr


def test_what_points_print_is_not_what_longbench_prints(sweeps: dict[str, Sweep]) -> None:
    """Standard output is a run file still, and standard error has no more than the progress."""
    ended = sweeps["ended"]
    assert ended.stdout == ended.run.path.read_text(encoding="utf-8")
    assert len(ended.stderr) < 20_000
    assert "noise" not in ended.stderr


def test_a_fault_among_points_that_take_turns_costs_that_point_alone(
    sweeps: dict[str, Sweep], table: FaultTable
) -> None:
    sweep = sweeps["together"]
    statuses = {point.case.impl.removeprefix("faulty_attention:"): point.status for point in sweep.run.points}
    wanted = {"right": "ok", "segfaults": "crashed", "hangs": "timeout", "vanilla": "ok"}
    lost = sum(statuses.get(name) != "ok" for name in ("right", "vanilla"))
    table.count("segfaults and hangs among points taking turns", tried=2, lost=lost, orphans=len(sweep.left))
    assert statuses == wanted
    reasons = [sweep.point(name).reason or "" for name in ("segfaults", "hangs")]
    assert "SIGSEGV" in reasons[0]
    assert "no result after" in reasons[1]
    assert all(len(reason.splitlines()) == 1 for reason in reasons)
