"""``longbench compare`` as a user sees it: it informs whatever it finds, and every mistake is one line."""

from __future__ import annotations

import json
import math
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from compared import duet_of, failed, planned, run_of, sessions_of
from sample_runs import write_run

from longbench_cli.app import main
from longbench_cli.record.journal import Run

ROOT = Path(__file__).resolve().parents[3]
SLOWER = [math.log(1.1) + 0.001 * step for step in (-3, 2, 0, 3, -2, -1, 1, 0, 2, -2, 3, -3)]
SAME = [0.001 * step for step in (-2, 1, 0, 2, -1, 0)]

Call = Callable[..., tuple[int, str, str]]


@pytest.fixture
def call(capsys: pytest.CaptureFixture[str]) -> Call:
    def run(*words: object) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as leaving:
            main(["compare", *map(str, words)])
        said = capsys.readouterr()
        return int(leaving.value.code or 0), said.out, said.err

    return run


def refused(call: Call, *words: object) -> str:
    code, out, err = call(*words)
    assert (code, out) == (2, "")
    (line,) = err.splitlines()
    return line


def kept(duet: tuple[Run, Run], folder: Path) -> tuple[Path, Path]:
    """A duet as a gate keeps it."""
    folder.mkdir()
    base, candidate = (write_run(run, folder) for run in duet)
    return base.rename(folder / "base.jsonl"), candidate.rename(folder / "candidate.jsonl")


@pytest.fixture
def slower(tmp_path: Path) -> tuple[Path, Path]:
    return kept(duet_of(SLOWER), tmp_path / "slower")


def test_a_regression_is_shown_and_is_no_failure(call: Call, slower: tuple[Path, Path]) -> None:
    code, out, err = call(*slower)
    assert (code, err) == (0, "")
    row = next(line for line in out.splitlines() if line.startswith("regression "))
    assert "vanilla fwd 1k" in row
    assert "+10.0%" in row
    assert "paired, 12 pairs a point" in out
    assert out.splitlines()[-1] == "1 regression of 1 point"


def test_json_says_what_the_gate_would_exit_with(call: Call, slower: tuple[Path, Path]) -> None:
    code, out, _ = call(*slower, "--format", "json")
    found = json.loads(out)
    assert (code, found["exit_code"]) == (0, 1)
    assert found["points"][0]["effect"]["ratio"] == pytest.approx(1.1, rel=5e-3)


def test_markdown_goes_to_stdout_and_a_page_to_a_file(call: Call, slower: tuple[Path, Path], tmp_path: Path) -> None:
    assert call(*slower, "-f", "md")[1].startswith("### longbench: 1 regression of 1 point\n")
    page = tmp_path / "page.html"
    assert call(*slower, "-f", "html", "-o", page) == (0, "", f"comparison: {page}\n")
    assert page.read_text().startswith("<!doctype html>")
    assert "-o" in refused(call, *slower, "-f", "html")


def test_nothing_that_was_read_is_written_over(call: Call, slower: tuple[Path, Path]) -> None:
    before = slower[1].read_bytes()
    assert "-o" in refused(call, *slower, "-f", "md", "-o", slower[1])
    assert slower[1].read_bytes() == before


def test_explain_prints_what_is_behind_one_point(call: Call, slower: tuple[Path, Path]) -> None:
    code, out, _ = call(*slower, "--explain", "vanilla")
    assert code == 0
    assert "regression: vanilla fwd 1k" in out
    assert len([line for line in out.splitlines() if line.count(" ms") == 2]) == 12
    assert "no point is called so" in refused(call, *slower, "--explain", "ring")
    assert "--explain" in refused(call, *slower, "--explain", "vanilla", "-f", "json")


def test_known_noise_raises_the_threshold(call: Call, slower: tuple[Path, Path], tmp_path: Path) -> None:
    wide = [0.12 * (-1) ** step for step in range(12)]
    kept(duet_of(wide, identical=True, duet_id="aa"), tmp_path / "aa")
    points = json.loads(call(*slower, "--noise", tmp_path / "aa", "-f", "json")[1])["points"]
    assert points[0]["threshold"]["share"] > 0.1
    assert points[0]["kind"] != "regression"
    assert "A/A" in refused(call, *slower, "--noise", slower[0].parent)


def test_runs_that_stand_alone_are_compared_by_their_sessions(call: Call, tmp_path: Path) -> None:
    base = write_run(run_of(sessions_of([1e6 + step for step in range(8)]), run_id="before"), tmp_path)
    lost = run_of([failed("oom", "needs 9 GiB")], run_id="after")
    code, out, _ = call(base, write_run(lost, tmp_path))
    assert code == 0
    assert "stored runs" in out
    assert "needs 9 GiB" in out


def test_a_difference_is_named_and_can_be_allowed(call: Call, tmp_path: Path) -> None:
    points = sessions_of([1e6 + step for step in range(8)])
    base = write_run(run_of(points, run_id="before"), tmp_path)
    newer = {"packages": {"torch": "99.1.0"}}
    candidate = write_run(run_of(points, run_id="after", environment=newer), tmp_path)
    assert "--allow torch" in call(base, candidate)[1]
    kinds = json.loads(call(base, candidate, "--allow", "torch, threads", "-f", "json")[1])["kinds"]
    assert kinds["not-comparable"] == 0
    assert "torch" in refused(call, base, candidate, "--allow", "tortch")


def test_latest_is_the_baseline_of_the_other_sides_machine(call: Call, tmp_path: Path) -> None:
    saved = tmp_path / "kept" / "20250101T000000Z-bench"
    saved.mkdir(parents=True)
    points = sessions_of([1e6 + step for step in range(8)])
    write_run(run_of(points, run_id="before"), saved)
    run = write_run(run_of(points, run_id="after"), tmp_path)
    for sides in (("latest", run), (run, "latest")):
        code, out, _ = call(*sides, "--baselines", tmp_path / "kept")
        assert (code, out.splitlines()[-1]) == (0, "1 point, ok")
    assert refused(call, "latest", "latest", "--baselines", tmp_path / "kept")


def test_what_cannot_be_compared_is_one_line(call: Call, slower: tuple[Path, Path], tmp_path: Path) -> None:
    other = write_run(run_of(sessions_of([1e6] * 8, planned(2048)), run_id="other"), tmp_path)
    assert "no point in common" in refused(call, slower[0], other)
    assert "no such run file" in refused(call, slower[0], tmp_path / "none.jsonl")
    assert refused(call, slower[0], slower[0])


def test_a_file_that_was_cut_off_is_said_where_the_table_is_not(call: Call, slower: tuple[Path, Path]) -> None:
    with slower[1].open("a") as file:
        file.write('{"record":"point","sch')
    code, out, err = call(*slower)
    assert (code, err) == (0, "")
    assert "is incomplete and was dropped" in out
    assert "is incomplete and was dropped" in call(*slower, "-f", "json")[2]


def test_it_needs_no_torch(slower: tuple[Path, Path]) -> None:
    call = "from longbench_cli.app import main\ntry: main(sys.argv[1:])\nfinally: assert 'torch' not in sys.modules"
    words = [sys.executable, "-c", f"import sys\n{call}", "compare", *map(str, slower), "-f", "json"]
    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
