"""Points that one rate can be fitted to: measured on one machine, the same kernel on the same kind of problem."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from longbench_cli.analyse.sessions import merged_points
from longbench_cli.record.schema import MeasuredPoint, RunHeader
from longbench_cli.sweep.case import Case, Device

if TYPE_CHECKING:
    from longbench_cli.record.loading import Run

PARALLEL = "parallel"
"""The option that says how ranks share the work: the kernel is the same."""


@dataclass(frozen=True, slots=True)
class Machine:
    """What decides how fast a kernel is, as far as a run file tells.

    Attributes:
        device: that was measured on.
        name: of the GPU or the processor.
        torch: its version.
        cores: threads that a rank alone has; None of a GPU.
        memory_bytes: of one device, or of the whole node of a CPU; None if it is not recorded. It differs by a little
            between machines that are alike, and makes no kernel faster: no part of what tells them apart.
    """

    device: Device
    name: str
    torch: str
    cores: int | None
    memory_bytes: int | None = field(compare=False)

    @property
    def label(self) -> str:
        cores = "" if self.cores is None else f", {self.cores} thread{'s' * (self.cores != 1)}"
        return f"{self.name}{cores}, torch {self.torch}"


@dataclass(frozen=True, slots=True)
class Family:
    """Measured points that differ in sizes and ranks alone, sessions merged; by ranks, then by work.

    Attributes:
        case: of one of them; what they share is in it.
        runs: names of the files that they are from.
    """

    machine: Machine
    case: Case
    points: tuple[MeasuredPoint, ...]
    runs: tuple[str, ...]

    @property
    def label(self) -> str:
        case = self.case
        options = " ".join(f"{name}={_text(value)}" for name, value in _kernel_options(case).items())
        mask = "causal" if case.causal else "full"
        words = (case.impl, case.pass_, case.backend, case.dtype, f"head dim {case.head_dim}", mask, options)
        return " ".join(word for word in words if word and word != "none")


def families_of(runs: Sequence[Run]) -> list[Family]:
    """The families of ``runs``, in the order in which their first points appear. Machines are never mixed."""
    groups: dict[tuple[Any, ...], list[tuple[str, Machine, MeasuredPoint]]] = {}
    for run in runs:
        for point in merged_points(run):
            if isinstance(point, MeasuredPoint) and point.latency.median_ns > 0 and point.cost.flops > 0:
                machine = machine_of(run.header, point.case.device)
                groups.setdefault((machine, _kernel(point.case)), []).append((run.path.stem, machine, point))
    return [
        Family(
            machine=group[0][1],
            case=group[0][2].case,
            points=tuple(sorted((point for _, _, point in group), key=_by_ranks_and_work)),
            runs=tuple(dict.fromkeys(name for name, _, _ in group)),
        )
        for group in groups.values()
    ]


def machine_of(header: RunHeader, device: Device) -> Machine:
    """The machine of a run, from what its environment says; whatever that is, it is text or a number here."""
    environment = header.environment
    packages = environment.get("packages")
    torch = str(packages.get("torch")) if isinstance(packages, dict) else "unknown"
    if device == "cuda":
        gpus = environment.get("gpus")
        first = gpus[0] if isinstance(gpus, list) and gpus and isinstance(gpus[0], dict) else {}
        return Machine(device, str(first.get("name") or "a GPU"), torch, None, _count(first.get("memory_bytes")))
    threads = header.settings.get("threads") or environment.get("cores") or environment.get("affinity")
    name = str(environment.get("cpu") or "a processor")
    return Machine(device, name, torch, _count(threads) or 1, _count(environment.get("memory_bytes")))


def _kernel(case: Case) -> tuple[Any, ...]:
    """What two cases agree in that run the same kernel on problems of the same kind."""
    options = tuple(sorted((name, _text(value)) for name, value in _kernel_options(case).items()))
    return case.impl, case.kind, case.backend, case.pass_, case.head_dim, case.dtype, case.causal, case.device, options


def _kernel_options(case: Case) -> dict[str, Any]:
    return {name: value for name, value in case.options.items() if value is not None and name != PARALLEL}


def _text(value: Any) -> str:
    return ",".join(map(str, value)) if isinstance(value, list) else str(value)


def _by_ranks_and_work(point: MeasuredPoint) -> tuple[int, int, int]:
    return point.case.world_size, point.cost.flops, point.case.seq_len


def _count(value: Any) -> int | None:
    return value if type(value) is int and 0 < value < 2**62 else None
