"""The run file survives kills, full disks and second writers; what it holds comes back as it went in."""

from __future__ import annotations

import os
import resource
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from longbench_cli.errors import UsageError
from longbench_cli.record.journal import Journal, load_run
from longbench_cli.record.schema import MeasuredPoint, RunHeader, UnmeasuredPoint, dump_line

CASE = {
    "impl": "vanilla", "backend": "math", "pass": "fwd", "seq_len": 1024, "batch": 1, "heads": 8, "kv_heads": 8,
    "head_dim": 64, "dtype": "bfloat16", "causal": False, "world_size": 1, "device": "cpu", "options": {},
}  # fmt: skip


def a_header(plan: list[str] | None = None) -> RunHeader:
    return RunHeader(
        run_id="r", created="2026-01-01T00:00:00Z", argv=["longbench", "run"], version="0.1.0", profile=None,
        settings={"seed": 0}, plan=plan or ["a", "b"], environment={},
    )  # fmt: skip


def measured(key: str = "a") -> MeasuredPoint:
    return MeasuredPoint.model_validate(
        {
            "key": key,
            "case": CASE,
            "latency": {
                "iterations_ns": [5, 7], "median_ns": 6.0, "ci95_ns": None, "mean_ns": 6.0, "p95_ns": 7.0,
                "noise": 0.1, "stopped_by": "max_time",
            },
            "memory": {"input_bytes": 1, "peak_bytes": 2, "nvml_peak_bytes": None},
            "telemetry": None,
            "cost": {"flops": 1, "dense_flops": 1, "io_bytes": 1, "comm_bytes": 0},
            "verification": {"status": "passed", "rows": 64, "max_error": 0.1, "tolerance": 0.2},
        }
    )  # fmt: skip


def failed(key: str = "b") -> UnmeasuredPoint:
    return UnmeasuredPoint.model_validate({"key": key, "case": CASE, "status": "oom", "reason": "no memory"})


def write(path: Path, *points: MeasuredPoint | UnmeasuredPoint) -> None:
    journal, _ = Journal.open(path, a_header())
    with journal:
        for point in points:
            journal.append(point)


def refusal(call: object, *args: object, **options: object) -> str:
    with pytest.raises(UsageError) as caught:
        call(*args, **options)  # type: ignore[operator]
    text = str(caught.value)
    assert "\n" not in text
    assert len(text) < 300
    return text


def test_what_was_written_comes_back(tmp_path: Path) -> None:
    path = tmp_path / "new" / "folders" / "run.jsonl"
    write(path, measured(), failed())
    run = load_run(path)
    assert (run.header, run.points, run.warnings) == (a_header(), [measured(), failed()], [])
    assert path.read_bytes().count(b"\n") == 3


def test_a_point_is_in_the_file_before_the_next_begins(tmp_path: Path) -> None:
    path = tmp_path / "run.jsonl"
    journal, found = Journal.open(path, a_header())
    assert found is None
    with journal:
        journal.append(measured())
        assert load_run(path).points == [measured()]


def test_an_existing_run_is_not_overwritten(tmp_path: Path) -> None:
    path = tmp_path / "run.jsonl"
    write(path, measured())
    before = path.read_bytes()
    text = refusal(Journal.open, path, a_header())
    assert str(path) in text
    assert "-o" in text
    assert "--resume" in text
    assert path.read_bytes() == before


def test_a_second_writer_is_turned_away_and_the_first_goes_on(tmp_path: Path) -> None:
    path = tmp_path / "run.jsonl"
    journal, _ = Journal.open(path, a_header())
    with journal:
        for resume in (False, True):
            assert "another longbench" in refusal(Journal.open, path, a_header(), resume=resume)
        journal.append(measured())
    assert load_run(path).points == [measured()]


@pytest.mark.parametrize("cut", [1, 2, 40, 200])
def test_a_torn_tail_is_dropped_with_a_warning_and_resume_writes_over_it(tmp_path: Path, cut: int) -> None:
    path = tmp_path / "run.jsonl"
    write(path, measured("a"), measured("b"))
    whole = path.read_bytes()
    path.write_bytes(whole[: -1 - cut])
    run = load_run(path)
    assert [point.key for point in run.points] == ["a"]
    assert len(run.warnings) == 1
    assert "line 3" in run.warnings[0]
    journal, found = Journal.open(path, a_header(), resume=True)
    assert found is not None
    assert found.warnings == run.warnings
    journal.append(measured("b"))
    journal.close()
    assert path.read_bytes() == whole


def test_opening_for_resume_changes_nothing_until_something_is_appended(tmp_path: Path) -> None:
    path = tmp_path / "run.jsonl"
    write(path, measured("a"), measured("b"))
    torn = path.read_bytes()[:-30]
    path.write_bytes(torn)
    journal, _ = Journal.open(path, a_header(), resume=True)
    journal.close()
    assert path.read_bytes() == torn


def test_every_cut_of_a_file_loads_or_says_why(tmp_path: Path) -> None:
    path = tmp_path / "run.jsonl"
    write(path, measured("a"), failed("b"))
    whole = path.read_bytes()
    header_end = whole.index(b"\n") + 1
    edges = {header_end + near for near in (-2, -1, 0, 1)} | {len(whole) + near for near in (-2, -1)}
    for length in sorted(edges | set(range(0, len(whole), 29))):
        path.write_bytes(whole[:length])
        if length < header_end - 1:
            refusal(load_run, path)
            journal, found = Journal.open(path, a_header(), resume=True)  # nothing was measured: it starts again
            journal.close()
            assert found is None
            assert path.read_bytes() == whole[:header_end]
        else:
            keys = [point.key for point in load_run(path).points]
            assert keys == ["a", "b"][: len(keys)]
            journal, _ = Journal.open(path, a_header(), resume=True)
            journal.append(measured("c"))
            journal.close()
            again = load_run(path)
            assert [point.key for point in again.points] == [*keys, "c"]
            assert not again.warnings


def test_a_tail_of_zeros_is_dropped(tmp_path: Path) -> None:
    """What a power cut leaves on some file systems."""
    path = tmp_path / "run.jsonl"
    write(path, measured())
    with path.open("ab") as file:
        file.write(bytes(500))
    run = load_run(path)
    assert run.points == [measured()]
    assert len(run.warnings) == 1


@pytest.mark.parametrize(
    ("line", "words"),
    [
        (b'{"record":"point"', ["line 3", "not valid JSON"]),
        (b"", ["line 3", "not valid JSON"]),
        (b"[1]", ["line 3", "not a JSON object"]),
        (dump_line(a_header()).encode(), ["line 3", "second run header"]),
        (dump_line(measured()).replace('"median_ns":6.0', '"median_ns":"fast"').encode(), ["line 3", "median_ns"]),
        (dump_line(failed()).replace('"oom"', '"melted"').encode(), ["line 3", "status", "melted"]),
        (dump_line(failed()).replace('"reason"', '"because"').encode(), ["line 3", "reason"]),
        (dump_line(measured()).replace('"ok"', '"oom"').encode(), ["line 3"]),
        (b"\xff\xfe\x00", ["line 3"]),
    ],
)
def test_a_malformed_line_is_named(tmp_path: Path, line: bytes, words: list[str]) -> None:
    path = tmp_path / "run.jsonl"
    write(path, measured("a"), measured("b"))
    lines = path.read_bytes().splitlines()
    lines.insert(2, line)
    path.write_bytes(b"\n".join(lines) + b"\n")
    text = refusal(load_run, path)
    for word in [str(path), *(word for word in words if word != "melted")]:
        assert word in text
    assert "pydantic" not in text
    assert "http" not in text


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "empty"),
        (b'{"record":"run","schema":1,"run_', "cut off"),
        (b'{"text": "a line of some data set"}\n', "not a run file"),
        (b"[1, 2]\n", "not a run file"),
        (b"hello\n", "not a run file"),
        (b"\x7fELF\x02\x01\x01\x00" + bytes(100), "not a run file"),
        (b'{"record":"run","schema":7,"anything":1}\n', "newer longbench (schema 7"),
        (b'{"record":"run","schema":1}\n', "line 1: run_id"),
    ],
)
def test_what_is_no_run_is_refused_in_one_line(tmp_path: Path, content: bytes, words: str) -> None:
    path = tmp_path / "some.jsonl"
    path.write_bytes(content)
    text = refusal(load_run, path)
    assert str(path) in text
    assert words in text


def test_a_missing_file_and_a_folder_are_refused(tmp_path: Path) -> None:
    assert "no such run file" in refusal(load_run, tmp_path / "none.jsonl")
    assert "folder" in refusal(load_run, tmp_path)


@pytest.mark.parametrize("content", [b"notes\n", b"notes", b'{"a": 1}\n', b"{"])
def test_resume_never_touches_a_foreign_file(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "notes.txt"
    path.write_bytes(content)
    if content != b"{":  # a single brace may be all that a killed run wrote
        refusal(Journal.open, path, a_header(), resume=True)
        assert path.read_bytes() == content
    refusal(Journal.open, tmp_path / "notes.txt", a_header())
    assert path.read_bytes() == content


def test_a_full_device_is_one_clear_line() -> None:
    text = refusal(Journal.open, "/dev/full", a_header())
    assert "/dev/full" in text
    assert "No space left" in text


@contextmanager
def file_size_limit(size: int) -> Iterator[None]:
    """Writes beyond ``size`` bytes fail, after a part was written: as on a full disk, for root as well."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    before = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, before)


def test_a_disk_that_fills_in_the_middle_of_a_line_leaves_a_valid_file(tmp_path: Path) -> None:
    path = tmp_path / "run.jsonl"
    write(path, measured("a"))
    size = path.stat().st_size
    with file_size_limit(size + 100):
        journal, _ = Journal.open(path, a_header(), resume=True)
        text = refusal(journal.append, measured("b"))
    assert str(path) in text
    assert f"--resume {path}" in text
    assert path.stat().st_size == size
    journal.append(measured("b"))  # room was made
    journal.close()
    assert [point.key for point in load_run(path).points] == ["a", "b"]


def test_a_torn_line_that_cannot_be_cut_off_is_one_clear_line(tmp_path: Path) -> None:
    """The first append of a resume does it: that is a write too, and the disk may have failed since."""
    path = tmp_path / "run.jsonl"
    write(path, measured("a"), measured("b"))
    torn = path.read_bytes()[:-30]
    path.write_bytes(torn)
    journal, _ = Journal.open(path, a_header(), resume=True)
    with journal, path.open("rb") as unwritable:
        os.dup2(unwritable.fileno(), journal._descriptor)
        text = refusal(journal.append, measured("b"))
    assert f"{path}: cannot be written" in text
    assert f"--resume {path}" in text
    assert path.read_bytes() == torn


def test_a_place_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    for path in (tmp_path, tmp_path / "file" / "run.jsonl", Path("/proc/run.jsonl")):
        assert str(path) in refusal(Journal.open, path, a_header())


def test_a_file_deleted_while_it_is_written_does_not_swallow_points(tmp_path: Path) -> None:
    journal, _ = Journal.open(tmp_path / "run.jsonl", a_header())
    with journal:
        (tmp_path / "run.jsonl").unlink()
        assert "deleted" in refusal(journal.append, measured())


WRITER = """
import sys
sys.path[:0] = {paths!r}
from test_journal_parts import a_header, measured
from longbench_cli.record.journal import Journal
journal, _ = Journal.open(sys.argv[1], a_header())
number = 0
while True:
    journal.append(measured(f"k{{number}}"))
    number += 1
    print(number, flush=True)
"""


def test_a_killed_writer_loses_nothing_that_it_had_recorded(tmp_path: Path) -> None:
    path = tmp_path / "run.jsonl"
    (tmp_path / "test_journal_parts.py").write_text(Path(__file__).read_text(encoding="utf-8"), encoding="utf-8")
    script = WRITER.format(paths=[str(tmp_path), str(Path.cwd())])
    writer = subprocess.Popen([sys.executable, "-c", script, str(path)], stdout=subprocess.PIPE, text=True)
    assert writer.stdout is not None
    recorded = 0
    for line in writer.stdout:
        recorded = int(line)
        if recorded == 20:
            writer.send_signal(signal.SIGKILL)
    writer.wait()
    keys = [point.key for point in load_run(path).points]
    assert len(keys) >= recorded >= 20
    assert keys == [f"k{number}" for number in range(len(keys))]
    journal, found = Journal.open(path, a_header(), resume=True)  # its lock went with it
    journal.close()
    assert found is not None


def test_appending_reads_nothing_of_what_is_there(tmp_path: Path) -> None:
    """A point costs the same however long the run: counted in bytes read, not in seconds."""
    path = tmp_path / "run.jsonl"
    line = dump_line(measured()).encode() + b"\n"
    path.write_bytes(dump_line(a_header()).encode() + b"\n" + line * 5_000)
    run = load_run(path)
    assert len(run.points) == 5_000
    journal, _ = Journal.open(path, a_header(), resume=True)
    with journal:
        before = _bytes_read()
        journal.append(measured("z"))
        assert _bytes_read() - before < 10_000
    assert path.stat().st_size == run.valid_bytes + len(dump_line(measured("z"))) + 1


def _bytes_read() -> int:
    lines = Path(f"/proc/self/task/{threading.get_native_id()}/io").read_text().splitlines()
    return int(lines[0].split()[1])
