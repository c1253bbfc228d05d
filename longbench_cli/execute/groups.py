"""Which points are measured together, in turns: the implementations of one length, as far as they fit."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass

from longbench_cli.sweep.case import Case
from longbench_cli.sweep.plan import PlannedPoint
from longbench_cli.sweep.predict import Execution, bytes_here, ranks_here
from longbench_cli.sweep.settings import Order

MOST_LIVE = 8
"""Most processes that take turns; larger groups are cut into equal parts."""

MEMORY_SHARE = 0.5
"""Share of the free memory that a group may be predicted to hold: the other half is for verification."""

PROCESS_BYTES = 512 << 20
"""What a process holds before its first tensor: torch itself, and on a GPU its context."""


@dataclass(frozen=True, slots=True)
class Job:
    """A point to be run now.

    Attributes:
        session: which of its fresh processes this is, from 0.
        timeout_s: seconds of its own that it may take.
        whole_seconds: predicted, from its start to its record.
    """

    point: PlannedPoint
    session: int
    execution: Execution
    timeout_s: float
    whole_seconds: float


def frames(points: Iterable[PlannedPoint], order: Order) -> list[list[PlannedPoint]]:
    """Points that could take turns, in the order of the plan: they differ in what computes, and not in what is asked.

    Of ``sequential`` order every point is alone.
    """
    if order == "sequential":
        return [[point] for point in points]
    found: dict[Hashable, list[PlannedPoint]] = {}
    for point in points:
        found.setdefault(_frame(point.case), []).append(point)
    return list(found.values())


def groups(jobs: Sequence[Job], free_bytes: int | None) -> list[list[Job]]:
    """Cut the jobs of a frame into groups that can live together in ``free_bytes`` (None: nobody knows).

    A streamed point runs alone: it takes what memory there is.
    """
    resident = [job for job in jobs if job.execution == "resident"]
    room = 0 if free_bytes is None else round(MEMORY_SHARE * free_bytes)
    parts = -(-len(resident) // MOST_LIVE)
    most = -(-len(resident) // parts) if parts else 0
    found: list[list[Job]] = []
    held = 0
    for job in resident:
        needed = held_bytes(job.point)
        if found and len(found[-1]) < most and held + needed <= room:
            found[-1].append(job)
            held += needed
        else:
            found.append([job])
            held = needed
    return found + [[job] for job in jobs if job.execution == "streamed"]


def held_bytes(point: PlannedPoint) -> int:
    """What the processes of a resident point are predicted to hold on this machine."""
    return bytes_here(point) + PROCESS_BYTES * ranks_here(point.case)


def fit_together(point: PlannedPoint, processes: int, free_bytes: int | None) -> bool:
    """Whether ``processes`` of the same resident point can live at once in ``free_bytes`` (None: nobody knows)."""
    return free_bytes is None or processes * held_bytes(point) <= MEMORY_SHARE * free_bytes


def _frame(case: Case) -> Hashable:
    """All of a case but implementation, back end and options; how many key heads a model has is its own affair."""
    kv_heads = case.kv_heads if case.kind == "op" else None
    return (
        case.kind, case.pass_, case.seq_len, case.batch, case.heads, kv_heads, case.head_dim, case.dtype,
        case.causal, case.world_size, case.device,
    )  # fmt: skip
