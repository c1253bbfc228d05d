"""Runs as series: what belongs together, what starts another series, and what is told of each."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import pytest
from compared import failed, measured, planned, run_of, sessions_of

from longbench_cli.analyse.history import Series, build_series, since
from longbench_cli.record.journal import Run


def day(number: int, points: Sequence[Any] | float = 1e6, **changes: Any) -> Run:
    """The run of a day of November: ``points``, or one point of this median."""
    found = [measured(median_ns=points)] if isinstance(points, float) else points
    return run_of(found, run_id=f"day-{number}", created=f"2026-11-{number:02}T01:00:00Z", **changes)


def series_of(*runs: Run) -> list[Series]:
    return build_series(runs, 0.03)


def days(series: Series) -> list[int]:
    return [run.when.day for run in series.runs]


def test_a_run_is_the_median_of_its_sessions() -> None:
    (one,) = series_of(day(1, sessions_of([1.0e6, 1.3e6, 1.1e6])))
    assert [run.median_ns for run in one.runs] == [1.1e6]
    assert one.newest is None


def test_a_change_names_the_runs_and_commits_on_both_sides() -> None:
    level = [1.0e6, 1.002e6, 0.999e6, 1.001e6, 1.1e6, 1.101e6, 1.099e6, 1.1e6]
    runs = [
        day(number, value, environment={"git": {"commit": f"{number:040x}", "dirty": False}})
        for number, value in enumerate(level, 1)
    ]
    (one,) = series_of(*runs)
    (change,) = one.changes
    assert (change.last.when.day, change.first.when.day) == (4, 5)
    assert (change.last.commit, change.first.commit) == (f"{4:040x}", f"{5:040x}")
    assert change.ratio == pytest.approx(1.1, rel=0.01)
    assert change.before.median_ns == pytest.approx(1e6, rel=0.01)
    assert [len(level.runs) for level in one.levels] == [4, 4]
    assert one.newest == pytest.approx(1.0, abs=0.01)


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"environment": {"cpu": "Another CPU"}}, "cpu Example CPU at 2.10 GHz -> Another CPU"),
        ({"environment": {"packages": {"torch": "2.14.0"}}}, "torch 2.13.0 -> 2.14.0"),
        ({"settings": {"threads": 7}}, "threads 2 -> 7"),
    ],
)
def test_another_fingerprint_starts_another_series_and_says_so(changes: dict[str, Any], told: str) -> None:
    first, second = series_of(day(1), day(2), day(3, 2e6, **changes), day(4), day(5, 2e6, **changes))
    assert (days(first), days(second)) == ([1, 2, 4], [3, 5])
    assert (first.differs, second.differs) == ((), (told,))


def test_a_gpu_has_its_model_and_driver_and_no_cpu() -> None:
    def night(number: int, driver: str) -> Run:
        gpus = [{"name": "NVIDIA H100", "memory_bytes": 80 << 30, "driver": driver}]
        points = [measured(planned(device="cuda"))]
        return day(number, points, environment={"gpus": gpus, "cpu": f"CPU {number}"})

    first, second = series_of(night(1, "570.1"), night(2, "570.9"), night(3, "580.1"))
    assert (days(first), days(second)) == ([1, 2], [3])
    assert second.differs == ("driver 570 -> 580",)


def test_streamed_and_resident_never_share_a_series() -> None:
    first, second = series_of(day(1), day(2, [measured(execution="streamed")]), day(3))
    assert (days(first), days(second)) == ([1, 3], [2])


def test_a_status_that_changes_is_an_event_and_no_value() -> None:
    (one,) = series_of(day(1), day(2, [failed("oom", "9 of 8 GiB")]), day(3, [failed("oom", "9 of 8 GiB")]), day(4))
    told = [(event.first.when.day, event.was, event.now) for event in one.events]
    assert told == [(2, "ok", "oom"), (4, "oom", "ok")]
    assert [run.median_ns for run in one.runs] == [1e6, None, None, 1e6]
    assert one.changes == ()


def test_a_failure_goes_with_the_streamed_points_that_it_would_have_been_one_of() -> None:
    (one,) = series_of(day(1, [measured(execution="streamed")]), day(2, [failed("crashed", "signal 11")]))
    assert [event.now for event in one.events] == ["crashed"]


def test_another_back_end_is_an_event() -> None:
    (one,) = series_of(day(1), day(2, [measured(backend="math")]))
    assert [(event.what, event.was, event.now) for event in one.events] == [("back end", "sdpa-flash", "math")]


def test_a_point_that_was_not_started_says_nothing() -> None:
    (one,) = series_of(day(1), day(2, [failed("pruned", "predicted 69 s")]), day(3))
    assert days(one) == [1, 3]
    assert one.events == ()


def test_since_cuts_what_is_shown_and_not_what_is_known() -> None:
    values = [1e6] * 4 + [1.2e6] * 4
    gone = [failed("oom", case=planned(2048))]
    runs = [day(number, [measured(median_ns=value)]) for number, value in enumerate(values, 1)]
    runs[0].points += gone
    everything = series_of(*runs)
    assert len(everything) == 2
    (one,) = since(everything, datetime(2026, 11, 5, tzinfo=UTC))
    assert days(one) == [5, 6, 7, 8]
    (change,) = one.changes  # found by the runs before it, which are not shown
    assert change.before.median_ns == pytest.approx(1e6)
    (later,) = since(everything, datetime(2026, 11, 6, tzinfo=UTC))
    assert later.changes == ()


def test_a_clock_too_coarse_has_no_value() -> None:
    (one,) = series_of(day(1, [measured(median_ns=0.0)]), day(2))
    assert [run.median_ns for run in one.runs] == [None, 1e6]
