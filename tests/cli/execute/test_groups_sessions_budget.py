"""Who is measured together, how often and when: turns, sessions and the budget, on a clock that only fakes move."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace

import pytest
from fake_sweep import GIB, Bench, a_point, took
from hypothesis import given
from hypothesis import strategies as st

from longbench_cli.execute.budget import whole_seconds
from longbench_cli.execute.groups import MOST_LIVE, Job
from longbench_cli.execute.outcome import Outcome, Status
from longbench_cli.execute.sessions import count_due
from longbench_cli.execute.sweep import run_sweep
from longbench_cli.sweep.case import Device
from longbench_cli.sweep.plan import Plan
from longbench_cli.sweep.settings import Settings

ROOMY = 64 * GIB


def test_the_implementations_of_one_length_are_run_together_and_lengths_apart() -> None:
    points = [a_point(n, impl) for n in (64, 128) for impl in ("vanilla", "dilated", "sparse")]
    bench = Bench()
    bench.sweep(points, free=ROOMY)
    assert bench.groups == [[p.key for p in points[:3]], [p.key for p in points[3:]]]
    assert bench.announced == [p.key for p in points]


def test_back_ends_of_one_implementation_take_turns_too_but_devices_do_not() -> None:
    points = [a_point(64, backend="math"), a_point(64, backend="sdpa-flash"), a_point(64, device="cuda")]
    bench = Bench()
    bench.sweep(points, free=ROOMY)
    assert bench.groups == [[points[0].key, points[1].key], [points[2].key]]


def test_sequential_order_runs_each_alone() -> None:
    points = [a_point(64, impl) for impl in ("vanilla", "dilated")]
    bench = Bench()
    bench.sweep(points, free=ROOMY, settings=Settings(order="sequential"))
    assert bench.groups == [[points[0].key], [points[1].key]]


def test_only_what_fits_half_of_the_free_memory_is_alive_at_once() -> None:
    points = [a_point(64, impl, predicted_bytes=10 * GIB) for impl in ("a", "b", "c", "d", "e")]
    bench = Bench()
    bench.sweep(points, free=ROOMY)
    assert [len(group) for group in bench.groups] == [3, 2]  # 10 GiB and a process each, in 32 GiB
    alone = Bench()
    alone.sweep(points, free=30 * GIB)
    assert [len(group) for group in alone.groups] == [1] * 5
    unknown = Bench()
    unknown.sweep(points, free=None)
    assert [len(group) for group in unknown.groups] == [1] * 5


@pytest.mark.parametrize(("device", "sizes"), [("cpu", [1, 1, 1]), ("cuda", [3])])
def test_ranks_of_a_cpu_share_its_memory_and_each_gpu_has_its_own(device: Device, sizes: list[int]) -> None:
    """Of four ranks with 4 GiB each a CPU has room for one point, with 64 GiB free; a GPU for seven."""
    alone = [a_point(64, impl, predicted_bytes=4 * GIB, device=device) for impl in ("a", "b", "c")]
    points = [replace(point, case=point.case.model_copy(update={"world_size": 4})) for point in alone]
    bench = Bench()
    bench.sweep([replace(point, key=point.case.key) for point in points], free=ROOMY)
    assert [len(group) for group in bench.groups] == sizes


def test_a_large_group_is_cut_into_equal_parts() -> None:
    bench = Bench()
    bench.sweep([a_point(64, f"i{n}") for n in range(MOST_LIVE + 2)], free=ROOMY)
    assert [len(group) for group in bench.groups] == [5, 5]


def test_a_streamed_point_runs_alone_and_a_pruned_one_does_not_run() -> None:
    streamed = a_point(64, "dilated", predicted_bytes=20 * GIB, streams=True)
    slow = a_point(64, "slow", predicted_seconds=1e6)
    points = [a_point(64, "vanilla"), streamed, slow, a_point(64, "sparse")]
    bench = Bench()
    bench.sweep(points, free=ROOMY)
    assert bench.groups == [[points[0].key, points[3].key], [streamed.key]]
    assert dict(bench.recorded)[slow.key].status == "pruned"


def test_one_that_runs_out_of_memory_beside_others_is_run_again_alone_before_it_proves_anything() -> None:
    small, other, large = a_point(64), a_point(64, "dilated"), a_point(128)
    huge, beyond = a_point(256), a_point(512)
    groups: list[list[str]] = []

    def run_group(
        jobs: Sequence[Job], _limit: float, _progress: object, on_end: Callable[[Job, Outcome], None]
    ) -> None:
        groups.append([job.point.key for job in jobs])
        for job in jobs:
            too_big = job.point is huge or (job.point is small and len(jobs) > 1)
            on_end(job, Outcome("oom", "no room") if too_big else took(0.001))

    bench = Bench()
    plan = Plan((small, other, large, huge, beyond), Settings(), None, {})
    run_sweep(plan, {}, run_group, bench.sink, bench, lambda _device: ROOMY)
    assert groups == [[small.key, other.key], [small.key], [large.key], [huge.key]]
    assert bench.sessions == [(point.key, 0) for point in (other, small, large, huge, beyond)]
    assert bench.statuses() == ["ok", "ok", "ok", "oom", "pruned"]


def test_sessions_are_spread_over_the_sweep() -> None:
    points = [a_point(n) for n in (64, 128, 256)]
    bench = Bench()
    assert bench.sweep(points, settings=Settings(sessions=3))
    assert bench.sessions == [(p.key, session) for session in range(3) for p in points]


@pytest.mark.parametrize("status", ["pruned", "oom", "unsupported", "incorrect", "timeout"])
def test_what_another_process_would_only_meet_again_ends_a_point(status: Status) -> None:
    first, second = a_point(64), a_point(64, "dilated")
    bench = Bench({first.key: Outcome(status, "because")})
    bench.sweep([first, second], settings=Settings(sessions=3))
    assert bench.sessions == [(first.key, 0), (second.key, 0), (second.key, 1), (second.key, 2)]
    assert bench.never == [(first.key, 2)]
    again = Bench()
    again.sweep([first], settings=Settings(sessions=3), done={(first.key, 0): Outcome(status, "because")})
    assert again.sessions == []


def test_a_crash_costs_its_own_session_alone() -> None:
    point = a_point(64)
    bench = Bench({point.key: Outcome("crashed", "bad luck")})
    bench.sweep([point], settings=Settings(sessions=2))
    assert bench.sessions == [(point.key, 0), (point.key, 1)]


def test_a_session_that_is_recorded_is_not_measured_again() -> None:
    first, second = a_point(64), a_point(128)
    bench = Bench()
    done = {(first.key, 0): took(1), (second.key, 0): took(1), (first.key, 1): took(1)}
    bench.sweep([first, second], settings=Settings(sessions=2), done=done)
    assert bench.sessions == [(second.key, 1)]


@given(st.lists(st.sampled_from(["ok", "crashed", "oom", "timeout"]), min_size=1, max_size=6), st.integers(1, 5))
def test_what_is_counted_as_missing_is_what_is_then_measured(answers: list[Status], sessions: int) -> None:
    points = [a_point(64 * 2**n, f"i{n}") for n in range(len(answers))]
    table = {p.key: took(1) if a == "ok" else Outcome(a, "x") for p, a in zip(points, answers, strict=True)}
    settings = Settings(sessions=sessions)
    bench = Bench(table)
    bench.sweep(points, settings=settings)
    outcomes = dict(zip(bench.sessions, (outcome for _, outcome in bench.recorded), strict=True))
    for cut in range(len(outcomes) + 1):
        done = dict(list(outcomes.items())[:cut])
        rest = Bench(table)
        rest.sweep(points, done=done, settings=settings)
        assert [*done, *rest.sessions] == list(outcomes)
        ended = {item: outcome.status for item, outcome in done.items()}
        left_out = sum(count for _, count in rest.never)
        assert count_due(points, sessions, ended) == len(rest.sessions) + left_out


FAST = whole_seconds("op", Settings(), 0.1)


def test_a_budget_is_spent_on_the_cheapest_points_first() -> None:
    points = [a_point(n, predicted_seconds=s) for n, s in ((64, 50.0), (128, 0.1), (256, 5.0))]
    bench = Bench()
    bench.sweep(points, budget=1e6)
    assert bench.ran == [points[1].key, points[2].key, points[0].key]
    unlimited = Bench()
    unlimited.sweep(points)
    assert unlimited.ran == [p.key for p in points]
    assert set(unlimited.limits) == {math.inf}


def test_what_does_not_fit_any_more_is_put_off_and_what_runs_is_told_how_long_it_may() -> None:
    points = [a_point(n, f"i{n}") for n in (64, 128, 256)]
    bench = Bench(lasts={points[0].key: 10.0, points[1].key: 8.0})
    bench.sweep(points, budget=2 * FAST, settings=Settings(no_prune=True))
    assert bench.ran == [p.key for p in points[:2]]
    assert bench.limits == [pytest.approx(2 * FAST), pytest.approx(2 * FAST - 10.0)]
    key, outcome = bench.recorded[2]
    assert (key, outcome.status) == (points[2].key, "pruned")
    assert outcome.reason == "--budget: predicted 15.5 s > 13 s left"


def test_a_cheap_point_is_not_put_off_for_a_dear_one_before_it() -> None:
    """The first took far longer than predicted: now the second does not fit, but the third is cheap by evidence."""
    points = [a_point(64), a_point(256, "slow", predicted_seconds=8.0), a_point(128, predicted_seconds=9.0)]
    bench = Bench({points[0].key: took(0.001)}, lasts={points[0].key: 60.0})
    bench.sweep(points, budget=60.0 + FAST)
    assert bench.statuses() == ["ok", "pruned", "ok"]
    assert bench.ran == [points[0].key, points[2].key]


def test_a_group_is_run_as_a_whole_or_without_its_costliest_points() -> None:
    points = [a_point(64, "vanilla", 50.0), a_point(64, "dilated"), a_point(64, "sparse")]
    bench = Bench()
    bench.sweep(points, budget=2 * FAST + 1, free=ROOMY)
    assert bench.groups == [[points[1].key, points[2].key]]
    key, outcome = bench.recorded[0]
    assert (key, outcome.status) == (points[0].key, "pruned")
    assert "of 3 points in turns" in str(outcome.reason)


def test_a_whole_point_takes_its_start_its_checks_and_its_sampling() -> None:
    settings = Settings(max_time=10.0, min_iterations=10)
    assert whole_seconds("op", settings, 1e-4) == pytest.approx(5.0 + 10.0, abs=0.01)
    assert whole_seconds("op", settings, 0.9) > 10.0
    assert whole_seconds("op", settings, 30.0) >= 2 * 30.0
    assert whole_seconds("model", settings, 1e-4) > whole_seconds("op", settings, 1e-4)
