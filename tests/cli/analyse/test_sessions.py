"""Several sessions of a case become one point, and nothing that happened in one of them is lost."""

from __future__ import annotations

import math
import random
import statistics

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sample_runs import make_case, make_run, measured, unmeasured

from longbench_cli.analyse.curves import curves_of
from longbench_cli.analyse.sessions import between_interval, merged_points
from longbench_cli.analyse.speedup import over_full_attention
from longbench_cli.measure.types import Memory, Verdict
from longbench_cli.record.schema import POINT, MeasuredPoint, UnmeasuredPoint, dump_line

CASE = make_case()
TRUSTED = Verdict(kind="trusted", reasons=[])


def session(number: int, median_ns: float, **changes: object) -> MeasuredPoint:
    return measured(CASE, median_ns, noise=0, session=number, **({"verdict": TRUSTED} | changes))


def failed(number: int, status: str, reason: str = "signal 11") -> UnmeasuredPoint:
    return unmeasured(CASE, status, reason, session=number)


SETTINGS = {"precision": 0.01, "sessions": 5}


def merged(*points: object, **settings: object) -> MeasuredPoint | UnmeasuredPoint:
    (point,) = merged_points(make_run(points, settings=SETTINGS | settings))
    assert POINT.validate_json(dump_line(point)) == point
    return point


def test_a_single_session_is_left_as_it_was_written() -> None:
    points = [session(3, 1e6), measured(make_case(length=1024), 5e5), unmeasured(make_case(length=1), "oom", "full")]
    assert merged_points(make_run(points)) == points


def test_the_median_and_the_interval_are_those_of_the_session_medians() -> None:
    medians = [1.00e6, 1.04e6, 0.98e6, 1.02e6, 1.30e6]
    point = merged(*(session(number, value) for number, value in enumerate(medians)))
    latency = point.latency
    assert latency is not None
    assert latency.median_ns == 1.02e6
    assert (latency.interval, latency.sessions) == ("between", 5)
    logs = [math.log(value) for value in medians]
    half = 2.776445 * statistics.stdev(logs) / math.sqrt(5)  # t(0.975; 4), from a table
    expected = [math.exp(statistics.fmean(logs) + sign * half) for sign in (-1, 1)]
    assert latency.ci95_ns == pytest.approx(expected)
    assert latency.noise == pytest.approx((expected[1] - expected[0]) / 2 / 1.02e6)
    assert latency.iterations_ns == [round(value) for value in medians for _ in range(20)]


def test_sessions_come_in_their_order_whatever_the_order_of_the_lines_and_the_later_line_counts() -> None:
    point = merged(session(1, 2e6), session(0, 9e6), session(0, 1e6))
    assert point.latency is not None
    assert point.latency.iterations_ns == [1_000_000] * 20 + [2_000_000] * 20


def test_in_an_older_file_the_number_is_that_of_the_resumption_and_the_last_line_counts() -> None:
    points = [failed(0, "crashed"), session(1, 2e6)]
    assert merged_points(make_run(points, settings={"precision": 0.01})) == points[1:]


def test_sessions_that_differ_more_than_asked_are_noisy_though_each_was_trusted() -> None:
    wide = merged(*(session(number, value) for number, value in enumerate([1e6, 1.1e6, 1.2e6])))
    assert isinstance(wide, MeasuredPoint)
    assert wide.verdict is not None
    assert wide.verdict.kind == "noisy"
    assert "between sessions" in wide.verdict.reasons[0]
    close = merged(*(session(number, value) for number, value in enumerate([1e6, 1.001e6, 1.002e6])))
    assert isinstance(close, MeasuredPoint)
    assert close.verdict == TRUSTED


def test_the_verdict_is_the_worst_and_says_which_sessions_it_was() -> None:
    noisy, throttled = Verdict(kind="noisy", reasons=["wide"]), Verdict(kind="throttled", reasons=["hot", "wide"])
    point = merged(session(0, 1e6), session(1, 1e6, verdict=noisy), session(2, 1e6, verdict=throttled))
    assert isinstance(point, MeasuredPoint)
    assert point.verdict is not None
    assert point.verdict.kind == "throttled"
    assert point.verdict.reasons == ["sessions 1, 2: wide", "session 2: hot"]


def test_older_files_without_verdicts_stay_without_one() -> None:
    point = merged(session(0, 1e6, verdict=None), session(1, 1e6, verdict=None))
    assert isinstance(point, MeasuredPoint)
    assert point.verdict is None


def test_memory_is_the_most_of_all_sessions_and_telemetry_that_of_the_middle_one() -> None:
    peaks = [Memory(input_bytes=1, peak_bytes=peak, nvml_peak_bytes=None) for peak in (7, None, 9)]
    medians = (3e6, 1e6, 2e6)
    point = merged(*(session(n, medians[n], memory=peak, details={"session": n}) for n, peak in enumerate(peaks)))
    assert point.memory is not None
    assert (point.memory.peak_bytes, point.memory.nvml_peak_bytes) == (9, None)
    assert point.details == {"session": 2}


def test_one_incorrect_session_makes_the_point_incorrect() -> None:
    point = merged(*(session(n, 1e6) for n in range(4)), failed(4, "incorrect", "row 3 differs"))
    assert (point.status, point.reason) == ("incorrect", "in 1 of 5 sessions: row 3 differs")


def test_a_crash_in_one_session_is_told_beside_the_number_of_the_others() -> None:
    point = merged(session(0, 1e6), failed(1, "crashed"), session(2, 1e6), failed(3, "pruned", "over the budget"))
    assert isinstance(point, MeasuredPoint)
    assert point.latency.sessions == 2
    assert point.verdict is not None
    assert point.verdict.kind == "noisy"
    assert point.verdict.reasons == ["session 1 crashed: signal 11"]


def test_as_many_failures_as_measurements_are_a_failure() -> None:
    point = merged(session(0, 1e6), failed(1, "timeout", "no result after 9 s"))
    assert (point.status, point.reason) == ("timeout", "in 1 of 2 sessions: no result after 9 s")
    point = merged(failed(0, "oom"), failed(1, "crashed", "first"), failed(2, "crashed", "second"))
    assert (point.status, point.reason) == ("crashed", "in 2 of 3 sessions: first")
    same = merged(failed(0, "pruned", "too slow"), failed(1, "pruned", "too slow"))
    assert same.reason == "too slow"


def test_sessions_that_ran_another_way_are_never_mixed_in() -> None:
    streamed = session(2, 9e6, execution="streamed")
    point = merged(session(0, 1e6), session(1, 1e6), streamed)
    assert isinstance(point, MeasuredPoint)
    assert point.latency.sessions == 2
    assert point.latency.median_ns == 1e6
    assert point.verdict is not None
    assert point.verdict.reasons == ["session 2 ran another way (sdpa-flash, streamed) and is left out"]


@pytest.mark.parametrize("precision", [None, "1%", True, 0.01])
def test_a_file_says_what_it_likes_about_its_precision(precision: object) -> None:
    points = [session(0, 1e6), session(1, 1.001e6)]
    assert merged(*points, precision=precision).status == "ok"


def test_a_clock_too_coarse_for_the_pass_still_merges() -> None:
    latency = merged(session(0, 0.0), session(1, 0.0)).latency
    assert latency is not None
    assert (latency.ci95_ns, latency.noise) == ((0, 0), 0)


def test_curves_and_speed_ups_are_of_merged_points() -> None:
    fast, slow = make_case("dilated", 8192), make_case("vanilla", 8192)
    points = [
        measured(case, ns * (1 + number / 1000), noise=0, session=number)
        for number in range(5)
        for case, ns in ((fast, 1e6), (slow, 3e6))
    ]
    curves = curves_of([make_run(points, settings=SETTINGS)])
    assert [len(curve.points) for curve in curves] == [1, 1]
    found, _ = over_full_attention(curves)
    assert found is not None
    assert found.ratio == pytest.approx(3)
    assert found.significant


medians = st.lists(st.floats(1, 1e12), min_size=2, max_size=40)


@given(medians, st.floats(0.01, 100))
def test_the_interval_holds_the_median_and_scales_with_the_unit(values: list[float], unit: float) -> None:
    low, high = between_interval(values)
    assert low <= statistics.median(values) <= high
    assert between_interval([unit * value for value in values]) == pytest.approx((unit * low, unit * high))


def test_the_interval_covers_what_many_later_sessions_say_and_one_within_a_session_would_not() -> None:
    """Processes that differ by 5%, of which 5 are measured: the goal of the benchmark, on a model of it."""
    draw = random.Random(8)
    held = 0
    for _ in range(400):
        low, high = between_interval([draw.lognormvariate(0, 0.05) for _ in range(5)])
        later = statistics.median(draw.lognormvariate(0, 0.05) for _ in range(30))
        held += low <= later <= high
    assert 0.85 <= held / 400 <= 0.99
