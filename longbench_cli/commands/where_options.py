"""The options of ``longbench run`` that say where it runs: on this machine, or as a job of Slurm."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Annotated

import typer

from longbench_cli.errors import UsageError
from longbench_cli.sweep.axes import shown

_where = partial(typer.Option, rich_help_panel="Where it runs", show_default=False)

Launcher = Annotated[
    str | None,
    _where(
        "--launcher",
        metavar="local|slurm",
        help="local: here; torchrun starts it on many machines (docs/clusters.md). slurm: submit a job that does so, "
        "and return (default: local).",
    ),
]
Nodes = Annotated[
    int | None,
    _where("--nodes", metavar="N", min=1, help="Of slurm: machines, each with its share of --gpus (default: 1)."),
]
Slurm = Annotated[
    list[str] | None,
    _where(
        "--slurm",
        metavar="KEY=VALUE",
        help="Of slurm: an option of sbatch by its long name, as time=02:00:00 or partition=gpu; may be repeated.",
    ),
]


def by_slurm(launcher: str | None, nodes: int | None, slurm: Sequence[str] | None) -> bool:
    """Whether it is Slurm that runs the sweep.

    Raises:
        UsageError: another launcher, or Slurm's options without it.
    """
    if launcher not in (None, "local", "slurm"):
        raise UsageError(f"--launcher {shown(launcher)}: expected local or slurm")
    if launcher != "slurm" and (nodes is not None or slurm):
        raise UsageError("--nodes and --slurm are options of --launcher slurm")
    return launcher == "slurm"
