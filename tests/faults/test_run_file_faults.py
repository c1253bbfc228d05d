"""What may become of a run file, and who else may write it: it loads, or one line says what is wrong."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
import time
from pathlib import Path

import pytest
from fault_table import FaultTable
from orphans import left_behind, new_marker
from sample_runs import make_case, make_run, measured, realistic_points, unmeasured, write_run

from longbench_cli.app import main
from longbench_cli.errors import UsageError
from longbench_cli.present.export import to_csv, to_json, to_markdown
from longbench_cli.record.journal import Journal, load_run
from longbench_cli.record.schema import dump_line

ROOT = Path(__file__).resolve().parents[2]
NEWLINE = b"\n"
LIGHT = (sys.executable, str(ROOT / "tests" / "support" / "light_longbench.py"))
SWEEP = ("run", "--impl", "vanilla", "--seq", "256:2k", "--device", "cpu")
MANY = 100_000
MANY_CPU_S = 120
MANY_BYTES = 3 << 30
"""Limits on reading and reporting that many points: several times what it takes, far less than anything quadratic."""


def longbench(*words: str | Path) -> int:
    with pytest.raises(SystemExit) as caught:
        main([str(word) for word in words])
    return int(str(caught.value.code or 0))


def refused(capsys: pytest.CaptureFixture[str], *words: str | Path) -> str:
    """The one line that says why."""
    capsys.readouterr()
    assert longbench(*words) == 2
    (line,) = capsys.readouterr().err.splitlines()
    return line


def keys(path: Path) -> list[str]:
    return [point.key for point in load_run(path).points]


def small_run(folder: Path) -> Path:
    """A header and a few points, of every kind of line."""
    points = [
        measured(make_case("dilated", 1024), 2e6, iterations=3),
        unmeasured(make_case(length=1 << 20), "pruned", "predicted 69 s per iteration"),
        measured(make_case(length=2048), 1e6, iterations=2),
    ]
    return write_run(make_run(points, "small.jsonl"), folder)


def test_a_flipped_byte_anywhere(tmp_path: Path, table: FaultTable) -> None:
    """A bit of every byte in turn: never a traceback, and a file that loads can be reported."""
    path = small_run(tmp_path)
    whole = path.read_bytes()
    draw = random.Random(7)
    loaded = 0
    for position in range(len(whole)):
        flipped = bytearray(whole)
        flipped[position] ^= 1 << draw.randrange(8)
        path.write_bytes(flipped)
        error = _error_of_reading(path)
        if isinstance(error, UsageError):
            assert len(str(error).splitlines()) == 1
            assert str(path) in str(error)
        elif error is not None:
            place = f"byte {position} in line {whole.count(NEWLINE, 0, position) + 1}"
            raise AssertionError(f"{place} as {flipped[position]:#x}") from error
        loaded += error is None
    table.count("run file: a flipped byte", tried=len(whole))
    assert 0 < loaded < len(whole)


def _error_of_reading(path: Path) -> Exception | None:
    """What stands in the way of loading the file and of every report that is text."""
    try:
        run = load_run(path)
        for report in (to_json, to_csv, to_markdown):
            report([run])
    except Exception as error:
        return error
    assert len(run.points) == 3 or run.warnings, "a line was lost in silence"
    return None


def test_a_torn_tail_costs_that_line_alone(tmp_path: Path, table: FaultTable) -> None:
    """Lengths that the last line may be cut to; what came before stays, byte by byte, and a resume goes on."""
    path = write_run(make_run(realistic_points()[:3], "torn.jsonl"), tmp_path)
    whole = path.read_bytes()
    last = whole.rindex(b"\n", 0, -1) + 1
    header, points = load_run(path).header, load_run(path).points
    lost = 0
    cuts = range(last, len(whole) - 1, 5)
    for length in cuts:
        path.write_bytes(whole[:length])
        journal, found = Journal.open(path, header, resume=True)
        with journal:
            journal.append(points[-1])
        assert found is not None
        lost += len(points) - 1 - len(found.points)
        assert bool(found.warnings) == (length > last)
        assert path.read_bytes() == whole
    table.count("run file: a torn tail", tried=len(cuts), lost=lost)
    assert not lost


def test_a_foreign_line_is_named_and_left_alone(
    tmp_path: Path, table: FaultTable, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    lines = small_run(tmp_path).read_bytes().splitlines(keepends=True)
    foreign = [b'{"id": 7, "text": "another data set"}\n', b"# a remark\n", b"\n", lines[0], b'{"record":"gate"}\n']
    path = tmp_path / "mixed.jsonl"
    tried = 0
    for line in foreign:
        for place in range(1, len(lines)):
            content = b"".join([*lines[:place], line, *lines[place:]])
            path.write_bytes(content)
            for words in (("report", path), ("report", path, "-f", "csv"), ("run", "--resume", path)):
                said = refused(capsys, *words)
                assert f"{path}: line {place + 1}: " in said
            assert path.read_bytes() == content
            tried += 1
    table.count("run file: a foreign line", tried=tried)
    assert sorted(found.name for found in tmp_path.iterdir()) == ["mixed.jsonl", "small.jsonl"]


def _open_when_read(fifo: Path, reader: subprocess.Popen[str]) -> int:
    """Open a FIFO for writing as soon as somebody reads it; the descriptor."""
    while True:
        try:
            return os.open(fifo, os.O_WRONLY | os.O_NONBLOCK)
        except OSError:
            assert reader.poll() is None, reader.communicate()
            time.sleep(0.01)


def test_a_second_longbench_is_turned_away_and_the_first_loses_nothing(
    tmp_path: Path, table: FaultTable, capsys: pytest.CaptureFixture[str]
) -> None:
    path, gate, marker = tmp_path / "run.jsonl", tmp_path / "gate", new_marker()
    os.mkfifo(gate)
    environment = {**os.environ, **marker, "PYTHONPATH": str(ROOT), "LIGHT_WAIT": f"1024:{gate}"}
    first = subprocess.Popen(
        [*LIGHT, *SWEEP, "-o", path], env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    opened = _open_when_read(gate, first)  # the first waits in the middle of its sweep until this is closed
    try:
        before = path.read_bytes()
        for words in ((*SWEEP, "-o", path), (*SWEEP, "--resume", path), ("run", "--resume", path)):
            said = refused(capsys, *words)
            assert f"{path}: another longbench is writing this file" in said
        assert path.read_bytes() == before
    finally:
        os.close(opened)
    out, err = first.communicate(timeout=300)
    run = load_run(path)
    lost = len(set(run.header.plan) - set(keys(path)))
    left = left_behind(marker)
    table.count("a second longbench on the same file", tried=3, lost=lost, orphans=len(left))
    assert (first.returncode, err) == (0, ""), out
    assert keys(path) == run.header.plan
    assert not left


def test_running_out_of_memory_prunes_the_larger_points_of_the_curve(tmp_path: Path, table: FaultTable) -> None:
    """With the point that proved it; unless it is told not to prune."""
    marker = new_marker()
    environment = {**os.environ, **marker, "PYTHONPATH": str(ROOT), "LIGHT_OOM": "1024"}
    found = {}
    for name, words in (("pruning", ()), ("not", ("--no-prune",))):
        path = tmp_path / f"{name}.jsonl"
        done = subprocess.run(
            [*LIGHT, *SWEEP, "--seq", "256:4k", *words, "-o", path],
            env=environment, capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        found[name] = load_run(path).points
    left = left_behind(marker)
    lost = sum(len(points) != 5 for points in found.values())
    table.count("out of memory in the middle of a curve", tried=2, lost=lost, orphans=len(left))
    assert [point.status for point in found["not"]] == ["ok", "ok", "oom", "oom", "oom"]
    assert [point.status for point in found["pruning"]] == ["ok", "ok", "oom", "pruned", "pruned"]
    for point in found["pruning"][3:]:
        assert point.reason is not None
        assert found["pruning"][2].key in point.reason
    assert not left


# Reports, then tells the most memory that it held, in bytes.
MEASURED = """
import atexit, resource, sys
resource.setrlimit(resource.RLIMIT_CPU, ({cpu}, {cpu}))
atexit.register(lambda: print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024))
from longbench_cli.app import main
main(sys.argv[1:])
"""


def many_points(path: Path) -> None:
    """Two hundred curves, five sessions a point; a third of the points were pruned before a back end was picked."""
    samples = (
        measured(make_case("dilated"), 1e6),
        measured(make_case("vanilla"), 2e6),
        unmeasured(make_case("vanilla", backend="auto"), "pruned", "no memory"),
    )
    records = [json.loads(dump_line(point)) for point in samples]
    header = json.loads(dump_line(make_run(samples).header))
    lines = []
    for number in range(MANY):
        place, session = divmod(number, 5)
        frame, kind = divmod(place, 3)
        length = 1024 + 8 * (frame // 100) + (1 << 20) * (kind == 2)
        heads = 1 + frame % 100
        case = records[kind]["case"] | {"seq_len": length, "heads": heads, "kv_heads": heads}
        lines.append(records[kind] | {"key": f"point {place}", "session": session, "case": case})
    header["settings"]["sessions"] = 5
    header["plan"] = list(dict.fromkeys(line["key"] for line in lines))
    path.write_text("".join(f"{json.dumps(line)}\n" for line in (header, *lines)), encoding="utf-8")


def test_a_hundred_thousand_points_are_read_and_reported(tmp_path: Path, table: FaultTable) -> None:
    """In bounded time and memory, all tables, figures and exports of a page: the kernel ends what takes longer."""
    path, page = tmp_path / "many.jsonl", tmp_path / "many.html"
    many_points(path)
    done = subprocess.run(
        [sys.executable, "-c", MEASURED.format(cpu=MANY_CPU_S), "report", path, "-o", page],
        env={**os.environ, "PYTHONPATH": str(ROOT)}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    table.count("run file: 10^5 points", lost=int(done.returncode != 0))
    assert done.returncode == 0, (done.returncode, done.stderr[-500:])
    assert int(done.stdout.split()[-1]) < MANY_BYTES
    assert page.stat().st_size > path.stat().st_size
