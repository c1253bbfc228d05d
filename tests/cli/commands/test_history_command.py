"""``longbench history``: a folder that runs are added to, and what is shown of it."""

from __future__ import annotations

import html
import json
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from compared import failed, measured, planned, run_of
from sample_runs import write_run

from longbench_cli import app
from longbench_cli.analyse.history import build_series
from longbench_cli.present.history.figure import history_figure
from longbench_cli.record.history import read_history
from longbench_cli.record.schema import Duet

ROOT = Path(__file__).resolve().parents[3]
OLD = sorted(path for path in (ROOT / "docs" / "results").glob("*/*.jsonl") if "gate" not in path.parent.name)
WRONG = "\x1b[31m<b>wrong</b>"


def commit(number: int) -> str:
    return f"{number:x}" * 40


def night(number: int, median_ns: float, *more: Any, **changes: Any) -> Path:
    """The run file of a night of November, measured at a commit of that number."""
    git = {"commit": commit(number), "dirty": number == 6}
    points = [measured(median_ns=median_ns * factor, session=place) for place, factor in enumerate((0.999, 1, 1.002))]
    run = run_of([*points, *more], run_id=f"night-{number}", created=f"2026-11-{number:02}T01:00:00Z",
                 environment={"git": git}, **changes)  # fmt: skip
    return write_run(run, Path.cwd())


def nights(reason: str = "needed 9.1 GiB, 7.2 GiB are free") -> list[Path]:
    """Nine of them: 10% slower from the sixth, and a second point that no longer fits from the seventh."""
    levels = [1.000e6, 1.001e6, 0.998e6, 1.002e6, 1.000e6, 1.101e6, 1.100e6, 1.098e6, 1.102e6]
    long = planned(4096)
    return [
        night(number, level, measured(long, median_ns=8e6) if number < 7 else failed("oom", reason, long))
        for number, level in enumerate(levels, 1)
    ]


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def call(capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str, str]]:
    def run(*words: object) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as leaving:
            app.main(["history", *map(str, words)])
        said = capsys.readouterr()
        return int(leaving.value.code or 0), said.out, said.err

    return run


Call = Callable[..., tuple[int, str, str]]


def shown(call: Call, *words: object) -> str:
    code, out, err = call("show", *words)
    assert (code, err) == (0, "")
    return out


def test_runs_that_are_added_are_shown_with_the_commits_between_which_they_changed(call: Call) -> None:
    code, out, err = call("add", *nights(WRONG))
    assert (code, err, out.count("added: longbench-history/202611")) == (0, "", 9)
    text = shown(call)
    (slower,) = [line for line in text.splitlines() if "+10.0% (95%" in line]
    assert slower.startswith("vanilla fwd 1k")
    assert "1.000 ms to 1.100 ms" in slower
    assert f"between {commit(5)[:9]} (2026-11-05 01:00, 20261105T010000Z-night-5.jsonl)" in slower
    assert f"and {commit(6)[:9]}+changes (2026-11-06" in slower
    (event,) = [line for line in text.splitlines() if "ok to oom" in line]
    assert event.startswith("vanilla fwd 4k: status ok to oom (\\x1b[31m<b>wrong</b>), between")
    (row,) = [line for line in text.splitlines() if re.match(r"vanilla fwd 1k +ok ", line)]
    assert re.search(r"1\.100 ms +\+0\.2% +\+10\.0% at 666666666\+changes +9 +[▁▂]{5}[▇█]{4}", row)
    assert "×××" in text
    assert "longbench gate" not in text  # commits lie between: no word of the machine
    assert text.splitlines()[-1] == "9 runs, 2 series: 1 slower, 1 other change"
    assert "\x1b" not in text


def test_the_example_of_the_docs_is_what_these_nights_print(call: Call) -> None:
    call("add", *nights())
    example = re.search(
        r"^```text\n(.*?)^```", (ROOT / "docs" / "history.md").read_text("utf-8"), re.MULTILINE | re.DOTALL
    )
    assert example is not None
    assert example[1].splitlines() == [line.rstrip() for line in shown(call).splitlines()]


def test_adding_again_changes_nothing_and_says_so(call: Call) -> None:
    paths = nights()
    call("add", *paths)
    before = {path.name: path.stat().st_mtime_ns for path in Path("longbench-history").iterdir()}
    code, out, _ = call("add", paths[0], "--dir", "longbench-history")
    assert code == 0
    assert out == "there already: longbench-history/20261101T010000Z-night-1.jsonl\n"
    assert {path.name: path.stat().st_mtime_ns for path in Path("longbench-history").iterdir()} == before


def test_if_one_run_cannot_be_added_none_is(call: Call) -> None:
    bad = Path("bad.jsonl")
    bad.write_text("{}\n", encoding="utf-8")
    code, out, err = call("add", night(1, 1e6), bad, "--dir", "kept")
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert "bad.jsonl: is not a run file of longbench" in err
    assert not Path("kept").exists()


def test_a_full_disk_leaves_no_half(call: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    paths = nights()[:2]
    monkeypatch.setattr("os.fsync", lambda _file: (_ for _ in ()).throw(OSError(28, "No space left on device")))
    code, out, err = call("add", *paths)
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert "No space left on device" in err
    assert list(Path("longbench-history").iterdir()) == []


def test_the_commit_of_a_run_can_be_given(call: Call) -> None:
    call("add", night(1, 1e6), "--commit", "abcdef0")
    (run,) = json.loads(shown(call, "--format", "json"))["series"][0]["runs"]
    assert (run["run_id"], run["commit"], run["sessions"]) == ("night-1", "abcdef0", 3)


def test_json_holds_every_run_and_every_change(call: Call) -> None:
    nights()
    found = json.loads(shown(call, ".", "--format", "json"))
    short, long = found["series"]
    assert found["min_effect"] == 0.03
    assert [run["status"] for run in long["runs"]] == ["ok"] * 6 + ["oom"] * 3
    assert [run["created"][:10] for run in short["runs"]] == [f"2026-11-{day:02}" for day in range(1, 10)]
    (change,) = short["changes"]
    assert change["ratio"] == pytest.approx(1.1, rel=0.01)
    assert (change["before"]["commit"], change["after"]["commit"]) == (commit(5), commit(6))
    assert (change["runs_before"], change["runs_after"]) == (5, 4)
    assert change["ratio_95"][0] < change["ratio"] < change["ratio_95"][1]
    assert (long["events"][0]["was"], long["events"][0]["now"]) == ("ok", "oom")


def test_markdown_escapes_what_files_say(call: Call) -> None:
    nights(WRONG)
    text = shown(call, ".", "--format", "md")
    assert text.startswith("**9 runs, 2 series: 1 slower, 1 other change**")
    assert r"\<b\>wrong\</b\>" in text
    assert "| vanilla fwd 1k | ok |" in text


def test_the_page_has_a_figure_a_series_with_its_change_marked(call: Call) -> None:
    nights(WRONG)
    assert shown(call, ".", "--format", "html", "-o", "trend.html") == "history: trend.html\n"
    page = Path("trend.html").read_text(encoding="utf-8")
    assert "<b>wrong" not in page
    assert "default-src 'none'" in html.unescape(page)
    data = json.loads(re.search(r'id="longbench-data">(.*?)</script>', page, re.DOTALL)[1])  # type: ignore[index]
    assert list(data["figures"]) == ["0", "1"]
    assert all(f'id="figure-{name}"' in page for name in data["figures"])
    levels, times, change = (data["figures"]["0"]["data"][place] for place in (0, 2, 3))
    assert levels["x"] == [0.5, 5.5]
    assert times["y"] == pytest.approx([1.0, 1.001, 0.998, 1.002, 1.0, 1.101, 1.1, 1.098, 1.102], rel=1e-3)
    assert f"{commit(6)[:9]}+changes (2026-11-06 01:00" in times["hovertext"][5]
    assert (change["x"], change["text"]) == ([5.5, 5.5], ["", "+10.0%"])
    assert data["figures"]["0"]["layout"]["yaxis"]["type"] == "linear"
    crosses = data["figures"]["1"]["data"][-1]
    assert crosses["x"] == [7, 8, 9]
    assert json.loads(data["files"][0])["series"]


def test_a_page_of_many_series_draws_what_changed_and_folds_the_rest(call: Call) -> None:
    for number in range(1, 9):
        rest = [measured(planned(1024 * n), median_ns=1e6 * n) for n in range(2, 30)]
        night(number, 1e6 if number < 5 else 1.2e6, *rest)
    shown(call, ".", "--format", "html", "-o", "trend.html")
    page = Path("trend.html").read_text(encoding="utf-8")
    folds = re.findall(r'<details class="fold"( open)?><summary>(.*?)</summary>', page)
    assert len(folds) == 29
    assert [name for is_open, name in folds if is_open] == ["vanilla fwd 1k"]
    assert folds[0][1] == "vanilla fwd 1k"


def hours(count: int, *, days: int = 1, **changes: Any) -> list[Path]:
    """Runs of code that recorded no commit, in files of one name; slower by a tenth from the middle on."""
    paths = []
    for number in range(count):
        created = f"2026-11-{1 + number * days // count:02}T{number % 24:02}:02:00Z"
        level = 1e6 * (1.1 if number >= count // 2 else 1) * (1 + 0.001 * (number % 3))
        run = run_of([measured(median_ns=level)], run_id=f"hour-{number}", created=created, **changes)
        folder = Path(f"a-folder-of-the-gate-{number:02}")
        folder.mkdir()
        paths.append(write_run(run, folder).rename(folder / "candidate.jsonl"))
    return paths


def test_without_commits_runs_are_told_apart_by_their_time_and_the_machine_is_named(call: Call) -> None:
    text = shown(call, *hours(24, environment={"git": None}))
    table, said = text.split("\n\n", 1)
    assert "+10.0% at 2026-11-01 12:02" in table
    assert max(map(len, table.splitlines())) < 110
    assert "between 2026-11-01 11:02 (candidate.jsonl, no commit recorded) and 2026-11-01 12:02 (candidate" in said
    assert "a-folder-of-the-gate" not in text
    assert "between the sides of 1 change: the machine may have changed as well as the code. `longbench gate`" in said


def test_a_change_within_one_commit_may_be_the_machine_too(call: Call) -> None:
    paths = hours(8, environment={"git": {"commit": commit(1), "dirty": False}})
    assert "the sides of 1 change: the machine may have changed" in shown(call, *paths, "-f", "md")


def figure_of(paths: list[Path]) -> Any:
    return history_figure(build_series(read_history(paths)[0], 0.03)[0]).to_plotly_json()


def test_a_run_from_a_gate_says_so_when_pointed_at(call: Call) -> None:
    paths = hours(6, duet=Duet(id="d", side="candidate", label="here", identical=True))
    assert all("from an A/A gate" in text for text in figure_of(paths)["data"][2]["hovertext"])
    call("add", *paths)
    assert "from a gate" in shown(call)


@pytest.mark.parametrize(
    ("count", "days", "title", "newest"),
    [
        (24, 1, "time of the run on 2026-11-01, UTC", "23:02"),
        (24, 6, "time of the run, UTC", "2026-11-06<br>23:02"),
        (6, 6, "day of the run, UTC", "2026-11-06"),
    ],
)
def test_the_axis_shows_hours_where_runs_share_a_day(count: int, days: int, title: str, newest: str) -> None:
    axis = figure_of(hours(count, days=days))["layout"]["xaxis"]
    assert (axis["title"]["text"], axis["ticktext"][-1]) == (title, newest)
    assert len(set(axis["ticktext"])) == len(axis["ticktext"]) <= 4


def test_since_a_date_a_commit_or_a_span(call: Call) -> None:
    nights()

    def days(since: str) -> tuple[list[str], int]:
        short = json.loads(shown(call, ".", "--format", "json", "--key", "n1024", "--since", since))["series"][0]
        return [run["created"][8:10] for run in short["runs"]], len(short["changes"])

    assert days("2026-11-06") == (["06", "07", "08", "09"], 1)
    assert days("2026-11-06T02:00:00+00:00") == (["07", "08", "09"], 0)
    assert days(commit(8)[:7]) == (["08", "09"], 0)
    now = datetime.now(UTC)
    fresh = run_of([measured()], run_id="now", created=(now - timedelta(hours=30)).strftime("%Y-%m-%dT%H:%M:%SZ"))
    write_run(fresh, Path.cwd())
    assert len(json.loads(shown(call, "now.jsonl", "--since", "2d", "-f", "json"))["series"][0]["runs"]) == 1
    assert "nothing was run since" in call("show", "now.jsonl", "--since", "24h")[2]


def test_the_least_effect_and_the_key_can_be_chosen(call: Call) -> None:
    nights()
    assert "9 runs, 2 series: 1 other change" in shown(call, ".", "--min-effect", "0.15")
    text = shown(call, ".", "--key", "N4096")
    assert "9 runs, 1 series: 1 other change" in text


def test_one_run_is_shown_without_a_trend(call: Call) -> None:
    text = shown(call, night(1, 1e6))
    assert "One run: no trend." in text
    assert "1 run, 1 series: no change" in text
    assert "1.000 ms" in text


def test_older_files_load_and_can_be_kept(call: Call, tmp_path: Path) -> None:
    """Files from before sessions, verdicts and turns were recorded, as they were written then."""
    assert len(OLD) > 5
    found = json.loads(shown(call, *OLD, "--format", "json"))["series"]
    assert sum(len(one["runs"]) for one in found) > 200
    assert {one["fingerprint"]["cpu"] for one in found} == {"AMD EPYC"}
    code, _, err = call("add", *OLD, "--dir", "kept")
    assert (code, err) == (0, "")
    again = json.loads(shown(call, "--dir", "kept", "--format", "json"))["series"]
    medians = [{run["run_id"]: run["median_ns"] for run in one["runs"]} for one in again]
    assert medians == [{run["run_id"]: run["median_ns"] for run in one["runs"]} for one in found]
    kept = {path: path.stat().st_size for path in Path("kept").iterdir()}
    assert max(kept.values()) < 200_000
    shutil.rmtree("kept")


def test_nothing_of_it_needs_torch() -> None:
    nights()
    code = (
        "import atexit, os, sys\n"
        "atexit.register(lambda: os.write(2, b'torch' if 'torch' in sys.modules else b'light'))\n"
        "from longbench_cli.app import main\n"
        "main(['history', 'show', '.', '--format', 'md'])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], env={"PYTHONPATH": str(ROOT)}, capture_output=True, text=True, check=True
    )
    assert done.stderr == "light"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("show",), "longbench-history: no such folder: add a run with `longbench history add`"),
        (("show", "--dir", "nowhere"), "nowhere: no such folder"),
        (("show", "missing.jsonl"), "missing.jsonl: no such run file"),
        (("show", "empty"), "empty: holds no run file (*.jsonl)"),
        (("show", "torn"), "torn/bad.jsonl: is not a run file of longbench"),
        (("show", "one.jsonl", "--dir", "empty"), "--dir: there are paths beside it"),
        (("show", "one.jsonl", "--key", "n77"), "--key 'n77': no key of these runs holds it"),
        (("show", "one.jsonl", "--since", "tomorrow"), "--since 'tomorrow': expected a date (2026-11-02), a span (7d"),
        (("show", "one.jsonl", "--since", "2026-13-01"), "--since '2026-13-01': no such date"),
        (("show", "one.jsonl", "--since", "fffffff"), "--since 'fffffff': no run recorded this commit"),
        (("show", "one.jsonl", "--min-effect", "0"), "--min-effect '0': expected a share such as 5% or 0.05"),
        (("show", "one.jsonl", "--min-effect", "nan%"), "--min-effect 'nan%': expected a share"),
        (("show", "one.jsonl", "-f", "html"), "--format html: a page goes to a file: give one with -o"),
        (("show", "one.jsonl", "-f", "md", "-o", "one.jsonl"), "one.jsonl: is a run file to be read"),
        (("add", "missing.jsonl"), "missing.jsonl: no such run file"),
        (("add", "one.jsonl", "--commit", "HEAD"), "--commit 'HEAD': no hash of a commit"),
        (("add", "one.jsonl", "--dir", "one.jsonl"), "--dir one.jsonl: cannot be made"),
        (("add",), "Missing argument 'RUN...'"),
        (("remove",), "No such command 'remove'"),
    ],
)
def test_what_cannot_be_done_is_refused_in_one_line(call: Call, words: tuple[str, ...], message: str) -> None:
    night(1, 1e6).rename("one.jsonl")
    Path("empty").mkdir()
    Path("torn").mkdir()
    Path("torn/bad.jsonl").write_text("hello\n", encoding="utf-8")
    before = Path("one.jsonl").read_bytes()
    code, out, err = call(*words)
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert message in err
    assert Path("one.jsonl").read_bytes() == before
    assert not Path("longbench-history").exists()
