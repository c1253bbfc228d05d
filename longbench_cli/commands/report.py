"""``longbench report``: draws what was recorded."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from longbench_cli.errors import UsageError
from longbench_cli.printable import printable

if TYPE_CHECKING:
    from longbench_cli.record.journal import Run

RUNS_FOLDER = Path("longbench-runs")
"""Where ``longbench run`` puts a run file that was given no name."""

Format = Literal["html", "md", "csv", "json"]


def report(
    files: Annotated[
        list[Path] | None,
        typer.Argument(
            help=f"Run files. Default: the newest in ./{RUNS_FOLDER}.", metavar="[FILE]...", show_default=False
        ),
    ] = None,
    *,
    format_: Annotated[Format, typer.Option("--format", "-f", help="What to make.")] = "html",
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", help="Where to. Default: html beside the run file, the rest to stdout."),
    ] = None,
) -> None:
    """Draw the curves of one or more run files: one self-contained HTML page, or md, csv, json."""
    from longbench_cli.present.files import write_whole
    from longbench_cli.record.journal import load_run

    paths = distinct(files or [_newest(RUNS_FOLDER)])
    if output is None and format_ == "html":
        output = _beside(paths)
    if output is not None:
        refuse_input(output, paths)
    runs = [load_run(path) for path in paths]
    for warning in (warning for run in runs for warning in run.warnings):
        typer.echo(printable(f"longbench: warning: {warning}"), err=True)
    content = _render(runs, format_)
    if output is None:
        typer.echo(content, nl=False)
    else:
        write_whole(output, content)
        typer.echo(printable(f"report: {output}"), err=format_ != "html")


def _render(runs: list[Run], format_: Format) -> str:
    if format_ == "html":
        from longbench_cli.present.report import render_report

        return render_report(runs)
    from longbench_cli.present.export import to_csv, to_json, to_markdown

    return {"md": to_markdown, "csv": to_csv, "json": to_json}[format_](runs)


def _newest(folder: Path) -> Path:
    found = [path for path in folder.glob("*.jsonl") if path.is_file()]
    if not found:
        raise UsageError(f"no run file in ./{folder}: measure with `longbench run` first, or name a run file")
    return max(found, key=lambda path: (path.stat().st_mtime_ns, path.name))


def distinct(paths: list[Path]) -> list[Path]:
    """Each file once, whatever it is called."""
    found: dict[str, Path] = {}
    for path in paths:
        found.setdefault(os.path.realpath(path), path)
    return list(found.values())


def _beside(paths: list[Path]) -> Path:
    first = paths[0]
    more = f"-and-{len(paths) - 1}-more" if len(paths) > 1 else ""
    return first.with_name(f"{first.stem}{more}.html")


def refuse_input(output: Path, paths: list[Path]) -> None:
    """Raise UsageError if ``output`` is one of the files to be read."""
    if any(_same_file(output, path) for path in paths):
        raise UsageError(f"{output}: is a run file to be read, not to be written over: choose another with -o")


def _same_file(one: Path, other: Path) -> bool:
    if os.path.realpath(one) == os.path.realpath(other):
        return True
    try:
        return one.samefile(other)  # hard links
    except OSError:  # one of them is not there
        return False
