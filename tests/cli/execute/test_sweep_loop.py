"""The loop of a sweep, with a fake in place of the worker: what is skipped, pruned, run, and in which order."""

from __future__ import annotations

from dataclasses import replace

import pytest
from fake_sweep import GIB, Bench, a_point, took

from longbench_cli.execute.outcome import Outcome
from longbench_cli.execute.sweep import LEAST_TIMEOUT_S, run_sweep, timeout_of
from longbench_cli.sweep.plan import Plan, PlannedPoint
from longbench_cli.sweep.settings import Settings


def test_every_point_gets_an_outcome_in_order_whatever_becomes_of_the_others() -> None:
    points = [a_point(n) for n in (64, 128, 256, 512)]
    bad = {points[0].key: Outcome("crashed", "x"), points[1].key: Outcome("timeout", "x"), points[2].key: took(1)}
    bench = Bench(bad)
    assert bench.sweep(points)
    assert bench.statuses() == ["crashed", "timeout", "ok", "ok"]
    assert bench.ran == bench.announced == [point.key for point in points]
    assert len(bench.seen) == 4


def test_what_is_done_is_not_run_or_recorded_again() -> None:
    points = [a_point(n) for n in (64, 128, 256)]
    bench = Bench()
    assert bench.sweep(points, done={(points[1].key, 0): took(0.1)})
    assert [key for key, _ in bench.recorded] == bench.ran == [points[0].key, points[2].key]


def test_the_plan_s_prediction_prunes_while_nothing_is_measured() -> None:
    bench = Bench()
    bench.sweep([a_point(64, predicted_seconds=61), a_point(128, "dilated", predicted_seconds=1)])
    assert bench.statuses() == ["pruned", "ok"]
    assert "--max-point-time" in str(bench.recorded[0][1].reason)
    assert bench.announced == bench.ran  # a pruned point is not announced as running


def test_what_its_ranks_cannot_share_is_unsupported_and_never_started() -> None:
    refused = replace(a_point(64, predicted_seconds=61), refused="its ranks cannot share it")
    bench = Bench()
    bench.sweep([refused, a_point(128)], settings=Settings(sessions=2))
    assert bench.statuses() == ["unsupported", "ok", "ok"]
    assert bench.recorded[0] == (refused.key, Outcome("unsupported", "its ranks cannot share it"))
    assert refused.key not in bench.ran + bench.announced
    assert bench.never == [(refused.key, 1)]


def test_a_measured_point_corrects_the_prediction_of_its_curve_both_ways() -> None:
    first, larger, other = a_point(64), a_point(256), a_point(256, "dilated")
    slow = Bench({first.key: took(5.0)})  # 16 times the work: 80 s, though the plan said 0.1 s
    slow.sweep([first, larger, other])
    assert slow.statuses() == ["ok", "pruned", "ok"]
    first, larger = a_point(64), a_point(256, predicted_seconds=1000)
    fast = Bench({first.key: took(0.001)})
    fast.sweep([first, larger])
    assert fast.statuses() == ["ok", "ok"]


def test_the_nearest_measured_point_predicts() -> None:
    small, middle, large = a_point(16), a_point(64), a_point(128)
    bench = Bench({small.key: took(2.0), middle.key: took(1.0)})  # from 16: 128 s; from 64: 4 s
    bench.sweep([small, middle, large])
    assert bench.statuses() == ["ok", "ok", "ok"]


def test_a_point_far_away_predicts_nothing() -> None:
    small, large = a_point(16), a_point(1024)  # 4096 times the work, but most of a small point is fixed cost
    bench = Bench({small.key: took(0.1)})
    bench.sweep([small, large])
    assert bench.statuses() == ["ok", "ok"]


def test_points_of_an_earlier_invocation_predict_too() -> None:
    first, larger = a_point(64), a_point(256)
    bench = Bench()
    bench.sweep([first, larger], done={(first.key, 0): took(5.0)})
    assert bench.statuses() == ["pruned"]
    bench = Bench()
    bench.sweep([first, larger], done={(first.key, 0): Outcome("oom", "x")})
    assert bench.statuses() == ["pruned"]


def test_out_of_memory_prunes_what_needs_more_on_the_same_curve_and_names_the_proof() -> None:
    points = [a_point(64), a_point(128), a_point(128, "dilated"), a_point(32)]
    bench = Bench({points[0].key: Outcome("oom", "x")})
    bench.sweep(points)
    assert bench.statuses() == ["oom", "pruned", "ok", "ok"]
    assert points[0].key in str(bench.recorded[1][1].reason)


def test_memory_is_asked_for_before_each_length() -> None:
    answers = iter([GIB, 10, GIB])
    bench = Bench()
    plan = Plan((a_point(64), a_point(128), a_point(256)), Settings(), None, {})
    run_sweep(plan, {}, bench.run_group, bench.sink, bench, lambda _device: next(answers))
    assert bench.statuses() == ["ok", "pruned", "ok"]


def test_ctrl_c_keeps_what_is_recorded_and_leaves_the_rest() -> None:
    points = [a_point(n) for n in (64, 128, 256)]
    bench = Bench({points[1].key: KeyboardInterrupt()})
    assert bench.sweep(points) is False
    assert [key for key, _ in bench.recorded] == [points[0].key]


def test_a_sink_that_fails_stops_the_sweep() -> None:
    bench = Bench()

    def full(_point: PlannedPoint, _session: int, _outcome: Outcome) -> None:
        raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        run_sweep(
            Plan((a_point(64), a_point(128)), Settings(), None, {}),
            {},
            bench.run_group,
            full,
            bench,
            lambda _device: None,
        )
    assert len(bench.ran) == 1


def test_the_watchdog_s_time_follows_the_prediction_unless_it_was_given() -> None:
    bench = Bench()
    bench.sweep([a_point(64)], settings=Settings(timeout=7.0))
    assert bench.timeouts == [7.0]
    assert timeout_of(Settings(), "op", 0.001) == LEAST_TIMEOUT_S["op"]
    assert timeout_of(Settings(), "model", 0.001) == LEAST_TIMEOUT_S["model"] > LEAST_TIMEOUT_S["op"]
    assert timeout_of(Settings(), "op", 59.0) > 10 * 59.0 + 10.0
    assert timeout_of(Settings(min_iterations=1000), "op", 0.5) > 2 * 1000 * 0.5  # which max_time does not cut short
    slow = Bench()
    first, larger = a_point(64), a_point(128)
    slow.answers = {first.key: took(10.0)}
    slow.sweep([first, larger])
    assert slow.timeouts[1] > 10 * 40.0


def test_out_of_memory_proves_nothing_of_a_point_that_is_run_otherwise() -> None:
    """Of 1 GiB, a quarter is for points that could be streamed: the small one was resident, the large is not."""
    small, large = (a_point(n, predicted_bytes=b, streams=True) for n, b in ((64, GIB // 8), (128, GIB // 2)))
    bench = Bench({small.key: Outcome("oom", "x")})
    bench.sweep([small, large])
    assert bench.statuses() == ["oom", "ok"]
    assert [outcome.execution for _, outcome in bench.recorded] == ["resident", "streamed"]
    again = Bench()
    again.sweep([small, large], done={(small.key, 0): Outcome("oom", "x", execution="streamed")})
    assert again.statuses() == ["pruned"]


def test_out_of_memory_on_a_gpu_proves_nothing_of_the_processor() -> None:
    first, other, same = a_point(64, device="cuda"), a_point(128), a_point(128, device="cuda")
    bench = Bench({first.key: Outcome("oom", "x")})
    bench.sweep([first, other, same])
    assert bench.statuses() == ["oom", "ok", "pruned"]


def test_no_prune_starts_every_point_whatever_is_known_of_it() -> None:
    points = [a_point(64), a_point(128), a_point(256, predicted_seconds=1e6), a_point(512, predicted_bytes=9 * GIB)]
    bench = Bench({points[0].key: Outcome("oom", "x")})
    bench.sweep(points, settings=Settings(no_prune=True))
    assert bench.statuses() == ["oom", "ok", "ok", "ok"]
