"""What is put into a history, under which name, and what is read back."""

from __future__ import annotations

from pathlib import Path

import pytest
from compared import duet_of, failed, measured, run_of, sessions_of
from sample_runs import write_run

from longbench_cli.analyse.history import build_series
from longbench_cli.errors import UsageError
from longbench_cli.measure.types import CpuTelemetry, OtherProcess, Telemetry, Verdict
from longbench_cli.present.history.export import to_json
from longbench_cli.present.history.view import HistoryView
from longbench_cli.record.history import commit_of, new_entries, read_history
from longbench_cli.record.journal import Run, load_run
from longbench_cli.record.slim import took_turns

COMMIT = "0123456789abcdef0123456789abcdef01234567"


def keep(folder: Path, *runs: Run, commit: str | None = None) -> list[Path]:
    """Do what the command does with its entries."""
    folder.mkdir(exist_ok=True)
    entries = new_entries(folder, runs, commit)
    for entry in entries:
        if not entry.known:
            entry.path.write_text(entry.content, encoding="utf-8")
    return [entry.path for entry in entries]


def disturbed() -> Run:
    """A run beside which somebody else worked, with many iterations, and a failure that printed."""
    cpu = CpuTelemetry(
        rss_peak_bytes=1, frequency_mhz=None, governor=None, affinity=[0], others_share=0.3,
        others=[OtherProcess(pid=4242, name="secret-trainer", cpu_share=0.3)], voluntary_switches=0, energy_j=None,
    )  # fmt: skip
    telemetry = Telemetry(threads=2, involuntary_switches=0, steal_share=None, samples=5, cpu=cpu)
    reason = "other processes took 30% of the processors: secret-trainer (pid 4242) 30%"
    verdict = Verdict(kind="contended", reasons=[reason])
    slow = measured(turns=[[1_000_000] * 2001], telemetry=telemetry, verdict=verdict)
    printed = failed("crashed", "signal 11", stderr_tail=["/home/somebody/kernel.py"], session=1)
    return run_of([slow, printed], run_id="5f3c")


def test_a_kept_run_is_small_names_nobody_and_still_loads(tmp_path: Path) -> None:
    run = disturbed()
    (path,) = keep(tmp_path, run)
    assert path.name == "20250102T030405Z-5f3c.jsonl"
    text = path.read_text(encoding="utf-8")
    assert len(text) < 8000
    assert not any(word in text for word in ("secret", "4242", "somebody"))
    kept = load_run(path)
    assert kept.warnings == []
    assert kept.header == run.header
    point, before = kept.points[0], run.points[0]
    assert point.latency is not None
    assert before.latency is not None
    assert point.latency.median_ns == before.latency.median_ns
    assert point.latency.count == before.latency.count == 2001
    assert [one.status for one in kept.points] == ["ok", "crashed"]


def test_the_same_run_twice_is_known_and_a_changed_one_refused(tmp_path: Path) -> None:
    keep(tmp_path, disturbed())
    (again,) = new_entries(tmp_path, [disturbed()])
    assert again.known
    more = disturbed()
    more.points.append(measured(session=2))
    for run, commit in ((more, None), (disturbed(), COMMIT)):
        with pytest.raises(UsageError, match=r"is in the history already, with other points .* remove .*5f3c.jsonl"):
            new_entries(tmp_path, [run], commit)


def test_a_run_given_twice_is_added_once(tmp_path: Path) -> None:
    assert [entry.known for entry in new_entries(tmp_path, [disturbed(), disturbed()])] == [False, True]


def test_a_commit_can_be_said(tmp_path: Path) -> None:
    (path,) = keep(tmp_path, disturbed(), commit=COMMIT.upper())
    assert commit_of(load_run(path).header) == COMMIT
    assert commit_of(disturbed().header) == "0f1e2d3c"
    with pytest.raises(UsageError, match="--commit 'main': no hash of a commit"):
        new_entries(tmp_path, [disturbed()], "main")


def test_the_name_of_a_file_stays_in_the_folder_whatever_a_run_calls_itself(tmp_path: Path) -> None:
    header = run_of([measured()]).header.model_copy(update={"run_id": "../../evil\0"})
    hostile = Run(Path("x.jsonl"), header, [measured()])
    (path,) = keep(tmp_path / "kept", hostile)
    assert path.parent == tmp_path / "kept"
    assert path.name.startswith("20250102T030405Z-")
    assert ".." not in path.name


def test_what_is_no_trend_is_refused_and_left_out(tmp_path: Path) -> None:
    base, candidate = duet_of([0.0] * 6)
    _, slowed = duet_of([0.05] * 6, injected=0.05, duet_id="duet-2")
    with pytest.raises(UsageError, match=r"duet-1-base.jsonl: is the base side of a duet"):
        new_entries(tmp_path, [base])
    with pytest.raises(UsageError, match=r"duet-2-candidate.jsonl: a slowdown was put into it"):
        new_entries(tmp_path, [slowed])
    (kept,) = keep(tmp_path / "kept", candidate)
    header = load_run(kept).header
    assert header.duet is None  # without its turns it is no side to be paired
    assert took_turns(header)
    for run in (base, candidate, slowed):
        write_run(run, tmp_path)
    runs, warnings = read_history([tmp_path])
    assert [run.header.run_id for run in runs] == ["duet-1-candidate"]
    assert [warning.rpartition(": ")[2] for warning in warnings] == ["left out"] * 2


def test_a_run_without_a_point_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="holds no point"):
        new_entries(tmp_path, [run_of([], run_id="cut-off")])


def test_runs_come_by_time_whatever_their_names_and_time_zones(tmp_path: Path) -> None:
    made = {"a": "2026-11-03T00:00:00Z", "b": "2026-11-02T23:59:00+00:00", "c": "2026-11-03T01:00:00+02:00"}
    for name, created in made.items():
        write_run(run_of([measured()], run_id=name, created=created), tmp_path)
    write_run(run_of([measured()], run_id="z", created="2026-11-01"), tmp_path)
    runs, warnings = read_history([tmp_path])
    assert [run.header.run_id for run in runs] == ["z", "c", "b", "a"]
    assert warnings == []


def test_what_is_read_is_small_and_shows_the_same(tmp_path: Path) -> None:
    runs = [disturbed(), run_of(sessions_of([1.5e6, 3e6, 2e6]), run_id="three")]
    for run in runs:
        write_run(run, tmp_path)
    found, _ = read_history([tmp_path])
    (slow, printed), three = found[0].points, found[1].points
    assert slow.latency is not None
    assert (slow.latency.iterations_ns, slow.latency.count, slow.telemetry) == ([1_000_000], 2001, None)
    assert printed.status == "crashed"
    assert not any("kernel.py" in line for line in getattr(printed, "stderr_tail", []))
    assert [point.latency and point.latency.median_ns for point in three] == [1.5e6, 3e6, 2e6]
    whole = [load_run(run.path) for run in found]
    shown = [to_json(HistoryView(build_series(each, 0.03), each, 0.03)) for each in (found, whole)]
    assert shown[0] == shown[1]
    assert "2000000.0" in shown[0]


def test_a_copy_of_a_run_counts_once(tmp_path: Path) -> None:
    path = write_run(run_of([measured()], run_id="one"), tmp_path)
    (tmp_path / "two.jsonl").write_bytes(path.read_bytes())
    runs, warnings = read_history([tmp_path, path])
    assert len(runs) == 1
    assert warnings == [f"{tmp_path}/two.jsonl: the same run as {path}: left out"]


def test_a_bad_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="holds no run file"):
        read_history([tmp_path])
    write_run(run_of([measured()], run_id="good"), tmp_path)
    bad = tmp_path / "bad.jsonl"
    bad.write_text('{"record":"run","schema":99}\n', encoding="utf-8")
    with pytest.raises(UsageError, match=r"bad.jsonl: was written by a newer longbench"):
        read_history([tmp_path])
    bad.unlink()
    write_run(run_of([measured()], run_id="undated", created="yesterday"), tmp_path)
    with pytest.raises(UsageError, match=r"undated.jsonl: line 1: created: 'yesterday' is no date"):
        read_history([tmp_path])
