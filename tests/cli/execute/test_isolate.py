"""Whatever a worker does, one outcome comes back, and none of its processes stays behind."""

from __future__ import annotations

import errno
import json
import resource
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest
from processes import SEND, is_gone, wait_until

from longbench_cli.execute import isolate
from longbench_cli.execute.isolate import run_isolated
from longbench_cli.execute.outcome import Outcome, Progress


def run(body: str, timeout_s: float = 60.0, on_progress: Callable[[Progress], None] = lambda _: None) -> Outcome:
    return run_isolated(
        {"case": {"seq_len": 7}},
        timeout_s=timeout_s,
        on_progress=on_progress,
        command=(sys.executable, "-c", SEND + body),
    )


def test_request_goes_in_and_result_and_progress_come_out() -> None:
    seen: list[Progress] = []
    outcome = run(
        "send(type='progress', done=1, total=2, unit='iterations', rate=None)\n"
        "send(type='progress', done=2, total=2, unit='iterations', rate=1.5)\n"
        "ok(request=json.load(sys.stdin))",
        on_progress=seen.append,
    )
    assert outcome.status == "ok"
    assert outcome.median_seconds == 2.0
    assert outcome.result is not None
    assert outcome.result["request"] == {"case": {"seq_len": 7}}
    assert seen == [Progress(1, 2, "iterations", None), Progress(2, 2, "iterations", 1.5)]


def test_a_request_larger_than_a_pipe_arrives() -> None:
    outcome = run_isolated(
        {"long": "x" * 1_000_000},
        timeout_s=60,
        on_progress=lambda _: None,
        command=(sys.executable, "-c", SEND + "time.sleep(0.2); ok(length=len(json.load(sys.stdin)['long']))"),
    )
    assert outcome.result is not None
    assert outcome.result["length"] == 1_000_000


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ("raise RuntimeError('kernel launch failed')", ["code 1", "RuntimeError: kernel launch failed"]),
        ("def kernel(): ctypes.string_at(0)\nkernel()", ["SIGSEGV", "in string_at"]),
        ("os.abort()", ["SIGABRT"]),
        ("os._exit(3)", ["code 3"]),
        ("os.kill(os.getpid(), signal.SIGKILL)", ["SIGKILL"]),
        ("pass", ["without a result"]),
        ("sys.exit('bad luck')", ["code 1", "bad luck"]),
    ],
)
def test_a_worker_that_dies_is_crashed_and_says_how(body: str, words: list[str]) -> None:
    outcome = run(body)
    assert outcome.status == "crashed"
    for word in words:
        assert outcome.reason is not None
        assert word in outcome.reason


@pytest.mark.parametrize(
    "written",
    [
        b"not json\n",
        b"[1]\n",
        b'{"type":"result","status":"splendid"}\n',
        b'{"type":"result"}\n',
        b'{"type":"progress","done":"half"}\n',
        b"\xff\x00\n",
        b'{"type":"result","status":"ok"',
        b"x" * 1_000_000,
    ],
)
def test_garbage_on_the_pipe_is_crashed(written: bytes) -> None:
    outcome = run(
        f"data = {written[:60]!r} * {max(1, len(written) // 60)}\nwhile data: data = data[os.write(fd, data):]"
    )
    assert outcome.status == "crashed"
    assert outcome.reason is not None
    assert "not understood" in outcome.reason
    assert len(outcome.reason) < 500


@pytest.mark.parametrize("status", ["oom", "incorrect", "unsupported"])
def test_a_worker_may_say_itself_why_there_is_no_time(status: str) -> None:
    outcome = run(f"send(type='result', status={status!r}, reason='because', backend='math')")
    assert (outcome.status, outcome.reason, outcome.median_seconds) == (status, "because", None)
    assert outcome.result == {"backend": "math"}


@pytest.mark.parametrize("hang", ["time.sleep(3600)", "ctypes.PyDLL(None).sleep(3600)", "signal.pause()"])
def test_a_hang_is_killed_with_everything_it_started(
    hang: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The second hang holds the interpreter's lock; SIGTERM is ignored by all of them."""
    waited = [0.0]
    monkeypatch.setattr(isolate, "time", SimpleNamespace(monotonic=lambda: waited[0]))
    pids: list[int] = []

    def hours_pass(progress: Progress) -> None:
        pids.extend([progress.done, progress.total or 0])
        waited[0] += 90.0

    outcome = run(
        "signal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
        "child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(3600)'])\n"
        "print('about to hang', flush=True)\n"
        "send(type='progress', done=os.getpid(), total=child.pid)\n" + hang,
        timeout_s=80,
        on_progress=hours_pass,
    )
    assert outcome.status == "timeout"
    assert outcome.reason is not None
    assert "80 s" in outcome.reason
    assert "about to hang" in outcome.reason
    assert len(pids) == 2
    assert wait_until(lambda: all(map(is_gone, pids)))


def test_the_watchdog_needs_no_word_from_the_worker() -> None:
    assert run("time.sleep(3600)", timeout_s=0.5).status == "timeout"


def test_a_flood_of_words_does_not_keep_the_watchdog_from_its_clock() -> None:
    assert run("while True: send(type='progress', done=1)", timeout_s=1.0).status == "timeout"


def test_at_the_end_of_the_budget_a_point_is_put_off_and_not_called_too_slow() -> None:
    outcome = run_isolated(
        {},
        timeout_s=3600,
        on_progress=lambda _: None,
        limit_s=0.5,
        command=(sys.executable, "-c", "import time; time.sleep(3600)"),
    )
    assert outcome.status == "pruned"
    assert str(outcome.reason).startswith("--budget")


def test_a_grandchild_left_behind_is_killed_and_not_waited_for() -> None:
    """It holds the pipe and the output open, as a forked helper of a library does."""
    outcome = run(
        "child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(3600)'], pass_fds=(fd,))\n"
        "ok(pid=child.pid)"
    )
    assert outcome.status == "ok"
    assert outcome.result is not None
    assert wait_until(lambda: is_gone(outcome.result["pid"]))  # type: ignore[index]


def test_megabytes_of_output_do_no_harm_and_the_end_is_kept() -> None:
    outcome = run(
        "for _ in range(200): os.write(1, b'noise ' * 20000)\n"
        "for n in range(100): print(f'line {n}', file=sys.stderr)\n"
        "raise SystemExit(4)"
    )
    assert outcome.stderr_tail == [f"line {number}" for number in range(50, 100)]
    assert outcome.reason is not None
    assert "line 99" in outcome.reason
    endless = run("os.write(2, b'x' * 5_000_000)")
    assert sum(map(len, endless.stderr_tail)) < 100_000


def test_a_result_outlives_a_crash_at_exit() -> None:
    assert run("ok()\nctypes.string_at(0)").status == "ok"


def test_a_result_outlives_a_hang_at_exit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(isolate, "EXIT_GRACE_S", 0.2)
    assert run("ok()\ntime.sleep(3600)").status == "ok"


def test_a_result_is_told_while_its_worker_is_still_there(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody may lose it by ending the sweep meanwhile."""
    monkeypatch.setattr(isolate, "EXIT_GRACE_S", 0.2)
    told: list[bool] = []
    outcome = run_isolated(
        {},
        timeout_s=60,
        on_progress=lambda _: None,
        on_end=lambda known: told.append(not is_gone((known.result or {})["pid"])),
        command=(sys.executable, "-c", SEND + "ok(pid=os.getpid())\ntime.sleep(3600)"),
    )
    assert told == [True]
    assert outcome.result is not None
    assert is_gone(outcome.result["pid"])


def test_no_room_for_what_a_worker_prints_costs_the_point_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    def full() -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(isolate.tempfile, "TemporaryFile", full)
    outcome = run("ok()")
    assert outcome.status == "crashed"
    assert outcome.reason == "the worker could not be started: [Errno 28] No space left on device"


def test_a_long_result_arrives_whole() -> None:
    outcome = run("ok(iterations=list(range(200_000)))")
    assert outcome.result is not None
    assert outcome.result["iterations"] == list(range(200_000))


def test_a_kill_by_the_kernel_for_want_of_memory_is_oom(monkeypatch: pytest.MonkeyPatch) -> None:
    counts = iter([3, 4])
    monkeypatch.setattr(isolate, "oom_kills", lambda: next(counts))
    outcome = run("os.kill(os.getpid(), signal.SIGKILL)")
    assert outcome.status == "oom"
    assert outcome.reason is not None
    assert "out-of-memory" in outcome.reason


def test_a_worker_that_cannot_be_started_is_crashed(tmp_path: Path) -> None:
    command = (str(tmp_path / "none"),)
    outcome = run_isolated({}, timeout_s=1, on_progress=lambda _: None, command=command)
    assert outcome.status == "crashed"
    assert outcome.reason is not None
    assert "started" in outcome.reason


def test_ctrl_c_in_the_parent_kills_the_worker(tmp_path: Path) -> None:
    pids: list[int] = []

    def interrupt(progress: Progress) -> None:
        pids.append(progress.done)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run("send(type='progress', done=os.getpid())\ntime.sleep(3600)", on_progress=interrupt)
    assert is_gone(pids[0])


def test_the_parent_sleeps_while_it_waits() -> None:
    before = resource.getrusage(resource.RUSAGE_SELF)
    run("time.sleep(1.0)")
    after = resource.getrusage(resource.RUSAGE_SELF)
    assert after.ru_nvcsw - before.ru_nvcsw < 50  # a loop that looks every few ms would sleep hundreds of times
    assert after.ru_utime - before.ru_utime < 0.5  # and one that never sleeps would take a second


def test_no_descriptor_is_left_open() -> None:
    run("ok()")
    before = len(list(Path("/proc/self/fd").iterdir()))
    for body in ("ok()", "os._exit(1)", "os.write(fd, b'junk')"):
        run(body)
    assert len(list(Path("/proc/self/fd").iterdir())) == before


def test_the_counters_of_the_oom_killer_are_found(tmp_path: Path) -> None:
    from longbench_cli.execute.oom_kills import oom_kills

    proc, groups = tmp_path / "proc", tmp_path / "cgroup"
    (proc / "self").mkdir(parents=True)
    assert oom_kills(proc, groups) == 0
    (proc / "vmstat").write_text("nr_free_pages 5\noom_kill 2\n")
    assert oom_kills(proc, groups) == 2
    (proc / "self" / "cgroup").write_text("4:memory:/job\n0::/user/job\n")
    for group, name in ((groups / "user" / "job", "memory.events"), (groups / "memory" / "job", "memory.oom_control")):
        group.mkdir(parents=True)
        (group / name).write_text("oom 9\noom_kill 7\n")
        assert oom_kills(proc, groups) == 7
        (group / name).write_text("oom_kill 0\n")
    assert json.dumps(oom_kills()).isdigit()
