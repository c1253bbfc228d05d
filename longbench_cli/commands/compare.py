"""``longbench compare``: two runs, or two sides of a gate, point by point. It informs; ``gate`` decides."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from longbench_cli.commands.compare_sides import allowed_fields, compare_sides, load_noise, load_sides
from longbench_cli.commands.gate_options import Allow, Baselines, Noise
from longbench_cli.commands.report import refuse_input
from longbench_cli.errors import UsageError
from longbench_cli.printable import printable

if TYPE_CHECKING:
    from longbench_cli.analyse.comparison.types import Comparison

Format = Literal["table", "md", "json", "html"]


def compare(
    base: Annotated[
        str, typer.Argument(metavar="BASE", help="A run file, a folder of runs, or latest of the baselines.")
    ],
    candidate: Annotated[str, typer.Argument(metavar="CANDIDATE", help="The same, of what is to be judged.")],
    *,
    format_: Annotated[Format, typer.Option("--format", "-f", help="What to make.")] = "table",
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", metavar="FILE", help="Where to, instead of stdout. html needs one."),
    ] = None,
    point: Annotated[
        str | None,
        typer.Option(
            "--explain",
            metavar="POINT",
            help="Instead: everything behind the verdict of one point, by its key or by words of its name.",
        ),
    ] = None,
    allow: Allow = None,
    noise: Noise = None,
    baselines: Baselines = None,
) -> None:
    """Compare two runs point by point: candidate over base with its 95% interval, a verdict, and why.

    Both sides of a gate (base.jsonl, candidate.jsonl of its folder) are compared pair by pair. Other runs are compared
    by the medians of their sessions, at least 8 of each side, which is weaker: measure with --sessions 8 or more.

    Exit codes: 0 compared, whatever was found; 2 usage. To fail on a regression, use longbench gate.
    """
    if point is not None and format_ != "table":
        raise UsageError(f"--format {format_}: --explain prints text about one point: leave one of them out")
    if format_ == "html" and output is None:
        raise UsageError("--format html: a page goes to a file: give one with -o")
    fields = allowed_fields(allow)
    known = load_noise(noise)
    sides = load_sides(base, candidate, baselines)
    if output is not None:
        refuse_input(output, [run.path for side in sides for run in side])
    found = compare_sides(sides, known, fields)
    if format_ != "table" or output is not None or point is not None:  # a table on the screen has them itself
        for warning in found.warnings:
            typer.echo(printable(f"longbench: warning: {warning}"), err=True)
    content = _explained(found, point) if point is not None else _render(found, format_, plain=output is not None)
    _write(content, output)


def _render(comparison: Comparison, format_: Format, *, plain: bool) -> str:
    """The comparison in one of the formats; a table is ``plain`` where it goes to a file."""
    if format_ == "html":
        from longbench_cli.present.comparison.page import render_comparison

        return render_comparison(comparison)
    if format_ == "json":
        from longbench_cli.present.comparison.structured import to_json

        return to_json(comparison)
    if format_ == "md":
        from longbench_cli.present.comparison.markdown import to_markdown

        return to_markdown(comparison)
    from longbench_cli.present.comparison.terminal import to_terminal

    return to_terminal(comparison, plain=plain)


def _write(content: str, output: Path | None) -> None:
    """To stdout, or whole to a file, which is named on stderr."""
    from longbench_cli.present.files import write_whole

    if output is None:
        typer.echo(content, nl=False)
    else:
        write_whole(output, content)
        typer.echo(printable(f"comparison: {output}"), err=True)


def _explained(comparison: Comparison, point: str) -> str:
    from longbench_cli.present.comparison.explained import explain

    return explain(comparison, point)
