"""What must hold before a plan is run: a plan may be for any machine, a run is for this one."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from longbench_cli.errors import UsageError
from longbench_cli.present.units import count
from longbench_cli.sweep.plan import Plan

if TYPE_CHECKING:
    from longbench_cli.execute.nodes import Leader

MOST_PROCESSES = 256
"""Most ranks on the CPU of one machine: each is a process with a torch of its own, some 0.5 GiB."""


def refuse_unrunnable(
    plan: Plan, *, device_left_open: bool, gpus_found: Callable[[], int], leader: Leader | None = None
) -> None:
    """Refuse a plan that this machine, or the job that ``leader`` leads, cannot run.

    ``device_left_open``: the user asked for a number of GPUs, not for a kind of device; then the
    GPUs are what is missing, though the plan fell back to the CPU.

    Raises:
        UsageError: fewer GPUs or ranks than asked for, more processes than make sense, machines that differ, or a
            back end that is not there.
    """
    ranks = max((point.case.world_size for point in plan.points), default=1)
    on_gpus = [point.case.world_size for point in plan.points if point.case.device == "cuda"]
    if leader is not None:
        leader.muster()
        leader.refuse(ranks, cuda=bool(on_gpus))
    else:
        needed = ranks if device_left_open and ranks > 1 else max(on_gpus, default=0)
        if needed and (found := gpus_found()) < needed:
            _refuse_gpus(needed, found)
        if ranks > MOST_PROCESSES and ranks > max(on_gpus, default=0):
            raise UsageError(
                f"--device cpu --gpus {ranks}: at most {MOST_PROCESSES} processes on one machine; "
                "torchrun starts more on many (docs/clusters.md)"
            )
    _refuse_missing_backends(plan)


def _refuse_gpus(needed: int, found: int) -> None:
    if needed == 1:
        raise UsageError("--device cuda: no GPU found: --device cpu measures on the processor")
    gloo = f"--device cpu --gpus {needed} runs {needed} gloo processes"
    raise UsageError(f"--gpus {needed}: {count(found, 'GPU')} found: {gloo}")


def _refuse_missing_backends(plan: Plan) -> None:
    """Imports torch, and the package behind a back end, if one was asked for by name."""
    named = {(p.case.backend, p.case.device) for p in plan.points if p.case.backend not in ("auto", "none")}
    if not named:
        return
    from attention_impls.api import Unsupported
    from attention_impls.kernels.registry import require_backend

    for name, device in sorted(named):
        try:
            require_backend(name, device)
        except Unsupported as reason:
            raise UsageError(f"--backend {name}: {reason}; `longbench list backends` shows what there is") from reason


def visible_gpus() -> int:
    """GPUs that torch can use here. Imports torch."""
    import torch

    return torch.cuda.device_count() if torch.cuda.is_available() else 0
