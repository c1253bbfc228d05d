"""Where the verdicts of a gate go: the terminal, files, and the job's page on GitHub."""

from __future__ import annotations

import os
from collections.abc import Mapping
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
    """Print the table, or what is behind ``explain``; write the files; tell GitHub, where this runs there.

    Raises:
        UsageError: a file cannot be written; ``explain`` names no point, or several.
    """
    from longbench_cli.present.comparison.explained import explain as explained
    from longbench_cli.present.comparison.terminal import to_terminal

    _write_files(comparison, outputs, inconclusive_fails=inconclusive_fails)
    typer.echo(to_terminal(comparison, plain=False), nl=False)
    if environ.get(ON_GITHUB) == "true":
        _tell_github(comparison, environ.get(SUMMARY), inconclusive_fails=inconclusive_fails)
    if explain is not None:
        typer.echo("\n" + explained(comparison, explain), nl=False)


def _write_files(comparison: Comparison, outputs: Outputs, *, inconclusive_fails: bool) -> None:
    from longbench_cli.present.comparison.junit import to_junit
    from longbench_cli.present.comparison.markdown import to_markdown
    from longbench_cli.present.comparison.page import render_comparison
    from longbench_cli.present.comparison.structured import to_json
    from longbench_cli.present.files import write_whole

    if outputs.html is not None:
        write_whole(outputs.html, render_comparison(comparison, inconclusive_fails=inconclusive_fails))
    if outputs.junit is not None:
        write_whole(outputs.junit, to_junit(comparison, inconclusive_fails=inconclusive_fails))
    if outputs.json is not None:
        write_whole(outputs.json, to_json(comparison, inconclusive_fails=inconclusive_fails))
    if outputs.markdown is not None:
        write_whole(outputs.markdown, to_markdown(comparison))
    for one in fields(outputs):
        path = getattr(outputs, one.name)
        if path is not None:
            typer.echo(printable(f"{one.name}: {path}"), err=True)


def _tell_github(comparison: Comparison, summary: str | None, *, inconclusive_fails: bool) -> None:
    from longbench_cli.present.comparison.annotations import to_annotations
    from longbench_cli.present.comparison.markdown import to_markdown

    typer.echo(to_annotations(comparison, inconclusive_fails=inconclusive_fails), nl=False)
    if summary:
        with Path(summary).open("a", encoding="utf-8") as file:
            file.write(to_markdown(comparison) + "\n")
