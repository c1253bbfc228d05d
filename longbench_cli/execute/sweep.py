"""The loop over a plan's points: skip what is done, prune what is hopeless, run the rest, record each at once."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Protocol

from longbench_cli.execute.outcome import Outcome, Progress
from longbench_cli.execute.prune import Evidence
from longbench_cli.sweep.case import Device, Kind
from longbench_cli.sweep.plan import Plan, PlannedPoint
from longbench_cli.sweep.predict import Execution, execution_of
from longbench_cli.sweep.settings import Settings

LEAST_TIMEOUT_S: dict[Kind, float] = {"op": 120.0, "model": 600.0}
"""Starting Python and torch, drawing inputs and verifying take their time however small the point; a model's
float64 reference takes more of it."""

_ITERATIONS_ALLOWED = 30
_SAMPLING_ALLOWED = 4

RunPoint = Callable[[PlannedPoint, Execution, float, Callable[[Progress], None]], Outcome]
"""Runs a point: (point, resident or streamed, timeout in seconds, what to call with progress)."""


class Observer(Protocol):
    """Watches points start and progress. What came of one goes to the sink instead."""

    def started(self, point: PlannedPoint) -> None: ...

    def progress(self, progress: Progress) -> None: ...


def timeout_of(settings: Settings, kind: Kind, predicted_seconds: float) -> float:
    """Seconds that a point may take in all: as asked for, or far more than it should need."""
    if settings.timeout is not None:
        return settings.timeout
    return max(LEAST_TIMEOUT_S[kind], _SAMPLING_ALLOWED * settings.max_time + _ITERATIONS_ALLOWED * predicted_seconds)


def run_sweep(
    plan: Plan,
    done: Mapping[str, Outcome],
    run_point: RunPoint,
    sink: Callable[[PlannedPoint, Outcome], None],
    observer: Observer,
    free_bytes: Callable[[Device], int | None],
) -> bool:
    """Bring every point of ``plan`` that is not ``done`` (outcomes by key) to an outcome, in order.

    Each outcome goes to ``sink`` before the next point starts. Whatever ``sink`` raises is passed on.

    Returns:
        False if Ctrl-C ended the loop; the point that was running is then left for a resume.
    """
    evidence = Evidence()
    todo = []
    for point in plan.points:
        if point.key in done:
            evidence.learn(point, done[point.key])
        else:
            todo.append(point)
    try:
        for point in todo:
            free = free_bytes(point.case.device)
            reason = evidence.prune_reason(point, plan.settings, free)
            if reason is not None:
                outcome = Outcome("pruned", reason)
            else:
                observer.started(point)
                timeout_s = timeout_of(plan.settings, point.case.kind, evidence.seconds(point))
                execution = execution_of(point, plan.settings, free)
                outcome = run_point(point, execution, timeout_s, observer.progress)
            sink(point, outcome)
            evidence.learn(point, outcome)
    except KeyboardInterrupt:
        return False
    return True
