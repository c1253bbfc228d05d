"""A run file is read, shown and gone on with; it never runs code, writes elsewhere or steers the terminal."""

from __future__ import annotations

import io
import shlex
import sys
import unicodedata
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from hostile_runs import hostile_lines, write_lines
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from longbench_cli.app import main
from longbench_cli.commands.run_file import default_path, resumed_options
from longbench_cli.errors import UsageError
from longbench_cli.present.progress import PlainDisplay, points_table
from longbench_cli.present.series import NOTHING_VARIES
from longbench_cli.printable import LONGEST, one_line, printable, printable_json
from longbench_cli.record.loading import load_run
from longbench_cli.sweep.options import resolve
from longbench_cli.sweep.plan import Plan, make_plan
from longbench_cli.sweep.settings import Settings

MODULE = """
from pathlib import Path
Path({marker!r}).write_text("imported")
def fn(q, k, v, *, causal):
    return q
"""
SWEEP = ["longbench", "run", "--seq", "1k", "--device", "cpu"]
TERMINAL = "\x1b]0;pwned\x07\x1b[31m\x9b2J\x7f\x08\u202e\r[bold red]x[/bold red]\x1b[A"


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    inside = tmp_path / "inside" / "here"
    inside.mkdir(parents=True)
    monkeypatch.chdir(inside)
    return inside


@pytest.fixture
def marker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Written when ``evil_module``, which is on the path, is imported."""
    marker = tmp_path / "imported"
    modules = tmp_path / "modules"
    modules.mkdir()
    (modules / "evil_module.py").write_text(MODULE.format(marker=str(marker)), encoding="utf-8")
    monkeypatch.syspath_prepend(str(modules))
    monkeypatch.delitem(sys.modules, "evil_module", raising=False)
    return marker


def longbench(*words: object) -> int:
    with pytest.raises(SystemExit) as caught:
        main([str(word) for word in words])
    return int(str(caught.value.code or 0))


def refused(capsys: pytest.CaptureFixture[str], *words: object) -> str:
    capsys.readouterr()
    assert longbench(*words) == 2
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1, lines
    assert "internal error" not in lines[0]
    return lines[0]


def run_file(folder: Path, text: str, name: str = "run.jsonl", **header: Any) -> Path:
    return write_lines(folder / name, hostile_lines(text, **header))


def test_a_module_that_a_run_file_names_is_never_imported(
    folder: Path, marker: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    argv = [*SWEEP, "--impl", "evil_module:fn"]
    path = run_file(folder, "evil_module:fn", argv=argv)
    other = run_file(folder, "evil_module:fn", "other.jsonl", argv=argv)
    assert longbench("report", path) == 0
    assert longbench("report", path, other, "-o", "both.html") == 0
    for kind in ("md", "csv", "json"):
        assert longbench("report", path, other, "--format", kind) == 0
    for what in ("impls", "profiles"):
        assert longbench("list", what) == 0
    assert "evil_module:fn" in capsys.readouterr().out  # it was there to be imported
    text = refused(capsys, "run", "--resume", path)
    assert "'evil_module:fn'" in text
    assert not marker.exists()
    assert "evil_module" not in sys.modules

    command = shlex.split(text.partition("type: ")[2])
    assert command[:2] == ["longbench", "run"]
    assert longbench(*command[1:], "--dry-run") == 0  # named on a command line, it is
    assert marker.exists()


@pytest.mark.parametrize(
    "words",
    [
        ["--impl", "vanilla,evil_module:fn"],
        ["--impl", "vanilla, evil_module:fn"],
        ["--impl_", "evil_module:fn"],
        ["--impl--", "evil_module:fn"],
        ["--impl", "vanilla", "--impl", "evil_module:fn"],
        ["--impl=evil_module:fn"],
        ["--IMPL", "evil_module:fn"],
        ["--profile", "evil.toml"],
        ["--profile", "./evil.toml"],
        ["--profile_", "evil.toml"],
        ["--profile", "../here/evil.toml"],
        ["--attention", "evil_module:fn", "--impl", "transformer"],
        ["--backend", "evil_module:fn"],
        ["--pattern", "evil_module:fn", "--impl", "sparse"],
    ],
)
def test_no_way_round_it(words: list[str], folder: Path, marker: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "evil.toml").write_text('impl = "evil_module:fn"\n', encoding="utf-8")
    path = run_file(folder, "x", argv=[*SWEEP, *words])
    assert longbench("run", "--resume", path) == 2
    assert len(capsys.readouterr().err.splitlines()) == 1
    assert not marker.exists()


def test_a_profile_of_ours_is_gone_on_with_and_a_file_is_to_be_named_again(folder: Path) -> None:
    header = load_run(run_file(folder, "x", argv=["longbench", "run", "--profile", "ci"])).header
    assert resumed_options(header, Path("run.jsonl")) == {"profile": "ci"}
    header = load_run(run_file(folder, "x", argv=["longbench", "run", "--profile", "mine.toml"])).header
    with pytest.raises(UsageError, match=r"type: longbench run --profile mine\.toml --resume 'a run\.jsonl'"):
        resumed_options(header, Path("a run.jsonl"))


def test_a_command_too_long_to_type_is_not_shown(folder: Path) -> None:
    header = load_run(run_file(folder, "x", argv=[*SWEEP, "--impl", "evil_module:" + "f" * 10_000])).header
    with pytest.raises(UsageError, match="give its options again beside --resume"):
        resumed_options(header, Path("run.jsonl"))


@pytest.mark.parametrize(
    ("flag", "value"),
    [
        ("--seed", "x"),
        ("--seed", "[" * 100_000),
        ("--seed", "9" * 5000),
        ("--max-time", "NaN"),
        ("--max-time", "1e999"),
    ],
)
def test_what_a_header_says_of_numbers_is_read_or_refused(
    flag: str, value: str, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = run_file(folder, "x", argv=[*SWEEP, flag, value])
    assert len(refused(capsys, "run", "--resume", path)) <= LONGEST


def test_a_profile_name_with_a_nul_is_refused(folder: Path) -> None:
    with pytest.raises(UsageError, match=r"x\\x00\.toml"):
        resolve({"profile": "x\0.toml"})


def test_a_report_is_the_only_file_that_is_written(folder: Path, tmp_path: Path) -> None:
    for number, text in enumerate(
        ("../../escaped", "/tmp/longbench-escaped", "../../../../../../../../escaped/x.html")
    ):
        path = run_file(folder, text, f"run{number}.jsonl", argv=["longbench", "run", "-o", text, "--output", text])
        before = {file for file in tmp_path.rglob("*") if file.is_file()}
        assert longbench("report", path) == 0
        assert {file for file in tmp_path.rglob("*") if file.is_file()} - before == {path.with_suffix(".html")}
    assert not Path("/tmp/longbench-escaped").exists()


@given(st.text(max_size=200) | st.sampled_from(["../../x", "/etc/x", "a\0b", "..", ".", "", "x" * 500]))
def test_a_run_file_without_a_name_stays_in_its_folder(name: str) -> None:
    sweep = make_plan(resolve({"impl": "vanilla", "seq": "1k", "device": "cpu"}))
    point = sweep.points[0]
    of_impl = Plan(
        (type(point)(**_fields(point) | {"case": point.case.model_copy(update={"impl": name})}),), Settings(), None, {}
    )
    for plan in (of_impl, Plan((), Settings(), name, {})):
        path = default_path(plan, Path("runs"), datetime(2026, 1, 2, tzinfo=UTC))
        assert path.parent == Path("runs")
        assert len(path.name) < 100
        assert path.name.isascii()
        assert path.name.startswith("20260102T")


def _fields(point: Any) -> dict[str, Any]:
    return {name: getattr(point, name) for name in type(point).__dataclass_fields__}


def commanding(text: str) -> set[str]:
    """The characters of ``text`` that a terminal would obey, or that turn the order of others round."""
    return {char for char in text if unicodedata.category(char) in {"Cc", "Cf", "Cs"} - {"\n"} and char != "\n"}


def test_nothing_in_a_run_file_reaches_the_terminal_raw(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = run_file(folder, TERMINAL, argv=[*SWEEP, "--impl", f"{TERMINAL}:fn"])
    with path.open("a") as file:
        file.write('{"record":')
    seen = []
    for words in (
        ["report", path],
        *(["report", path, "-f", kind] for kind in ("md", "csv", "json")),
        ["run", "--resume", path],
        ["run", "--resume", path, *SWEEP[2:], "--impl", "vanilla"],
        ["run", "--resume", path, *SWEEP[2:], "--impl", "vanilla", "--json"],
        ["report", f"{TERMINAL}.jsonl"],
        ["run", "--profile", f"{TERMINAL}.toml"],
        ["run", "--impl", TERMINAL],
        ["run", "--seq", TERMINAL],
        [TERMINAL],
        ["run", f"--{TERMINAL}"],
    ):
        longbench(*words)
        captured = capsys.readouterr()
        assert not commanding(captured.out + captured.err), words
        seen.append(captured.out + captured.err)
    assert sum("pwned" in text for text in seen) >= 10


def test_a_header_shown_as_json_is_the_same_header(folder: Path) -> None:
    path = run_file(folder, TERMINAL)
    run = load_run(path)
    from longbench_cli.record.schema import dump_line

    assert not commanding(dump_line(run.header))
    again = write_lines(folder / "again.jsonl", [])
    again.write_text("".join(f"{dump_line(line)}\n" for line in (run.header, *run.points)), encoding="utf-8")
    loaded = load_run(again)
    assert (loaded.header, loaded.points) == (run.header, run.points)


def test_progress_shows_hostile_words_as_they_are_written(folder: Path) -> None:
    points = load_run(run_file(folder, TERMINAL)).points
    out = io.StringIO()
    console = Console(file=out, width=4000, color_system=None)
    plain = PlainDisplay(console, len(points), 0)
    for point in points:
        plain.finished(point)
    console.print(points_table(points, NOTHING_VARIES))
    assert not commanding(out.getvalue())
    assert "\\x1b]0;pwned\\x07" in out.getvalue()
    assert "[bold red]x[/bold red]" in out.getvalue()


@given(st.text())
def test_printable_text_is_printable_and_json_stays_the_same(text: str) -> None:
    import json

    assert not commanding(printable(text))
    assert "\n" not in printable(text)
    encoded = json.dumps(text, ensure_ascii=False)
    assert json.loads(printable_json(encoded)) == text
    assert not commanding(printable_json(encoded))
    assert len(one_line(text * 50)) <= LONGEST


def test_visible_text_and_spaces_are_left_alone() -> None:
    text = "1.5\u2009ms, ±0.8%, µs, 8k–64k, 長い, 🙂, x\u00a0y"
    assert printable(text) == one_line(text) == text


def test_a_long_message_keeps_its_place_and_its_remedy() -> None:
    text = str(UsageError("run.jsonl: line 1: " + "x" * 10_000 + ":\n\n  repair that line"))
    assert text.startswith("run.jsonl: line 1: xxx")
    assert text.endswith("x: repair that line")
    assert len(text) == LONGEST
