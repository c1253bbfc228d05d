"""``longbench history``: runs kept over time, and where they changed."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from longbench_cli.commands.report import distinct, refuse_input
from longbench_cli.errors import UsageError
from longbench_cli.printable import printable
from longbench_cli.sweep.axes import parse_share, shown

if TYPE_CHECKING:
    from longbench_cli.analyse.history import Series
    from longbench_cli.present.history.view import HistoryView
    from longbench_cli.record.loading import Run

Format = Literal["table", "md", "json", "html"]
FOLDER = Path("longbench-history")
"""Where the history is if nothing else is said."""

_SPAN = re.compile(r"(\d{1,4})([hdw])")
_HOURS = {"h": 1, "d": 24, "w": 24 * 7}
_DATE = re.compile(r"\d{4}-\d\d-\d\d([T ].+)?")
_COMMIT = re.compile(r"[0-9a-fA-F]{7,64}")
_MOST_EFFECT = 1.0


def add(
    runs: Annotated[list[Path], typer.Argument(help="Run files.", metavar="RUN...", show_default=False)],
    *,
    folder: Annotated[Path, typer.Option("--dir", metavar="DIR", help="Where the history is.")] = FOLDER,
    commit: Annotated[
        str | None,
        typer.Option(
            "--commit",
            metavar="SHA",
            help="The commit that was measured (default: the one that the run recorded).",
            show_default=False,
        ),
    ] = None,
) -> None:
    """Copy runs into a folder that is kept, in git or in the cache of a CI system.

    A copy is small: it has every figure, a sample of the iterations, and no name of another process. A run that is
    there already is told, and nothing changes. If one of several runs cannot be added, none is.

    Exit codes: 0 added, or there already; 2 usage.
    """
    from longbench_cli.present.files import write_whole
    from longbench_cli.record.history import new_entries
    from longbench_cli.record.loading import load_run

    loaded = [load_run(path) for path in distinct(runs)]
    _warn([warning for run in loaded for warning in run.warnings])
    entries = new_entries(folder, loaded, commit)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(f"--dir {folder}: cannot be made: {error.strerror}: choose another folder") from None
    for entry in entries:
        if not entry.known:
            write_whole(entry.path, entry.content)
        typer.echo(printable(f"{'there already' if entry.known else 'added'}: {entry.path}"))


def show(
    paths: Annotated[
        list[Path] | None,
        typer.Argument(help="Run files, or folders of them. Default: --dir.", metavar="[PATH]...", show_default=False),
    ] = None,
    *,
    folder: Annotated[
        Path | None,
        typer.Option("--dir", metavar="DIR", help=f"Where the history is (default: {FOLDER}).", show_default=False),
    ] = None,
    since: Annotated[
        str | None,
        typer.Option(
            "--since",
            metavar="DATE|7d|COMMIT",
            help="Show what was run and what changed since then; changes are still looked for in all runs.",
            show_default=False,
        ),
    ] = None,
    key: Annotated[
        str | None,
        typer.Option("--key", metavar="TEXT", help="Only points whose key holds this.", show_default=False),
    ] = None,
    min_effect: Annotated[
        str, typer.Option("--min-effect", metavar="SHARE", help="The smallest step that counts.")
    ] = "3%",
    format_: Annotated[Format, typer.Option("--format", "-f", help="What to make.")] = "table",
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", metavar="FILE", help="Where to, instead of stdout.", show_default=False),
    ] = None,
) -> None:
    """Show each point over many runs, and the runs and commits between which it became slower or faster.

    A run is one value, the median of its sessions. Another machine, another torch or other threads start another
    series. A change takes three runs before it and three after it.

    Exit codes: 0 shown, whatever changed; 2 usage.
    """
    from longbench_cli.analyse.history import build_series
    from longbench_cli.analyse.history import since as cut
    from longbench_cli.present.history.view import HistoryView
    from longbench_cli.record.history import moment_of, read_history

    if paths and folder is not None:
        raise UsageError("--dir: there are paths beside it: give one of them")
    if format_ == "html" and output is None:
        raise UsageError("--format html: a page goes to a file: give one with -o")
    least_effect = parse_share(min_effect, "--min-effect", _MOST_EFFECT)
    runs, warnings = read_history(distinct(paths) if paths else [_existing(folder or FOLDER)])
    _warn(warnings)
    if not runs:
        raise UsageError("no run is left to be shown: add one with `longbench history add`")
    if output is not None:
        refuse_input(output, [run.path for run in runs])
    series = _with_key(build_series(runs, least_effect), key)
    if since is not None:
        start = _start(since, runs, datetime.now(UTC))
        runs, series = [run for run in runs if moment_of(run) >= start], cut(series, start)
        if not series:
            raise UsageError(f"--since {shown(since)}: nothing was run since: go further back")
    _print(HistoryView(series, runs, least_effect), format_, output)


def _warn(warnings: list[str]) -> None:
    for warning in warnings:
        typer.echo(printable(f"longbench: warning: {warning}"), err=True)


def _existing(folder: Path) -> Path:
    if not folder.is_dir():
        raise UsageError(f"{folder}: no such folder: add a run with `longbench history add`, or name run files")
    return folder


def _with_key(series: list[Series], text: str | None) -> list[Series]:
    found = [one for one in series if text is None or text.lower() in one.key.lower()]
    if not found:
        raise UsageError(
            f"--key {shown(text)}: no key of these runs holds it"
            if text is not None
            else "these runs hold no point that was started: measure with `longbench run`"
        )
    return found


def _start(text: str, runs: list[Run], now: datetime) -> datetime:
    """The moment that ``--since`` means: a span before ``now``, a date (UTC), or the first run of a commit."""
    from longbench_cli.record.history import commit_of, moment_of

    try:
        if (span := _SPAN.fullmatch(text)) is not None:
            return now - timedelta(hours=int(span[1]) * _HOURS[span[2]])
        if _DATE.fullmatch(text):
            moment = datetime.fromisoformat(text)
            return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).astimezone(UTC)
    except (ValueError, OverflowError):
        raise UsageError(f"--since {shown(text)}: no such date: expected one such as 2026-11-02") from None
    if not _COMMIT.fullmatch(text):
        raise UsageError(f"--since {shown(text)}: expected a date (2026-11-02), a span (7d, 12h, 4w) or a commit")
    for run in runs:
        if (commit_of(run.header) or "").lower().startswith(text.lower()):
            return moment_of(run)
    raise UsageError(f"--since {shown(text)}: no run recorded this commit: give a date, or a commit that one did")


def _print(view: HistoryView, format_: Format, output: Path | None) -> None:
    from longbench_cli.present.files import write_whole

    if format_ == "table":
        from longbench_cli.present.history.terminal import to_terminal

        content = to_terminal(view, plain=output is not None)
    elif format_ == "html":
        from longbench_cli.present.history.page import render_history

        content = render_history(view)
    else:
        from longbench_cli.present.history.export import to_json, to_markdown

        content = {"md": to_markdown, "json": to_json}[format_](view)
    if output is None:
        typer.echo(content, nl=False)
    else:
        write_whole(output, content)
        typer.echo(printable(f"history: {output}"))
