"""No process of a worker outlives it or the sweep, whatever either of them does."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import psutil
import pytest
from processes import DAEMON, SEND, is_gone, marked, wait_until

from longbench_cli.execute import isolate
from longbench_cli.execute.isolate import run_isolated
from longbench_cli.execute.outcome import Outcome, Progress

LEAVE_BEHIND = (
    SEND
    + DAEMON
    + """
threading.Thread(target=time.sleep, args=(3600,), daemon=True).start()
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(3600)"])
send(type="progress", done=daemon(), total=child.pid)
"""
)
HANG = "time.sleep(3600)"


def run(body: str, on_progress: Callable[[Progress], None] = lambda _: None, timeout_s: float = 600.0) -> Outcome:
    return run_isolated({}, timeout_s=timeout_s, on_progress=on_progress, command=(sys.executable, "-c", body))


@pytest.mark.parametrize(
    ("end", "status", "word"),
    [
        ("ok()", "ok", ""),
        ("os._exit(3)", "crashed", "code 3"),
        ("raise ValueError('no')", "crashed", "ValueError: no"),
        ("ctypes.string_at(0)", "crashed", "SIGSEGV"),
        ("os.kill(os.getpid(), signal.SIGKILL)", "crashed", "SIGKILL"),
        ("os.killpg(0, signal.SIGKILL)", "crashed", "SIGKILL"),
        ("os.kill(os.getppid(), signal.SIGTERM); os.abort()", "crashed", "SIGABRT"),
        (HANG, "timeout", "no result after 600 s"),
    ],
)
def test_a_worker_leaves_nobody_behind_however_it_ends(
    end: str, status: str, word: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    waited = [0.0]
    monkeypatch.setattr(isolate, "time", SimpleNamespace(monotonic=lambda: waited[0]))
    left: list[int] = []

    def hours_pass(progress: Progress) -> None:
        left.extend([progress.done, progress.total or 0])
        waited[0] += 3600.0 if end == HANG else 0.0

    outcome = run(LEAVE_BEHIND + end, hours_pass)
    assert outcome.status == status
    assert word in str(outcome.reason)
    assert len(left) == 2
    assert not any(map(psutil.pid_exists, left))


def test_a_chain_of_sessions_is_followed_to_its_end(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each process starts the next in a session of its own; all of them live."""
    monkeypatch.setattr(isolate, "EXIT_GRACE_S", 0.2)
    pids: list[int] = []
    outcome = run(
        SEND + "for _ in range(5):\n    if os.fork():\n        break\n    os.setsid()\n"
        "    send(type='progress', done=os.getpid())\nelse:\n    ok()\ntime.sleep(3600)",
        lambda progress: pids.append(progress.done),
    )
    assert outcome.status == "ok"
    assert len(pids) == 5
    assert not any(map(psutil.pid_exists, pids))


PARENT = """
import sys
from longbench_cli.execute.isolate import run_isolated
run_isolated({}, timeout_s=3600, on_progress=print, command=(sys.executable, "-c", sys.argv[1], sys.argv[2]))
"""


@pytest.mark.parametrize("moment", range(8))
def test_a_parent_killed_at_any_moment_leaves_nobody_behind(moment: int, tmp_path: Path) -> None:
    """Every process has the mark in its command line: the parent, the guard, the worker and what it started."""
    mark = f"{tmp_path.name}-{os.getpid()}"
    worker = SEND + DAEMON + "daemon(); daemon(); time.sleep(3600)"
    parent = subprocess.Popen([sys.executable, "-c", PARENT, worker, mark], stdout=subprocess.DEVNULL)
    assert wait_until(lambda: len(marked(mark)) >= min(1 + moment, 5))
    if moment > 4:  # somewhere in between
        with pytest.raises(subprocess.TimeoutExpired):
            parent.wait(timeout=random.uniform(0.0, 0.1))
    parent.send_signal(signal.SIGKILL)
    parent.wait()
    assert wait_until(lambda: not marked(mark))


def test_a_guard_that_is_killed_takes_its_worker_along_and_the_next_point_runs() -> None:
    pids: list[int] = []

    def kill_the_guard(progress: Progress) -> None:
        pids.extend([progress.done, progress.total or 0])
        os.kill(psutil.Process(progress.done).ppid(), signal.SIGKILL)

    outcome = run(
        SEND + "child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(3600)'])\n"
        "send(type='progress', done=os.getpid(), total=child.pid)\n" + HANG,
        kill_the_guard,
    )
    assert outcome.status == "crashed"
    assert "guard" in str(outcome.reason)
    assert len(pids) == 2
    assert wait_until(lambda: all(map(is_gone, pids)))
    assert run(SEND + "ok()").status == "ok"


def test_the_guard_sleeps_while_the_worker_works() -> None:
    outcome = run(
        SEND + "def switches(): return sum(int(line.split()[1]) for line in open(f'/proc/{os.getppid()}/status') "
        "if 'ctxt_switches' in line)\n"
        "while open(f'/proc/{os.getppid()}/stat').read().rpartition(')')[2].split()[0] != 'S': pass\n"
        "before = switches(); time.sleep(1.0); ok(woke=switches() - before)"
    )
    assert outcome.result is not None
    assert outcome.result["woke"] == 0
