"""The loop over a plan's points: prune what is hopeless, run the rest alone or in turns, record each at once."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Protocol

from longbench_cli.execute.budget import Budget, sampling_seconds, whole_seconds
from longbench_cli.execute.groups import Job, frames, groups
from longbench_cli.execute.outcome import Outcome, Progress, Status
from longbench_cli.execute.prune import Evidence
from longbench_cli.execute.sessions import FINAL, SessionKey, due
from longbench_cli.sweep.case import Device, Kind
from longbench_cli.sweep.plan import Plan, PlannedPoint
from longbench_cli.sweep.predict import execution_of
from longbench_cli.sweep.settings import Settings

LEAST_TIMEOUT_S: dict[Kind, float] = {"op": 120.0, "model": 600.0}
"""Starting Python and torch, drawing inputs and verifying take their time however small the point; a model's
float64 reference takes more of it."""

_ITERATIONS_ALLOWED = 30
_SAMPLING_ALLOWED = 4

RunGroup = Callable[[Sequence[Job], float, Callable[[Progress], None], Callable[[Job, Outcome], None]], None]
"""Runs one point alone, or several in turns: (jobs, seconds that are left of the budget, what to call with
progress, what to call with each job's outcome as soon as it is known)."""

Sink = Callable[[PlannedPoint, int, Outcome], None]
"""Takes what came of a point's session."""


class Observer(Protocol):
    """Watches points start and progress. What came of one goes to the sink instead."""

    def started(self, point: PlannedPoint) -> None: ...

    def progress(self, progress: Progress) -> None: ...

    def left_out(self, point: PlannedPoint, sessions: int) -> None:
        """So many later sessions of ``point`` will not be run: see :data:`~longbench_cli.execute.sessions.FINAL`."""


def timeout_of(settings: Settings, kind: Kind, predicted_seconds: float) -> float:
    """Seconds that a point may take in all: as asked for, or far more than it should need."""
    if settings.timeout is not None:
        return settings.timeout
    sampling = sampling_seconds(settings, predicted_seconds)
    return max(LEAST_TIMEOUT_S[kind], _SAMPLING_ALLOWED * sampling + _ITERATIONS_ALLOWED * predicted_seconds)


def run_sweep(
    plan: Plan,
    done: Mapping[SessionKey, Outcome],
    run_group: RunGroup,
    sink: Sink,
    observer: Observer,
    free_bytes: Callable[[Device], int | None],
    clock: Callable[[], float] = time.monotonic,
) -> bool:
    """Bring every session of every point of ``plan`` that is not ``done`` to an outcome.

    Sessions come one after another, each over all points. Within one, points come in the order of the plan,
    those that take turns together; with a budget the cheapest first. Each outcome goes to ``sink`` as
    soon as it is known. Whatever ``sink`` raises is passed on.

    Returns:
        False if Ctrl-C ended the loop; the points that were running are then left for a resume.
    """
    sweep = _Sweep(plan, run_group, sink, observer, free_bytes, Budget(plan.budget, clock))
    sweep.learn(done)
    try:
        for session in range(plan.settings.sessions):
            for frame in sweep.in_order(due(plan.points, session, sweep.ended)):
                sweep.run_frame(frame, session)
    except KeyboardInterrupt:
        return False
    return True


class _Sweep:
    """What the loop knows."""

    def __init__(
        self,
        plan: Plan,
        run_group: RunGroup,
        sink: Sink,
        observer: Observer,
        free_bytes: Callable[[Device], int | None],
        budget: Budget,
    ) -> None:
        self.ended: dict[SessionKey, Status] = {}
        self._plan, self._settings = plan, plan.settings
        self._run_group, self._sink, self._observer = run_group, sink, observer
        self._free_bytes, self._budget = free_bytes, budget
        self._evidence = Evidence()

    def learn(self, done: Mapping[SessionKey, Outcome]) -> None:
        points = {point.key: point for point in self._plan.points}
        for (key, session), outcome in done.items():
            self.ended[key, session] = outcome.status
            self._evidence.learn(points[key], outcome)

    def in_order(self, points: list[PlannedPoint]) -> list[list[PlannedPoint]]:
        """Frames as the plan has them; with a budget the cheapest first."""
        found = frames(points, self._settings.order)
        if self._budget.limited:
            found.sort(key=lambda frame: sum(map(self._whole_seconds, frame)))
        return found

    def run_frame(self, frame: list[PlannedPoint], session: int) -> None:
        free = self._free_bytes(frame[0].case.device)
        jobs = []
        for point in frame:
            job = self._job(point, session, free)
            if point.refused is not None:
                self._conclude(job, Outcome("unsupported", point.refused))
                continue
            reason = self._evidence.prune_reason(point, self._settings, free)
            if reason is None:
                jobs.append(job)
            else:
                self._conclude(job, Outcome("pruned", reason))
        for group in groups(jobs, free):
            admitted, put_off = self._budget.admit(group)
            for job, reason in put_off:
                self._conclude(job, Outcome("pruned", reason))
            if admitted:
                self._run(admitted)

    def _run(self, group: Sequence[Job]) -> None:
        """Run a group. One that ran out of memory beside others may fit alone: only alone does it prove anything."""
        again: list[Job] = []

        def conclude(job: Job, outcome: Outcome) -> None:
            if outcome.status == "oom" and len(group) > 1:
                again.append(job)
            else:
                self._conclude(job, outcome)

        for job in group:
            self._observer.started(job.point)
        self._run_group(group, self._budget.left(), self._observer.progress, conclude)
        for job in again:
            self._run([job])

    def _job(self, point: PlannedPoint, session: int, free: int | None) -> Job:
        timeout_s = timeout_of(self._settings, point.case.kind, self._evidence.seconds(point))
        execution = execution_of(point, self._settings, free)
        return Job(point, session, execution, timeout_s, self._whole_seconds(point))

    def _whole_seconds(self, point: PlannedPoint) -> float:
        return whole_seconds(point.case.kind, self._settings, self._evidence.seconds(point))

    def _conclude(self, job: Job, outcome: Outcome) -> None:
        outcome = replace(outcome, execution=job.execution)
        self._sink(job.point, job.session, outcome)
        self.ended[job.point.key, job.session] = outcome.status
        self._evidence.learn(job.point, outcome)
        later = self._settings.sessions - 1 - job.session
        if later and outcome.status in FINAL:
            self._observer.left_out(job.point, later)
