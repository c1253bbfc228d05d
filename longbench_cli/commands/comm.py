"""``longbench comm``: what ranks receive from each other, computed, and as counted where it was measured."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from longbench_cli.commands import run_options as options
from longbench_cli.commands.report import distinct, refuse_input
from longbench_cli.errors import UsageError
from longbench_cli.printable import printable

if TYPE_CHECKING:
    from longbench_cli.analyse.comm import Exchanges
    from longbench_cli.analyse.comm_counted import CountedPoint
    from longbench_cli.present.comm_view import CommView
    from longbench_cli.sweep.options import ResolvedOptions

DEFAULTS = {"impl": "dilated,vanilla", "seq": "8k:512m:x4", "gpus": "4:4096:x4"}
_PIPE_WIDTH = 10_000

Format = Literal["table", "md", "json"]

_sweep = partial(typer.Option, rich_help_panel="What to sweep", show_default=False)


def comm(
    files: Annotated[
        list[Path] | None,
        typer.Argument(
            help="Run files: what their ranks counted is set beside what is computed.",
            metavar="[FILE]...",
            show_default=False,
        ),
    ] = None,
    *,
    impl: Annotated[
        str | None, _sweep("--impl", metavar="NAMES", help=f"Attentions and models (default: {DEFAULTS['impl']}).")
    ] = None,
    seq: Annotated[
        str | None, _sweep("--seq", metavar="AXIS", help=f"Tokens of a sequence (default: {DEFAULTS['seq']}).")
    ] = None,
    gpus: Annotated[
        str | None, _sweep("--gpus", metavar="AXIS", help=f"Ranks that share it (default: {DEFAULTS['gpus']}).")
    ] = None,
    scaling: options.Scaling = None,
    batch: options.Batch = None,
    heads: options.Heads = None,
    kv_heads: options.KvHeads = None,
    head_dim: options.HeadDim = None,
    dtype: options.Dtype = None,
    causal: options.Causal = None,
    pass_: options.Pass = None,
    parallel: options.Parallel = None,
    schedule: options.Schedule = None,
    segments: options.Segments = None,
    dilations: options.Dilations = None,
    offsets: options.Offsets = None,
    preset: options.Preset = None,
    depth: options.Depth = None,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", metavar="FILE.html", help="Also draw it: bytes against N, and against P."),
    ] = None,
    format_: Annotated[Format, typer.Option("--format", "-f", help="How to print it.")] = "table",
) -> None:
    """Show what a rank receives from the others, for every length and number of ranks, and how that grows.

    Nothing is run: all of it follows from the algorithm, without torch and for up to 16384 ranks. Beside it
    stands what ranks counted, where a run file has that point.

    Exit codes: 0 shown; 2 usage.
    """
    from longbench_cli.analyse.comm_counted import counted_points
    from longbench_cli.present.files import write_whole
    from longbench_cli.record.journal import load_run
    from longbench_cli.sweep.options import resolve

    paths = distinct(files or [])
    if output is not None:
        _refuse_output(output, paths)
    given = {
        "impl": impl, "seq": seq, "gpus": gpus, "scaling": scaling, "batch": batch, "heads": heads,
        "kv_heads": kv_heads, "head_dim": head_dim, "dtype": dtype, "causal": causal, "pass": pass_,
        "parallel": parallel, "schedule": schedule, "segments": segments, "dilations": dilations, "offsets": offsets,
        "preset": preset, "depth": depth,
    }  # fmt: skip
    asked = {name: DEFAULTS.get(name) if value is None else value for name, value in given.items()}
    resolved = resolve({**asked, "device": "cpu"})  # to name a device spares looking for one
    runs = [load_run(path) for path in paths]
    for warning in (warning for run in runs for warning in run.warnings):
        typer.echo(printable(f"longbench: warning: {warning}"), err=True)
    view = _view(resolved, counted_points(runs))
    if output is not None:
        from longbench_cli.present.comm_page import render_comm

        write_whole(output, render_comm(view, _command(asked, paths)))
    _print(view, format_)
    if output is not None:
        typer.echo(printable(f"page: {output}"), err=format_ != "table")


def _command(asked: Mapping[str, str | None], paths: Sequence[Path]) -> str:
    """The command line that shows the same, defaults spelled out."""
    words = [word for name, text in asked.items() if text for word in (f"--{name.replace('_', '-')}", text)]
    return shlex.join(["longbench", "comm", *words, *map(str, paths)])


def _refuse_output(output: Path, paths: list[Path]) -> None:
    if output.suffix.lower() != ".html":
        raise UsageError(
            f"--output {output}: the page is HTML: give a name that ends in .html; md and json go to stdout"
        )
    refuse_input(output, paths)


def _view(resolved: ResolvedOptions, counted: list[CountedPoint]) -> CommView:
    from longbench_cli.analyse.comm_counted import same_exchange
    from longbench_cli.present.comm_view import CommView

    found: dict[str, list[CountedPoint]] = {}
    for point in counted:
        found.setdefault(same_exchange(point.case), []).append(point)
    groups = _groups(resolved, found)
    shown = {same_exchange(point.case) for group in groups for point in group.points}
    return CommView(tuple(groups), tuple(key for key in found if key not in shown))


def _groups(resolved: ResolvedOptions, counted: dict[str, list[CountedPoint]]) -> list[Exchanges]:
    from longbench_cli.analyse.comm import exchange_of, grouped
    from longbench_cli.analyse.comm_counted import same_exchange
    from longbench_cli.sweep.plan import cases_of, misfit

    points = []
    for case, impl in cases_of(resolved):
        if case.world_size == 1:
            continue
        try:
            points.append(exchange_of(case, impl, counted.get(same_exchange(case), ())))
        except Exception as error:  # an implementation may be anybody's code
            raise misfit(error, impl, case.shape, resolved) from error
    if not points:
        raise UsageError(f"{resolved.where('gpus')}: one rank receives nothing from others; give 2 or more")
    return grouped(points, weak=resolved.values.scaling == "weak")


def _print(view: CommView, format_: Format) -> None:
    if format_ != "table":
        typer.echo(view.as_markdown() if format_ == "md" else view.as_json(), nl=False)
        return
    from rich.console import Console

    console = Console(highlight=False, markup=False)
    if not console.is_terminal:  # a pipe has no width: one line a row
        console.width = _PIPE_WIDTH
    for item in view.as_renderables():
        console.print(item)
