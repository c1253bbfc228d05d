"""``longbench run`` as a user meets it, with a small script in place of the worker that measures."""

from __future__ import annotations

import json
import resource
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from processes import is_gone, wait_until

from longbench_cli.app import main
from longbench_cli.commands.run_checks import refuse_unrunnable
from longbench_cli.errors import UsageError
from longbench_cli.execute import isolate
from longbench_cli.record.journal import load_run
from longbench_cli.sweep.options import resolve
from longbench_cli.sweep.plan import Plan, make_plan

WORKER = """
import json, os, pathlib, sys, time
fd = int(sys.argv[sys.argv.index("--result-fd") + 1])
request = json.loads(sys.stdin.readline())
case = request["case"]
with open("asked", "a") as asked:
    asked.write(f"{case['impl']} {case['seq_len']} {'turns' if request.get('turns') else 'alone'}\\n")
if case["seq_len"] == int(os.environ.get("CRASH_AT", 0)):
    raise RuntimeError("kernel launch failed")
if case["seq_len"] == int(os.environ.get("HANG_AT", 0)):
    pathlib.Path("hanging").write_text(str(os.getpid()))
    time.sleep(3600)
latency = {"iterations_ns": [5, 7], "median_ns": 6.0, "ci95_ns": None, "mean_ns": 6.0, "p95_ns": 7.0, "noise": 0.1,
           "stopped_by": "max_time"}
result = {"type": "result", "status": "ok", "reason": None, "backend": "math", "latency": latency,
          "memory": {"input_bytes": 1, "peak_bytes": 2, "nvml_peak_bytes": None}, "telemetry": None,
          "cost": {"flops": 1, "dense_flops": 1, "io_bytes": 1, "comm_bytes": 0},
          "verification": {"status": "passed", "rows": 64, "max_error": 0.1, "tolerance": 0.2}}
os.write(fd, json.dumps(result).encode() + b"\\n")
"""
PARENT = """
import sys
from longbench_cli.app import main
from longbench_cli.execute import isolate
isolate.WORKER = (sys.executable, "worker.py")
main(sys.argv[1:])
"""
SWEEP = ["run", "--impl", "vanilla,dilated", "--seq", "256:2k", "--device", "cpu"]
POINTS = 8


@pytest.fixture(autouse=True)
def _folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("worker.py").write_text(WORKER, encoding="utf-8")
    monkeypatch.setattr(isolate, "WORKER", (sys.executable, "worker.py"))


def longbench(*words: str) -> int:
    with pytest.raises(SystemExit) as caught:
        main(words)
    return int(str(caught.value.code or 0))


def start(*words: str, first: Callable[[], None] = lambda: None) -> subprocess.Popen[str]:
    """``longbench`` as a terminal starts it: a background job or nohup may have had us ignore its signals."""

    def before_it_runs() -> None:
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, signal.SIG_DFL)
        first()

    command = [sys.executable, "-c", PARENT, *words]
    pipe = subprocess.PIPE
    return subprocess.Popen(command, stdout=pipe, stderr=pipe, text=True, preexec_fn=before_it_runs)  # noqa: PLW1509


def keys(path: str | Path) -> list[str]:
    return [point.key for point in load_run(path).points]


def refused(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    """The one line on stderr of a command that ends with 2."""
    capsys.readouterr()
    assert longbench(*words) == 2
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1, lines
    return lines[0]


def test_every_point_is_recorded_and_shown_and_the_file_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    assert longbench(*SWEEP) == 0
    (path,) = Path("longbench-runs").iterdir()
    run = load_run(path)
    assert len(set(keys(path))) == len(run.points) == POINTS
    assert [point.key for point in run.points] == run.header.plan
    assert {point.case.backend for point in run.points} == {"math"}
    out = capsys.readouterr().out
    assert len([line for line in out.splitlines() if line.startswith("[")]) == POINTS
    assert str(path) in out
    assert f"longbench report {path}" in out


def test_json_is_itself_a_run_file(capsys: pytest.CaptureFixture[str]) -> None:
    assert longbench(*SWEEP, "--json", "-o", "run.jsonl") == 0
    assert capsys.readouterr().out == Path("run.jsonl").read_text(encoding="utf-8")


def test_quiet_prints_the_file_alone(capsys: pytest.CaptureFixture[str]) -> None:
    assert longbench(*SWEEP, "--quiet", "-o", "run.jsonl") == 0
    assert capsys.readouterr() == ("run.jsonl\n", "")


def test_a_crash_is_recorded_the_rest_goes_on_and_the_exit_code_is_1(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("CRASH_AT", "512")
    assert longbench(*SWEEP, "-o", "run.jsonl") == 1
    run = load_run("run.jsonl")
    assert [point.status for point in run.points].count("ok") == POINTS - 2
    assert {point.reason for point in run.points} == {None, "exited with code 1: RuntimeError: kernel launch failed"}
    assert "kernel launch failed" in capsys.readouterr().out
    assert longbench("run", "--resume", "run.jsonl") == 1  # nothing is missing; the crash is still there
    assert load_run("run.jsonl").points == run.points


def test_pruned_points_are_results(capsys: pytest.CaptureFixture[str]) -> None:
    assert longbench("run", "--impl", "vanilla", "--seq", "1k,1b", "--device", "cpu", "-o", "run.jsonl") == 0
    assert [point.status for point in load_run("run.jsonl").points] == ["ok", "pruned"]
    assert "--max-point-time" in capsys.readouterr().out


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_an_interrupt_keeps_what_is_done_and_says_how_to_go_on(
    number: signal.Signals, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HANG_AT", "1024")
    parent = start(*SWEEP, "-o", "a run.jsonl")
    assert wait_until(Path("hanging").exists)
    parent.send_signal(number)
    _, err = parent.communicate(timeout=60)
    assert parent.returncode == 1
    assert "4 of 8 points" in err
    assert "longbench run --resume 'a run.jsonl'" in err
    assert "Traceback" not in err
    assert len(keys("a run.jsonl")) == 4
    monkeypatch.delenv("HANG_AT")
    assert longbench("run", "--resume", "a run.jsonl") == 0
    run = load_run("a run.jsonl")
    assert sorted(keys("a run.jsonl")) == sorted(run.header.plan)
    assert {point.session for point in run.points} == {0}


def test_a_killed_run_is_resumed_every_point_exactly_once_and_its_worker_is_gone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("HANG_AT", "512")
    parent = start(*SWEEP, "--max-time", "5", "-o", "run.jsonl")
    assert wait_until(lambda: Path("hanging").exists() and Path("hanging").read_text().isdigit())
    parent.kill()
    parent.communicate(timeout=60)
    worker = int(Path("hanging").read_text())
    assert wait_until(lambda: is_gone(worker))
    before = Path("run.jsonl").read_bytes()
    assert len(keys("run.jsonl")) == 2
    Path("run.jsonl").write_bytes(before + b'{"record":"point","sch')  # as if it had been writing
    monkeypatch.delenv("HANG_AT")
    assert longbench("run", "--resume", "run.jsonl") == 0
    assert Path("run.jsonl").read_bytes().startswith(before)
    run = load_run("run.jsonl")
    assert sorted(keys("run.jsonl")) == sorted(run.header.plan)
    assert not run.warnings


def recorded(path: str = "run.jsonl") -> list[tuple[str, int, int]]:
    return [(point.case.impl, point.case.seq_len, point.session) for point in load_run(path).points]


def test_the_implementations_of_one_length_are_asked_to_take_turns_unless_the_order_is_sequential() -> None:
    assert longbench("run", "--impl", "vanilla,dilated", "--seq", "256,512", "--device", "cpu", "-o", "a.jsonl") == 0
    lines = Path("asked").read_text().splitlines()
    assert lines == [f"{impl} {n} turns" for n in (256, 512) for impl in ("vanilla", "dilated")]
    Path("asked").unlink()
    assert longbench(*SWEEP, "--order", "sequential", "-o", "b.jsonl") == 0
    assert {line.split()[2] for line in Path("asked").read_text().splitlines()} == {"alone"}


def test_sessions_come_one_after_another_and_are_counted(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    sweep = ["run", "--impl", "vanilla", "--seq", "256:1k", "--device", "cpu", "--sessions", "2", "-o", "run.jsonl"]
    monkeypatch.setenv("CRASH_AT", "512")
    assert longbench(*sweep) == 1
    assert recorded() == [("vanilla", n, session) for session in (0, 1) for n in (256, 512, 1024)]
    lines = capsys.readouterr().out.splitlines()
    assert [line.split("]")[0] for line in lines if line.startswith("[")] == [f"[{n}/6" for n in range(1, 7)]


def test_an_interrupted_run_of_sessions_goes_on_where_it_was(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HANG_AT", "1024")
    sweep = ["run", "--impl", "vanilla", "--seq", "256:1k", "--device", "cpu", "--sessions", "2", "-o", "run.jsonl"]
    parent = start(*sweep)
    assert wait_until(Path("hanging").exists)
    parent.send_signal(signal.SIGTERM)
    _, err = parent.communicate(timeout=60)
    assert parent.returncode == 1
    assert "2 of 6 points (2 sessions each)" in err
    monkeypatch.delenv("HANG_AT")
    assert longbench("run", "--resume", "run.jsonl") == 0
    assert recorded() == [("vanilla", n, session) for session in (0, 1) for n in (256, 512, 1024)]


def test_later_sessions_of_a_pruned_point_are_left_out_and_a_line_says_so(capsys: pytest.CaptureFixture[str]) -> None:
    sweep = ["run", "--impl", "vanilla", "--seq", "1k,1b", "--device", "cpu", "--sessions", "3", "-o", "run.jsonl"]
    assert longbench(*sweep) == 0
    assert [point.session for point in load_run("run.jsonl").points] == [0, 0, 1, 2]
    out = capsys.readouterr().out
    assert "vanilla 1b fwd: 2 later sessions left out" in out
    assert "[4/4]" in out
    assert longbench("run", "--resume", "run.jsonl") == 0
    assert len(load_run("run.jsonl").points) == 4


def test_what_the_budget_puts_off_is_recorded_and_measured_by_a_resume(capsys: pytest.CaptureFixture[str]) -> None:
    assert longbench(*SWEEP, "--budget", "1s", "-o", "run.jsonl") == 0
    points = load_run("run.jsonl").points
    assert len(points) == POINTS
    assert {point.status for point in points} == {"pruned"}
    assert all(str(point.reason).startswith("--budget") for point in points)
    assert not Path("asked").exists()
    assert longbench("run", "--budget", "1h", "--resume", "run.jsonl") == 0  # the rest as the file says
    points = load_run("run.jsonl").points
    assert {point.status for point in points} == {"ok"}
    assert len({point.key for point in points}) == len(points) == POINTS
    before = Path("run.jsonl").read_bytes()
    assert longbench("run", "--resume", "run.jsonl") == 0
    assert Path("run.jsonl").read_bytes() == before


def test_resume_starts_a_file_that_is_not_there(capsys: pytest.CaptureFixture[str]) -> None:
    assert longbench(*SWEEP, "--resume", "new/run.jsonl") == 0
    assert len(keys("new/run.jsonl")) == POINTS


def test_resume_refuses_another_sweep_and_says_what_differs(capsys: pytest.CaptureFixture[str]) -> None:
    assert longbench(*SWEEP, "-o", "run.jsonl") == 0
    before = Path("run.jsonl").read_bytes()
    text = refused(capsys, *SWEEP, "--max-time", "3", "--resume", "run.jsonl")
    assert "max_time is 3.0 here and 10.0 there" in text
    text = refused(capsys, "run", "--impl", "vanilla", "--seq", "256:4k", "--device", "cpu", "--resume", "run.jsonl")
    assert "1 of 5 points only here (vanilla/auto/fwd/n4096/" in text
    assert "4 of 8 points only there (dilated/" in text
    assert Path("run.jsonl").read_bytes() == before


def test_resume_on_another_machine_warns(capsys: pytest.CaptureFixture[str]) -> None:
    assert longbench(*SWEEP, "-o", "run.jsonl") == 0
    lines = Path("run.jsonl").read_text(encoding="utf-8").splitlines()
    header = json.loads(lines[0])
    header["environment"]["cpu"] = "another"
    Path("run.jsonl").write_text("\n".join([json.dumps(header), *lines[1:5]]) + "\n", encoding="utf-8")
    capsys.readouterr()
    assert longbench("run", "--resume", "run.jsonl") == 0
    assert "cpu differ" in capsys.readouterr().err


def test_an_existing_file_a_folder_and_a_foreign_file_are_refused(capsys: pytest.CaptureFixture[str]) -> None:
    Path("notes.txt").write_text("mine\n", encoding="utf-8")
    assert "notes.txt" in refused(capsys, *SWEEP, "-o", "notes.txt")
    assert "not a run file" in refused(capsys, *SWEEP, "--resume", "notes.txt")
    assert "not a run file" in refused(capsys, "run", "--resume", "notes.txt")
    assert "folder" in refused(capsys, *SWEEP, "-o", ".")
    assert "folder" in refused(capsys, "run", "--resume", ".")
    assert "No space left" in refused(capsys, *SWEEP, "-o", "/dev/full")
    assert "exclude each other" in refused(capsys, *SWEEP, "-o", "a", "--resume", "b")
    assert Path("notes.txt").read_text(encoding="utf-8") == "mine\n"


def test_a_disk_that_fills_during_the_run_loses_no_record(capsys: pytest.CaptureFixture[str]) -> None:
    assert longbench(*SWEEP, "-o", "whole.jsonl") == 0
    sizes = [len(line) + 1 for line in Path("whole.jsonl").read_bytes().splitlines()]
    limit = sum(sizes[:3]) + sizes[3] // 2

    def small_disk() -> None:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))

    parent = start(*SWEEP, "-o", "run.jsonl", first=small_disk)
    _, err = parent.communicate(timeout=60)
    assert parent.returncode == 2
    assert len(err.splitlines()) == 1
    assert "run.jsonl: cannot be written" in err
    assert "--resume run.jsonl" in err
    assert len(keys("run.jsonl")) == 2
    assert not load_run("run.jsonl").warnings
    assert longbench("run", "--resume", "run.jsonl") == 0
    assert keys("run.jsonl") == keys("whole.jsonl")


def test_ranks_beyond_reason_are_refused_and_many_are_planned(capsys: pytest.CaptureFixture[str]) -> None:
    text = refused(capsys, *SWEEP, "--gpus", "1k")
    assert "--device cpu --gpus 1024: at most 256 processes on one machine" in text
    assert not Path("longbench-runs").exists()
    assert longbench("run", "--impl", "dilated", "--seq", "8k:1b", "--gpus", "8", "--device", "cuda", "--dry-run") == 0
    assert "1b" in capsys.readouterr().out
    assert not Path("longbench-runs").exists()


def a_plan(**asked: str) -> Plan:
    return make_plan(resolve({"impl": "vanilla", "seq": "8k", **asked}))


@pytest.mark.parametrize(
    ("asked", "left_open", "found", "words"),
    [
        ({"device": "cuda", "gpus": "8"}, False, 2, ["--gpus 8", "2 GPUs found", "--device cpu --gpus 8", "8 gloo"]),
        ({"device": "cpu", "gpus": "8"}, True, 0, ["--gpus 8", "0 GPUs found", "--device cpu --gpus 8", "8 gloo"]),
        (
            {"device": "cpu", "gpus": "1,300"},
            False,
            0,
            ["--device cpu --gpus 300", "at most 256 processes", "torchrun"],
        ),
        ({"device": "cuda"}, False, 0, ["--device cuda", "no GPU found", "--device cpu"]),
    ],
)
def test_what_this_machine_cannot_run_is_said_in_one_line(
    asked: dict[str, str], left_open: bool, found: int, words: list[str]
) -> None:
    with pytest.raises(UsageError) as caught:
        refuse_unrunnable(a_plan(**asked), device_left_open=left_open, gpus_found=lambda: found)
    for word in words:
        assert word in str(caught.value)


def test_what_this_machine_has_is_enough() -> None:
    refuse_unrunnable(a_plan(device="cpu"), device_left_open=True, gpus_found=lambda: 0)
    refuse_unrunnable(a_plan(device="cpu", gpus="1,5,64"), device_left_open=False, gpus_found=lambda: 0)
    refuse_unrunnable(a_plan(device="cuda", gpus="1,8"), device_left_open=False, gpus_found=lambda: 8)
    refuse_unrunnable(a_plan(device="cuda"), device_left_open=False, gpus_found=lambda: 1)
