"""One invocation of a run: measures what is missing, and records each point as soon as it is known."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from typing import Any

import typer

from longbench_cli.commands.interrupts import ended_like_ctrl_c
from longbench_cli.execute.groups import Job
from longbench_cli.execute.isolate import run_isolated
from longbench_cli.execute.outcome import Outcome, Progress
from longbench_cli.execute.post import JobLost
from longbench_cli.execute.ranks import Ranks, RanksHere
from longbench_cli.execute.sessions import SessionKey, count_due
from longbench_cli.execute.sweep import RunGroup, run_sweep
from longbench_cli.execute.turns import Member, take_turns
from longbench_cli.present.progress import Display
from longbench_cli.printable import one_line
from longbench_cli.record.journal import Journal, Run
from longbench_cli.record.loading import RecordedPoint, put_off
from longbench_cli.record.missing_once import MissingOnce
from longbench_cli.record.points import outcome_of, record_of
from longbench_cli.sweep.hardware import free_bytes
from longbench_cli.sweep.plan import Plan, PlannedPoint
from longbench_cli.sweep.settings import Settings


def recorded_points(plan: Plan, run: Run | None) -> dict[SessionKey, RecordedPoint]:
    """The points of ``plan`` that earlier invocations recorded, but those for which there was no time."""
    if run is None:
        return {}
    wanted = {point.key for point in plan.points}
    found = [record for record in run.points if record.key in wanted and not put_off(record)]
    if "sessions" not in run.header.settings:  # before there were any, the number was that of the invocation
        found = [record.model_copy(update={"session": 0}) for record in found]
    return {(record.key, record.session): record for record in found}


def count_missing(plan: Plan, records: Iterable[RecordedPoint]) -> int:
    """How many more records it takes: of each point one a session, and none after one that ended its point."""
    ended = {(record.key, record.session): record.status for record in records}
    return count_due(plan.points, plan.settings.sessions, ended)


def measure_missing(
    plan: Plan,
    journal: Journal,
    done: Mapping[SessionKey, RecordedPoint],
    display: Display,
    echo: Callable[[RecordedPoint], None],
    ranks_of: Callable[[int], Ranks | None] = RanksHere.of,
    run_group: RunGroup | None = None,
) -> list[RecordedPoint]:
    """Bring every point of ``plan`` to its records, but those that are ``done``.

    ``ranks_of`` says who runs a point of so many ranks. SIGTERM and SIGHUP end it as Ctrl-C does, and so does the
    loss of a part of a job: after them :func:`count_missing` counts some.

    Returns:
        The points recorded in all invocations.

    Raises:
        UsageError: the run file cannot be written any more.
    """
    records = list(done.values())
    once = MissingOnce(records)

    def record(point: PlannedPoint, session: int, outcome: Outcome) -> None:
        line = once.drop_told(record_of(point, outcome, session))
        journal.append(line)
        records.append(line)
        display.finished(line)
        echo(line)

    with ended_like_ctrl_c():
        try:
            run_sweep(
                plan,
                {item: outcome_of(line) for item, line in done.items()},
                run_group or _in_workers(plan.settings, ranks_of),
                record,
                display,
                free_bytes,
            )
        except JobLost as lost:
            typer.echo(f"longbench: {one_line(str(lost))}", err=True)
    return records


def _in_workers(settings: Settings, ranks_of: Callable[[int], Ranks | None]) -> RunGroup:
    """Each point in a fresh process; several of them in turns."""

    def request(job: Job) -> dict[str, Any]:
        return {
            "case": job.point.case.model_dump(mode="json", by_alias=True),
            "settings": settings.model_dump(mode="json"),
            "execution": job.execution,
        }

    def ranks(job: Job) -> Ranks | None:
        return ranks_of(job.point.case.world_size)

    def run_group(
        jobs: Sequence[Job],
        limit_s: float,
        on_progress: Callable[[Progress], None],
        on_end: Callable[[Job, Outcome], None],
    ) -> None:
        if len(jobs) > 1:
            members = [
                Member(request(job), job.timeout_s, on_progress, partial(on_end, job), ranks(job)) for job in jobs
            ]
            take_turns(members, limit_s=limit_s)
            return
        (job,) = jobs
        run_isolated(
            request(job),
            timeout_s=job.timeout_s,
            on_progress=on_progress,
            on_end=partial(on_end, job),
            limit_s=limit_s,
            ranks=ranks(job),
        )

    return run_group
