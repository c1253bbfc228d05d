"""One session of a run: measures what is missing, and records each point before the next begins."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

from longbench_cli.execute.isolate import run_isolated
from longbench_cli.execute.outcome import Outcome, Progress
from longbench_cli.execute.sweep import RunPoint, run_sweep
from longbench_cli.present.progress import Display
from longbench_cli.record.journal import Journal, Run
from longbench_cli.record.loading import RecordedPoint
from longbench_cli.record.points import outcome_of, record_of
from longbench_cli.sweep.hardware import free_bytes
from longbench_cli.sweep.plan import Plan, PlannedPoint
from longbench_cli.sweep.predict import Execution
from longbench_cli.sweep.settings import Settings


def recorded_points(plan: Plan, run: Run | None) -> dict[str, RecordedPoint]:
    """The points of ``plan`` that an earlier session recorded, by key."""
    wanted = {point.key for point in plan.points}
    return {record.key: record for record in (run.points if run else []) if record.key in wanted}


def measure_missing(
    plan: Plan,
    journal: Journal,
    earlier: Run | None,
    display: Display,
    echo: Callable[[RecordedPoint], None],
    run_point: RunPoint | None = None,
) -> list[RecordedPoint]:
    """Bring every point of ``plan`` to a record, but those of ``earlier``.

    SIGTERM and SIGHUP end it as Ctrl-C does: after them the list is shorter than the plan.

    Returns:
        The points recorded in all sessions.

    Raises:
        UsageError: the run file cannot be written any more.
    """
    done = recorded_points(plan, earlier)
    session = max((record.session for record in earlier.points), default=-1) + 1 if earlier else 0
    records = list(done.values())

    def record(point: PlannedPoint, outcome: Outcome) -> None:
        line = record_of(point, outcome, session)
        journal.append(line)
        records.append(line)
        display.finished(line)
        echo(line)

    with _ended_like_ctrl_c():
        run_sweep(
            plan,
            {key: outcome_of(line) for key, line in done.items()},
            run_point or _in_a_worker(plan.settings),
            record,
            display,
            free_bytes,
        )
    return records


def _in_a_worker(settings: Settings) -> RunPoint:
    def run_point(
        point: PlannedPoint, execution: Execution, timeout_s: float, on_progress: Callable[[Progress], None]
    ) -> Outcome:
        request = {
            "case": point.case.model_dump(mode="json", by_alias=True),
            "settings": settings.model_dump(mode="json"),
            "details": point.details,
            "execution": execution,
        }
        return run_isolated(request, timeout_s=timeout_s, on_progress=on_progress)

    return run_point


@contextmanager
def _ended_like_ctrl_c() -> Iterator[None]:
    """A batch system's SIGTERM and a lost terminal's SIGHUP are a user's Ctrl-C, unless they are ignored."""

    def interrupt(_number: int, _frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    taken = [number for number in (signal.SIGTERM, signal.SIGHUP) if signal.getsignal(number) is not signal.SIG_IGN]
    before = {number: signal.signal(number, interrupt) for number in taken}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
