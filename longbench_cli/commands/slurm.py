"""``longbench run --launcher slurm``: the same command, as a job on nodes of a cluster."""

from __future__ import annotations

import json
import shlex
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import typer

from longbench_cli.commands.run_file import to_argv
from longbench_cli.errors import UsageError
from longbench_cli.execute.slurm import Executor, SlurmJob, slurm_executor, submit
from longbench_cli.printable import printable
from longbench_cli.sweep.axes import shown
from longbench_cli.sweep.plan import Plan


def submit_run(
    plan: Plan,
    asked: Mapping[str, object],
    path: Path,
    *,
    resume: bool,
    nodes: int | None,
    slurm: Sequence[str] | None,
    quiet: bool,
    as_json: bool,
    executor_of: Callable[[Path], Executor] = slurm_executor,
) -> None:
    """Submit the sweep that ``asked`` asks for, with ``path`` as its run file, and print what to look at.

    Raises:
        UsageError: the ranks cannot be spread over the nodes, an option is none, or there is no Slurm.
    """
    path = path.absolute()
    if not resume and path.exists():
        raise UsageError(f"{path}: exists already: choose another file, or --resume it")
    nodes = nodes or 1
    ranks = max(point.case.world_size for point in plan.points)
    if ranks % nodes:
        raise UsageError(f"--nodes {nodes}: {ranks} ranks (--gpus) cannot be spread evenly over {nodes} nodes")
    on_gpus = any(point.case.device == "cuda" for point in plan.points)
    per_node = ranks // nodes
    where = ["--resume" if resume else "-o", str(path)]
    job = SlurmJob(
        words=(*to_argv(asked)[1:], *where),
        nodes=nodes,
        ranks_per_node=per_node,
        gpus_per_node=per_node if on_gpus else 0,
        options=_sbatch_options(slurm or ()),
        folder=path.with_suffix(".slurm"),
    )
    job_id, printed = submit(job, executor_of)
    if as_json:
        typer.echo(json.dumps({"job": job_id, "run_file": str(path), "output": str(printed)}))
    elif quiet:
        typer.echo(str(path))
    else:
        typer.echo(
            f"job {job_id} is submitted; it prints to {printable(str(printed))}\n"
            f"run file: {printable(str(path))}\n"
            f"see it with: longbench report {printable(shlex.quote(str(path)))}"
        )


def _sbatch_options(given: Sequence[str]) -> dict[str, str | bool]:
    """``time=02:00:00`` by its name; an option without a value is True.

    Raises:
        UsageError: no name; or no limit of time, which submitit would take to be 5 minutes.
    """
    options: dict[str, str | bool] = {}
    for text in given:
        name, equals, value = text.partition("=")
        name = name.strip().removeprefix("--")
        if not name or any(map(str.isspace, name)):
            raise UsageError(f"--slurm {shown(text)}: expected KEY=VALUE, an option of sbatch by its long name")
        options[name] = value if equals else True
    if "time" not in options:
        raise UsageError("--launcher slurm: say how long the job may take, as --slurm time=02:00:00")
    return options
