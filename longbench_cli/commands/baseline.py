"""``longbench baseline``: runs kept in git, to compare later runs with."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Annotated

import typer

from longbench_cli.printable import printable


def save(
    runs: Annotated[list[str], typer.Argument(metavar="RUN...", help="Run files, or folders of them.")],
    *,
    baselines: Annotated[
        Path | None,
        typer.Option(
            "--baselines",
            metavar="DIR",
            help="Baseline directory, to be kept in git (default: ./longbench-baselines).",
            show_default=False,
        ),
    ] = None,
) -> None:
    """Keep runs of one machine as its baseline: what `--base latest` stands for from then on.

    A slim copy is kept, without names of other processes, in a new folder of the baseline directory. A point needs 8
    sessions (`longbench run --sessions 8`, or several runs) to be compared with.
    """
    from longbench_cli.analyse.comparison.stored_rule import LEAST_SESSIONS
    from longbench_cli.record.baselines import DEFAULT_BASELINES, resolve_side, save_baseline
    from longbench_cli.record.schema import MeasuredPoint

    where = baselines or DEFAULT_BASELINES
    loaded = [run for text in runs for run in resolve_side(text, where, None)]
    warnings = [warning for run in loaded for warning in run.warnings]
    folder = save_baseline(loaded, where)
    sessions: dict[str, int] = {}
    for point in (point for run in loaded for point in run.points if isinstance(point, MeasuredPoint)):
        sessions[point.key] = sessions.get(point.key, 0) + 1
    few = [key for key, count in sessions.items() if count < LEAST_SESSIONS]
    if few:
        warnings.append(
            f"{len(few)} of {len(sessions)} points have fewer than {LEAST_SESSIONS} sessions, too few to compare with: "
            f"measure with --sessions {LEAST_SESSIONS}"
        )
    for warning in warnings:
        typer.echo(printable(f"longbench: warning: {warning}"), err=True)
    typer.echo(f"saved {printable(str(folder))}; keep it with: git add {printable(shlex.quote(str(folder)))}")
