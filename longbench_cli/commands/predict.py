"""``longbench predict``: what points would take that nobody has measured, from those that somebody has."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from longbench_cli.commands.predict_sections import DEFAULT_SEQ, Where, roofline_section, sections_of_runs
from longbench_cli.commands.report import distinct, refuse_input
from longbench_cli.commands.sweep_options import sweep_options
from longbench_cli.errors import UsageError
from longbench_cli.printable import printable
from longbench_cli.sweep.settings import Settings

if TYPE_CHECKING:
    from longbench_cli.present.predict_view import Section

Format = Literal["table", "md", "json", "html"]

_HERE = "Where it would run"
_OUTPUT = "Where it goes"
_NOT_PREDICTED = frozenset({"profile", "seq", "tokens", *Settings.model_fields, "budget"})
"""How it would be measured is nothing that changes a prediction; and ``--seq`` has another default here."""

_SIZES = ("seq", "gpus", "scaling", "batch", "heads", "kv_heads", "parallel")
"""Options that say what to predict; a point that is held out has its own."""


@sweep_options(but=_NOT_PREDICTED)
def predict(
    sweep: Mapping[str, object],
    files: Annotated[
        list[Path] | None,
        typer.Argument(
            help="Run files, from which it is predicted. Without one, a roofline of --hardware.",
            metavar="[FILE]...",
            show_default=False,
        ),
    ] = None,
    *,
    seq: Annotated[
        str | None,
        typer.Option(
            "--seq",
            metavar="AXIS",
            help=f"Sequence lengths in tokens, as of longbench run (default: {DEFAULT_SEQ}).",
            rich_help_panel="What to sweep",
        ),
    ] = None,
    hardware: Annotated[
        str | None,
        typer.Option(
            "--hardware",
            metavar="NAME|FILE.toml",
            help="Network and memory by a profile: a100, h100, h200, b200, cpu, or yours "
            "(default: that of the device measured on).",
            rich_help_panel=_HERE,
        ),
    ] = None,
    link: Annotated[
        str | None,
        typer.Option(
            "--link",
            metavar="NAME",
            help="Of the profile's links, the one between ranks of a node: nvlink, pcie (default: the profile's).",
            rich_help_panel=_HERE,
        ),
    ] = None,
    per_node: Annotated[
        int | None,
        typer.Option(
            "--per-node",
            metavar="RANKS",
            min=1,
            help="Ranks on a node (default: 8 GPUs; of a CPU all ranks share one machine).",
            rich_help_panel=_HERE,
        ),
    ] = None,
    hold_out: Annotated[
        str | None,
        typer.Option(
            "--hold-out",
            metavar="CONDITION",
            help="Instead: predict measured points from the rest, and say how wrong that was: 'seq>64k', 'gpus>2'.",
            rich_help_panel="How good it is",
        ),
    ] = None,
    format_: Annotated[Format, typer.Option("--format", "-f", help="What to make.", rich_help_panel=_OUTPUT)] = "table",
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", metavar="FILE", help="Where to, instead of stdout.", rich_help_panel=_OUTPUT),
    ] = None,
) -> None:
    """Predict time and memory of lengths, ranks and sizes that nobody has measured, with a 90% interval.

    From run files: a rate of each implementation fitted to its measured points, communication from records of
    several ranks or else from a hardware profile. Without run files: a roofline of --hardware. What fits in memory,
    resident or streamed, is said of every point. --hold-out checks all of it against points that were measured.

    The defaults below are a roofline's. From run files all is predicted that was measured, as it was measured, but
    for --seq and for --gpus.

    Exit codes: 0 predicted; 2 usage.
    """
    asked = {name: value for name, value in {**sweep, "seq": seq}.items() if value is not None}
    if format_ == "html" and output is None:
        raise UsageError("--format html: a page goes to a file: give one with -o")
    if format_ == "html" and hold_out is not None:
        raise UsageError("--format html has no held-out points: leave out --hold-out, or choose table, md or json")
    if hold_out is not None:
        _refuse_sizes([*(name for name in _SIZES if name in asked), *(["per_node"] if per_node else [])])
    paths = distinct(files or [])
    if output is not None:
        refuse_input(output, paths)
    where = Where(hardware, link, per_node)
    if paths:
        sections = sections_of_runs(paths, asked, where, hold_out)
    elif hold_out is not None:
        raise UsageError("--hold-out needs run files: points that were measured")
    elif hardware is None:
        raise UsageError("give run files to predict from, or --hardware NAME for a roofline of what was never measured")
    else:
        sections = [roofline_section(asked, where)]
    _show(sections, format_, output)


def _refuse_sizes(names: Sequence[str]) -> None:
    """Refuse what says what to predict, where it is known: the points that are held out."""
    if names:
        raise UsageError(
            f"--{names[0].replace('_', '-')}: what --hold-out holds out is predicted as it was measured: leave one out"
        )


def _show(sections: list[Section], format_: Format, output: Path | None) -> None:
    from longbench_cli.present.files import write_whole

    if format_ == "table":
        from longbench_cli.present.predict_terminal import render

        content = render(sections, plain=output is not None)
    elif format_ == "html":
        from longbench_cli.present.predict_page import render_predictions

        content = render_predictions(sections)
    else:
        from longbench_cli.present.predict_view import to_json, to_markdown

        content = {"md": to_markdown, "json": to_json}[format_](sections)
    if output is None:
        typer.echo(content, nl=False)
    else:
        write_whole(output, content)
        typer.echo(printable(f"predictions: {output}"))
