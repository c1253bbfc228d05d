"""Two sides to compare, in memory: runs, points with the medians that a test asks for, duets."""

from __future__ import annotations

import itertools
import math
import statistics
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Literal

from sample_runs import ENVIRONMENT, make_case, make_run

from longbench_cli.measure.types import CostRecord, Latency, Memory, Verification
from longbench_cli.record.journal import Run
from longbench_cli.record.schema import Duet, MeasuredPoint, UnmeasuredPoint
from longbench_cli.sweep.case import Case

__all__ = ["ENVIRONMENT", "duet_of", "failed", "measured", "planned", "run_of", "sessions_of"]

_TURNS, _ITERATIONS = 4, 5


def planned(length: int = 1024, impl: str = "vanilla", **changes: Any) -> Case:
    """A case as it is planned; its key is the key of its points."""
    return make_case(impl, length, **({"backend": "auto"} | changes))


def measured(
    case: Case | None = None,
    *,
    median_ns: float = 1e6,
    session: int = 0,
    turns: Sequence[Sequence[int]] | None = None,
    peak_bytes: int | None = 64 << 20,
    backend: str = "sdpa-flash",
    **changes: Any,
) -> MeasuredPoint:
    """An ok point of the planned ``case``.

    ``turns`` are the nanoseconds of the iterations of each turn, of which its median then is; else it has 4 turns
    of 5 iterations of ``median_ns`` each. ``changes`` are fields of the record.
    """
    case = case or planned()
    if turns is None:
        turns = [[round(median_ns)] * _ITERATIONS] * _TURNS
    else:
        median_ns = statistics.median(itertools.chain(*turns))
    times = list(itertools.chain(*turns))
    fields: dict[str, Any] = {
        "key": case.key,
        "session": session,
        "case": case.model_copy(update={"backend": backend}),
        "latency": Latency(
            iterations_ns=times, median_ns=median_ns, ci95_ns=(median_ns * 0.995, median_ns * 1.005),
            mean_ns=statistics.fmean(times), p95_ns=max(times), noise=0.005, stopped_by="converged",
            turns=[len(turn) for turn in turns],
        ),
        "memory": Memory(input_bytes=1 << 20, peak_bytes=peak_bytes, nvml_peak_bytes=None),
        "telemetry": None,
        "cost": CostRecord(flops=10**9, dense_flops=10**9, io_bytes=10**6, comm_bytes=0),
        "verification": Verification(status="passed", rows=64, max_error=1e-3, tolerance=1e-2),
    }  # fmt: skip
    return MeasuredPoint(**(fields | changes))


def sessions_of(medians_ns: Iterable[float], case: Case | None = None, **changes: Any) -> list[MeasuredPoint]:
    """A measured point for each session, from 0."""
    return [
        measured(case, median_ns=median_ns, session=session, **changes) for session, median_ns in enumerate(medians_ns)
    ]


def failed(
    status: str = "oom", reason: str = "needs more than there is", case: Case | None = None, **changes: Any
) -> UnmeasuredPoint:
    """A point that failed before a back end was picked; ``changes`` are fields of the record."""
    case = case or planned()
    return UnmeasuredPoint(**({"key": case.key, "case": case, "status": status, "reason": reason} | changes))


def run_of(
    points: Iterable[MeasuredPoint | UnmeasuredPoint],
    *,
    run_id: str = "base",
    duet: Duet | None = None,
    environment: dict[str, Any] | None = None,
    settings: dict[str, Any] | None = None,
    **header: Any,
) -> Run:
    """A run of these points, read from RUN_ID.jsonl; ``environment`` and ``settings`` are changes to the usual ones."""
    points = list(points)
    sessions = max((point.session for point in points), default=0) + 1
    usual = {"precision": 0.01, "seed": 0, "threads": None, "cache": None, "graphs": "auto", "sessions": sessions}
    return make_run(
        points,
        Path(f"{run_id}.jsonl"),
        run_id=run_id,
        duet=duet,
        environment=ENVIRONMENT | (environment or {}),
        settings=usual | (settings or {}),
        **header,
    )


def duet_of(
    pairs: Iterable[float],
    case: Case | None = None,
    *,
    base_ns: float = 1e6,
    identical: bool = False,
    injected: float | None = None,
    duet_id: str = "duet-1",
    changes: dict[str, Any] | None = None,
) -> tuple[Run, Run]:
    """Base and candidate of a duet of one point whose pairs have these d = ln(candidate / base).

    ``changes`` are fields of the candidate's records. More points: add to ``run.points``.
    """
    values = list(pairs)
    base = sessions_of([base_ns] * len(values), case)
    candidate = sessions_of([base_ns * math.exp(value) for value in values], case, **(changes or {}))

    def side(name: Literal["base", "candidate"]) -> Duet:
        return Duet(id=duet_id, side=name, label=name, identical=identical, injected=injected)

    return (
        run_of(base, run_id=f"{duet_id}-base", duet=side("base")),
        run_of(candidate, run_id=f"{duet_id}-candidate", duet=side("candidate")),
    )
