"""One Slurm job that runs ``longbench`` under torchrun on each of its nodes; submitit writes and submits its script."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from longbench_cli.errors import UsageError

INSTALL = "pip install 'longbench-cli[slurm]'"

_FIRST_PORT, _PORTS = 20_000, 10_000
"""Below those that Linux gives to whoever asks for any; by job, since two may share a node."""

_SIGNAL = "TERM@60"
"""A minute before its time is over a job is told, as by Ctrl-C; what was measured is in the file by then."""


@dataclass(frozen=True, slots=True)
class SlurmJob:
    """What is submitted.

    Attributes:
        words: of the command, from ``run`` on.
        ranks_per_node: processes that torchrun starts on each of ``nodes``.
        gpus_per_node: asked of Slurm; 0 for a run on the CPU.
        options: of sbatch, by their long names; True for one without a value.
        folder: for its script and what it prints; on a file system that the nodes share.
    """

    words: tuple[str, ...]
    nodes: int
    ranks_per_node: int
    gpus_per_node: int
    options: Mapping[str, str | bool]
    folder: Path


class Executor(Protocol):
    """The part of submitit's executors that is used here."""

    def update_parameters(self, **parameters: Any) -> None: ...

    def submit(self, function: Callable[..., Any], /, *arguments: Any) -> Any: ...


def slurm_executor(folder: Path) -> Executor:
    """Submitit's own.

    Raises:
        UsageError: submitit is not installed, or this machine knows no Slurm.
    """
    try:
        import submitit
    except ImportError:
        raise UsageError(f"--launcher slurm: submitit is not installed: {INSTALL}") from None
    try:
        executor: Executor = submitit.SlurmExecutor(folder=folder)
    except RuntimeError as error:
        raise UsageError(f"--launcher slurm: {error}") from error
    return executor


def parameters_of(job: SlurmJob) -> dict[str, Any]:
    """What submitit is told. A value of ``--slurm`` goes over all else."""
    gpus = {"gpus_per_node": job.gpus_per_node} if job.gpus_per_node else {}
    given = {name.replace("-", "_"): value for name, value in job.options.items()}  # as submitit has its own
    options = {"signal": _SIGNAL, "job_name": "longbench", **given}
    return {"nodes": job.nodes, "ntasks_per_node": 1, **gpus, "additional_parameters": options}


def submit(job: SlurmJob, executor_of: Callable[[Path], Executor] = slurm_executor) -> tuple[str, Path]:
    """Submit it; its number, and the file that it prints to.

    Raises:
        UsageError: as :func:`slurm_executor`; or sbatch refuses.
    """
    executor = executor_of(job.folder)
    executor.update_parameters(**parameters_of(job))
    try:
        submitted = executor.submit(run_on_node, job.words, job.ranks_per_node)
    except RuntimeError as error:  # submitit's, with what sbatch said
        said = [line.strip() for line in str(error).splitlines() if line.strip()]
        raise UsageError(f"sbatch: {next((line for line in said if 'error:' in line), said[0])}") from error
    return str(submitted.job_id), Path(submitted.paths.stdout)


def run_on_node(words: Sequence[str], ranks_per_node: int) -> None:
    """What submitit calls on every node of the job.

    Raises:
        RuntimeError: it did not end with code 0.
    """
    import submitit

    environment = submitit.JobEnvironment()
    command = command_on_node(
        words, ranks_per_node, environment.job_id, environment.hostnames[0], environment.num_nodes, environment.node
    )
    if code := subprocess.call(command):
        raise RuntimeError(f"longbench: exit code {code}")


def command_on_node(
    words: Sequence[str], ranks_per_node: int, job_id: str, head: str, nodes: int, node: int
) -> list[str]:
    """Torchrun's agent of ``node``; those of all nodes meet at ``head``."""
    longbench = ["-m", "longbench_cli", *words]
    if nodes * ranks_per_node == 1:
        return [sys.executable, *longbench]
    digits = "".join(filter(str.isdigit, job_id)) or "0"
    port = _FIRST_PORT + int(digits) % _PORTS
    return [
        sys.executable, "-m", "torch.distributed.run",
        f"--nnodes={nodes}", f"--nproc-per-node={ranks_per_node}", f"--rdzv-id={job_id}",
        "--rdzv-backend=c10d", f"--rdzv-endpoint={head}:{port}", f"--rdzv-conf=is_host={int(node == 0)}",
        *longbench,
    ]  # fmt: skip
