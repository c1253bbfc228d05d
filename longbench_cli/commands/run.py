"""``longbench run``: plans a sweep, verifies and times each point, and records it at once."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from longbench_cli.commands import where_options as where
from longbench_cli.commands.report import RUNS_FOLDER
from longbench_cli.commands.sweep_options import sweep_options
from longbench_cli.errors import UsageError
from longbench_cli.printable import printable

if TYPE_CHECKING:
    from longbench_cli.execute.nodes import Leader
    from longbench_cli.present.progress import Display
    from longbench_cli.record.loading import RecordedPoint
    from longbench_cli.sweep.options import ResolvedOptions
    from longbench_cli.sweep.plan import Plan

EXIT_BAD_POINT = 1
"""A point crashed, timed out or was incorrect, or the run was interrupted."""

_OUTPUT = "Where it goes"


@sweep_options()
def run(
    asked: Mapping[str, object],
    *,
    launcher: where.Launcher = None,
    nodes: where.Nodes = None,
    slurm: where.Slurm = None,
    output: Annotated[
        Path | None,
        typer.Option(
            "--output",
            "-o",
            metavar="FILE",
            help=f"The run file, which must be new. [default: ./{RUNS_FOLDER}/TIME-NAME.jsonl]",
            rich_help_panel=_OUTPUT,
        ),
    ] = None,
    resume: Annotated[
        Path | None,
        typer.Option(
            "--resume",
            metavar="FILE",
            help="Go on with a run file: measure what is missing. Without options of a sweep, those of the file.",
            rich_help_panel=_OUTPUT,
        ),
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Print the plan and measure nothing.", rich_help_panel=_OUTPUT)
    ] = False,
    quiet: Annotated[
        bool, typer.Option("--quiet", "-q", help="Print the name of the run file alone.", rich_help_panel=_OUTPUT)
    ] = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print the records, and progress on stderr.", rich_help_panel=_OUTPUT)
    ] = False,
) -> None:
    """Sweep sequence lengths and implementations: verify each point, then time it.

    Exit codes: 0 every point has a result (ok, oom, pruned, unsupported); 1 a point crashed, timed out
    or was incorrect, or the run was interrupted; 2 usage.
    """
    from longbench_cli.commands.job import leading
    from longbench_cli.sweep.options import resolve
    from longbench_cli.sweep.plan import make_plan

    with leading() as leader:
        if output is not None and resume is not None:
            raise UsageError("-o and --resume exclude each other: --resume FILE starts a file that does not exist yet")
        to_slurm = where.by_slurm(launcher, nodes, slurm)
        if resume is not None and not any(value is not None for name, value in asked.items() if name != "budget"):
            asked = _options_of(resume) | ({} if asked["budget"] is None else {"budget": asked["budget"]})
        resolved = resolve(asked)
        plan = make_plan(resolved)
        if dry_run:
            _print_plan(plan, as_json=as_json)
            return
        path = output or resume
        if to_slurm:
            from longbench_cli.commands.slurm import submit_run

            submit_run(
                plan, asked, path or _default_path(plan), resume=resume is not None,
                nodes=nodes, slurm=slurm, quiet=quiet, as_json=as_json,
            )  # fmt: skip
            return
        _refuse(resolved, plan, leader)
        raise typer.Exit(_measure(plan, asked, path, leader, resume=resume is not None, quiet=quiet, as_json=as_json))


def _options_of(path: Path) -> dict[str, object]:
    """What was asked for when ``path`` was started; nothing if it was not."""
    from longbench_cli.commands.run_file import resumed_options
    from longbench_cli.record.journal import is_started, load_run

    return resumed_options(load_run(path).header, path) if is_started(path) else {}


def _default_path(plan: Plan) -> Path:
    from longbench_cli.commands.run_file import default_path

    return default_path(plan, RUNS_FOLDER, datetime.now(UTC))


def _print_plan(plan: Plan, *, as_json: bool) -> None:
    from longbench_cli.commands.plan_view import print_plan

    print_plan(plan, as_json=as_json)


def _refuse(resolved: ResolvedOptions, plan: Plan, leader: Leader | None) -> None:
    from longbench_cli.commands.run_checks import refuse_unrunnable, visible_gpus

    device_left_open = "auto" in resolved.values.device
    refuse_unrunnable(plan, device_left_open=device_left_open, gpus_found=visible_gpus, leader=leader)


def _measure(
    plan: Plan,
    asked: Mapping[str, object],
    path: Path | None,
    leader: Leader | None,
    *,
    resume: bool,
    quiet: bool,
    as_json: bool,
) -> int:
    from longbench_cli.commands.job import ranks_of
    from longbench_cli.commands.run_file import machine_warning, make_header, refuse_other_plan, resume_command
    from longbench_cli.commands.run_session import count_missing, measure_missing, recorded_points
    from longbench_cli.record.journal import Journal
    from longbench_cli.record.schema import BAD_STATUSES, dump_line

    path = path or _default_path(plan)
    header = make_header(plan, asked)
    journal, earlier = Journal.open(path, header, resume=resume)
    with journal:
        if earlier is not None:
            refuse_other_plan(earlier, header)
            for warning in (*earlier.warnings, machine_warning(earlier, header)):
                if warning is not None:
                    typer.echo(printable(f"longbench: warning: {warning}"), err=True)
        done = recorded_points(plan, earlier)
        total = len(done) + count_missing(plan, done.values())
        display, shown = _display(plan, total, len(done), quiet=quiet, stream_is_stderr=as_json)

        def echo(record: RecordedPoint) -> None:
            if as_json:
                typer.echo(dump_line(record))

        if as_json:
            typer.echo(dump_line(earlier.header if earlier else header))
        with shown:
            records = measure_missing(plan, journal, done, display, echo, ranks_of(leader))
    left = count_missing(plan, records)
    if left:
        each = f" ({plan.settings.sessions} sessions each)" if plan.settings.sessions > 1 else ""
        typer.echo(
            f"longbench: interrupted with {len(records)} of {len(records) + left} points{each} recorded; "
            f"go on with: {printable(resume_command(asked, path))}",
            err=True,
        )
    elif quiet:
        typer.echo(str(path), err=as_json)
    else:
        shown_path = printable(shlex.quote(str(path)))
        typer.echo(f"run file: {printable(str(path))}\nsee it with: longbench report {shown_path}", err=as_json)
    bad = left or any(record.status in BAD_STATUSES for record in records)
    return EXIT_BAD_POINT if bad else 0


def _display(
    plan: Plan, total: int, done: int, *, quiet: bool, stream_is_stderr: bool
) -> tuple[Display, AbstractContextManager[None]]:
    """What shows the progress, and the context in which it does."""
    from rich.console import Console

    from longbench_cli.present.progress import LiveDisplay, PlainDisplay, QuietDisplay
    from longbench_cli.present.series import varied_options

    if quiet:
        return QuietDisplay(), nullcontext()
    console = Console(file=sys.stderr if stream_is_stderr else sys.stdout)
    varied = varied_options(point.case for point in plan.points)
    if not console.is_terminal:
        return PlainDisplay(console, total, done, varied), nullcontext()
    live = LiveDisplay(console, total, done, varied)
    return live, live.live()
