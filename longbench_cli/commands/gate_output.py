"""Where the verdicts of a gate go: the terminal, files, and the job's page on GitHub."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, fields
from pathlib import Path

import typer

from longbench_cli.analyse.comparison.types import Comparison
from longbench_cli.errors import UsageError
from longbench_cli.printable import printable

SUMMARY = "GITHUB_STEP_SUMMARY"
ON_GITHUB = "GITHUB_ACTIONS"


@dataclass(frozen=True, slots=True)
class Outputs:
    """Files that were asked for."""

    html: Path | None
    junit: Path | None
    json: Path | None
    markdown: Path | None

    def check(self) -> None:
        """Before hours are spent: raises UsageError where a file cannot be written, or two are the same."""
        paths = [path for one in fields(self) if (path := getattr(self, one.name)) is not None]
        for path in paths:
            if path.is_dir():
                raise UsageError(f"{path}: is a folder: name a file inside it")
            if not path.parent.is_dir():
                raise UsageError(f"{path}: there is no folder {path.parent}: make it first")
            if not os.access(path if path.exists() else path.parent, os.W_OK):
                raise UsageError(f"{path}: cannot be written there: choose another place")
        if len({os.path.realpath(path) for path in paths}) < len(paths):
            raise UsageError("--html, --junit, --json and --markdown need a file each: two of them are the same")


def deliver(
    comparison: Comparison,
    outputs: Outputs,
    *,
    explain: str | None,
    inconclusive_fails: bool,
    environ: Mapping[str, str] = os.environ,
) -> None:
    """Print the table, and what is behind ``explain``; tell GitHub, where this runs there; write the files.

    Whatever cannot be written keeps nothing else from being told.

    Raises:
        UsageError: a file cannot be written; ``explain`` names no point, or several.
    """
    from longbench_cli.present.comparison.explained import explain as explained
    from longbench_cli.present.comparison.terminal import to_terminal

    words = "" if explain is None else "\n" + explained(comparison, explain)  # what is asked for wrongly is said first
    typer.echo(to_terminal(comparison, plain=False), nl=False)
    if environ.get(ON_GITHUB) == "true":
        _tell_github(comparison, environ.get(SUMMARY), inconclusive_fails=inconclusive_fails)
    failed = list(_write_files(comparison, outputs, inconclusive_fails=inconclusive_fails))
    typer.echo(words, nl=False)
    if failed:
        raise failed[0]


def _write_files(comparison: Comparison, outputs: Outputs, *, inconclusive_fails: bool) -> Iterator[UsageError]:
    """Write each file that was asked for; yields what went wrong with those that cannot be."""
    from longbench_cli.present.comparison.junit import to_junit
    from longbench_cli.present.comparison.markdown import to_markdown
    from longbench_cli.present.comparison.page import render_comparison
    from longbench_cli.present.comparison.structured import to_json
    from longbench_cli.present.files import write_whole

    made: dict[str, Callable[[], str]] = {
        "html": lambda: render_comparison(comparison, inconclusive_fails=inconclusive_fails),
        "junit": lambda: to_junit(comparison, inconclusive_fails=inconclusive_fails),
        "json": lambda: to_json(comparison, inconclusive_fails=inconclusive_fails),
        "markdown": lambda: to_markdown(comparison),
    }
    for name, make in made.items():
        path = getattr(outputs, name)
        if path is None:
            continue
        try:
            write_whole(path, make())
        except UsageError as error:
            yield error
        else:
            typer.echo(printable(f"{name}: {path}"), err=True)


def _tell_github(comparison: Comparison, summary: str | None, *, inconclusive_fails: bool) -> None:
    from longbench_cli.present.comparison.annotations import to_annotations
    from longbench_cli.present.comparison.markdown import to_markdown

    typer.echo(to_annotations(comparison, inconclusive_fails=inconclusive_fails), nl=False)
    if summary:
        try:
            with Path(summary).open("a", encoding="utf-8") as file:
                file.write(to_markdown(comparison) + "\n")
        except OSError as error:
            typer.echo(printable(f"longbench: warning: {SUMMARY} {summary}: {error.strerror}: no summary"), err=True)
