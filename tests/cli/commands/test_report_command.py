"""``longbench report``: where it reads, where it writes, and what it refuses."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
import typer
from sample_runs import make_case, make_run, measured, realistic_points, write_run
from typer.testing import CliRunner

from longbench_cli.commands.report import report
from longbench_cli.errors import UsageError


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def run_file(folder: Path) -> Path:
    return write_run(make_run(realistic_points()), folder)


def call(*words: object) -> tuple[str, str]:
    """Standard output and error; raises the UsageError that the program would print."""
    app = typer.Typer()
    app.command()(report)
    result = CliRunner().invoke(app, [str(word) for word in words])
    if isinstance(result.exception, UsageError):
        assert "\n" not in str(result.exception)
        raise result.exception
    assert result.exit_code == 0, result.output
    return result.stdout, result.stderr


def test_html_goes_beside_the_run_file(run_file: Path) -> None:
    stdout, _ = call(run_file)
    page = run_file.with_suffix(".html")
    assert page.read_text(encoding="utf-8").startswith("<!doctype html>")
    assert str(page) in stdout
    assert sorted(path.name for path in run_file.parent.iterdir()) == ["today.html", "today.jsonl"]


def test_no_argument_takes_the_newest_run(folder: Path) -> None:
    runs = folder / "longbench-runs"
    runs.mkdir()
    for age, name in enumerate(("new.jsonl", "old.jsonl")):
        path = write_run(make_run([measured(make_case(), 1e6)], name), runs)
        os.utime(path, (1e9 - age, 1e9 - age))
    call()
    assert [path.name for path in runs.glob("*.html")] == ["new.html"]


def test_no_argument_and_no_run_says_what_to_do(folder: Path) -> None:
    with pytest.raises(UsageError, match="longbench run"):
        call()


def test_text_formats_go_to_stdout(run_file: Path) -> None:
    assert call(run_file, "--format", "md")[0].startswith("### dilated")
    assert call(run_file, "--format", "csv")[0].startswith("run_id,")
    assert json.loads(call(run_file, "--format", "json")[0])["fits"]
    assert list(run_file.parent.iterdir()) == [run_file]


def test_output_names_the_file_for_every_format(run_file: Path) -> None:
    target = run_file.with_name("points.csv")
    stdout, stderr = call(run_file, "-f", "csv", "-o", target)
    assert target.read_text(encoding="utf-8").startswith("run_id,")
    assert stdout == ""
    assert "points.csv" in stderr


def test_several_files_are_combined_and_one_given_twice_counts_once(run_file: Path) -> None:
    other = write_run(make_run([measured(make_case(), 1e6)], "other.jsonl"), run_file.parent)
    call(run_file, other)
    assert (run_file.parent / "today-and-1-more.html").exists()
    content = json.loads(call(run_file, other, run_file.parent / "." / run_file.name, "-f", "json")[0])
    assert [run["file"] for run in content["runs"]] == ["today.jsonl", "other.jsonl"]


def test_a_torn_tail_is_a_warning_in_both_places(run_file: Path) -> None:
    with run_file.open("a") as file:
        file.write('{"record":"point","schema":1,"ke')
    _, stderr = call(run_file)
    assert stderr.startswith("longbench: warning: ")
    assert "is incomplete and was dropped" in stderr
    assert "is incomplete and was dropped" in run_file.with_suffix(".html").read_text(encoding="utf-8")


def test_never_writes_over_what_it_reads(run_file: Path) -> None:
    before = run_file.read_bytes()
    link = run_file.with_name("link.jsonl")
    link.symlink_to(run_file)
    hard = run_file.with_name("hard.jsonl")
    hard.hardlink_to(run_file)
    for target in (run_file, link, hard):
        with pytest.raises(UsageError, match="-o"):
            call(run_file, "-o", target)
    misnamed = run_file.rename(run_file.with_suffix(".html"))
    with pytest.raises(UsageError, match="-o"):
        call(misnamed)
    assert misnamed.read_bytes() == before


@pytest.mark.parametrize("target", ["missing/folder/out.html", ".", "/dev/full", "x" * 300])
def test_an_unwritable_output_is_one_line_and_leaves_nothing(run_file: Path, target: str) -> None:
    with pytest.raises(UsageError, match="cannot write"):
        call(run_file, "-o", target)
    assert list(run_file.parent.iterdir()) == [run_file]


def test_a_disk_that_fills_up_keeps_the_old_report(run_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    target = run_file.with_suffix(".html")
    target.write_text("yesterday's")

    def full(_descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("longbench_cli.present.files.os.fsync", full)
    with pytest.raises(UsageError, match="No space left on device"):
        call(run_file)
    assert target.read_text() == "yesterday's"
    assert sorted(path.name for path in run_file.parent.iterdir()) == ["today.html", "today.jsonl"]


def test_an_output_through_a_link_keeps_the_link(run_file: Path) -> None:
    real = run_file.with_name("real.html")
    real.write_text("old")
    link = run_file.with_name("link.html")
    link.symlink_to(real)
    call(run_file, "-o", link)
    assert link.is_symlink()
    assert real.read_text(encoding="utf-8").startswith("<!doctype html>")


@pytest.mark.parametrize("content", ["", "not json\n", '{"record":"point"}\n'])
def test_a_foreign_file_makes_no_report(folder: Path, content: str) -> None:
    path = folder / "foreign.jsonl"
    path.write_text(content)
    with pytest.raises(UsageError, match=r"foreign\.jsonl"):
        call(path)
    assert list(folder.iterdir()) == [path]
