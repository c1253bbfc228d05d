"""Runs that did not take turns: which are compared, by what rule, and how often it is wrong."""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from typing import Any

import pytest
from compared import duet_of, failed, measured, planned, run_of, sessions_of
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from longbench_cli.analyse.comparison.stored import compare_stored
from longbench_cli.analyse.comparison.stored_rule import judge_stored, stored_threshold
from longbench_cli.analyse.comparison.types import Comparison, Kind
from longbench_cli.record.journal import Run

SPREAD = (-0.015, 0.005, 0.0, 0.01, -0.01, 0.015, -0.005, 0.0)  # sd 1%


def medians(ratio: float = 1.0, scale: float = 1.0, base_ns: float = 1e7) -> list[float]:
    return [base_ns * ratio * math.exp(scale * step) for step in SPREAD]


def a_run(ratio: float = 1.0, run_id: str = "base", **changes: Any) -> Run:
    return run_of(sessions_of(medians(ratio)), run_id=run_id, **changes)


def compared(base: Run | Sequence[Run], candidate: Run | Sequence[Run], *allow: str) -> Comparison:
    sides = [[side] if isinstance(side, Run) else list(side) for side in (base, candidate)]
    return compare_stored(*sides, allow=allow)


@pytest.mark.parametrize(
    ("ratio", "scale", "kind"),
    [
        (1.0, 1.0, "ok"),
        (1.02, 1.0, "ok"),
        (0.97, 1.0, "ok"),
        (1.045, 1.0, "inconclusive"),
        (1.06, 1.0, "regression"),
        (0.94, 1.0, "improvement"),
        (1.06, 8.0, "inconclusive"),
        (0.94, 8.0, "ok"),
    ],
)
def test_what_eight_sessions_a_side_say(ratio: float, scale: float, kind: Kind) -> None:
    found = judge_stored(medians(scale=scale), medians(ratio, scale))
    assert found.kind == kind
    assert "weaker" in found.reason
    assert found.effect is not None
    assert found.effect.ratio == pytest.approx(ratio)


def test_the_bounds_are_those_of_welchs_test() -> None:
    base, candidate = medians(), [*medians(1.06, 2.0), 1.2e7]
    logs = [[math.log(value) for value in side] for side in (candidate, base)]
    theirs = stats.ttest_ind(*logs, equal_var=False)
    effect = judge_stored(base, candidate).effect
    assert effect is not None
    low, high = theirs.confidence_interval(0.95)
    assert effect.interval == pytest.approx((math.exp(low), math.exp(high)))
    assert effect.lower == pytest.approx(math.exp(theirs.confidence_interval(0.98).low))
    assert effect.upper == pytest.approx(math.exp(theirs.confidence_interval(0.90).high))


@pytest.mark.parametrize(
    ("base", "noise", "share", "why"),
    [
        (medians(), None, 0.05, "least"),
        (medians(), 0.02, 0.05, "least"),
        (medians(), 0.06, 0.06, "the spread of pairs of the same code"),
        (medians(scale=10.0), 0.03, math.expm1(0.1), "spread"),
        (medians(base_ns=5e4), None, 0.1, "5 us of 50 us"),
    ],
)
def test_the_threshold_is_the_largest_of_four(base: list[float], noise: float | None, share: float, why: str) -> None:
    found = stored_threshold(base, noise)
    assert found.share == pytest.approx(share, rel=0.02)
    assert why in found.why


def test_a_slowdown_as_small_as_is_said_to_be_detectable_is_found_nine_times_of_ten() -> None:
    draw = random.Random(5)

    def sessions(ratio: float) -> list[float]:
        return [1e7 * ratio * math.exp(draw.gauss(0, 0.03)) for _ in range(8)]

    told = sorted(judge_stored(sessions(1), sessions(1)).detectable or 0.0 for _ in range(100))[50]
    share = sum(judge_stored(sessions(1), sessions(1 + told)).kind == "regression" for _ in range(300)) / 300
    assert 0.80 <= share <= 0.97
    false = sum(judge_stored(sessions(1), sessions(1)).kind == "regression" for _ in range(300))
    assert false <= 1


ns = st.lists(st.floats(1e-3, 1e18), min_size=8, max_size=12)


@settings(max_examples=60)
@given(ns, ns, st.floats(1, 1e3))
def test_whatever_the_times_the_verdict_keeps_its_promises(
    base: list[float], candidate: list[float], unit: float
) -> None:
    found = judge_stored(base, candidate)
    assert found.effect is not None
    assert found.threshold is not None
    low, high = found.effect.interval
    assert low <= found.effect.ratio <= high
    assert found.detectable is not None
    assert found.detectable >= found.threshold.share * (1 - 1e-9)
    if found.kind in ("regression", "ok"):
        assert (found.kind == "regression") == (found.effect.ratio >= (1 + found.threshold.share) * (1 - 1e-9))
    assert judge_stored(candidate, base).kind != "regression" or found.kind != "regression"
    assert judge_stored([1e6 * unit] * 8, [1e6 * unit] * 8).kind == "ok"


@pytest.mark.parametrize("counts", [(1, 8), (8, 7), (1, 1)])
def test_too_few_sessions_are_not_comparable_and_say_what_to_do(counts: tuple[int, int]) -> None:
    base, candidate = (sessions_of(medians(ratio)[:n]) for ratio, n in zip((1, 2), counts, strict=True))
    (point,) = compared(run_of(base), run_of(candidate, run_id="new")).points
    assert point.kind == "not-comparable"
    sessions = "1 session" if counts[0] == 1 else f"{counts[0]} sessions"
    assert point.reason.startswith(f"{sessions} of the base, {counts[1]} of the candidate")
    assert "--sessions 8" in point.reason
    assert (point.effect is None) == (min(counts) == 1)


def test_a_clock_that_saw_nothing_is_not_comparable() -> None:
    (point,) = compared(run_of(sessions_of([0.0] * 8)), a_run(run_id="new")).points
    assert point.kind == "not-comparable"
    assert "clock" in point.reason


def test_one_session_of_each_of_eight_runs_is_as_good_as_a_run_of_eight() -> None:
    runs = [run_of([measured(median_ns=value)], run_id=f"base-{n}") for n, value in enumerate(medians())]
    single = compared(runs, a_run(1.1, "new"))
    assert single.points == compared(a_run(), a_run(1.1, "new")).points
    assert single.points[0].kind == "regression"
    assert single.points[0].values == ()
    assert [len(single.base.files), single.candidate.files] == [8, ("new.jsonl",)]


def test_runs_of_another_fingerprint_are_left_out_with_a_warning_and_never_mixed() -> None:
    other = {"packages": {"torch": "2.12.0"}}
    runs = [
        a_run(3.0, "old", environment=other, created="2025-01-03T00:00:00Z"),
        a_run(run_id="base"),
        a_run(3.0, "older", environment=other | {"cpu": "Another"}),
    ]
    found = compared(runs, a_run(1.01, "new"))
    assert found.points[0].kind == "ok"
    assert len(found.points[0].base.medians_ns) == 8
    assert found.warnings == (
        "2 of 3 runs of the base with points on cpu left out: measured otherwise than those compared (cpu, torch)",
    )


def test_where_no_base_matches_the_newest_tells_what_differs_and_may_be_allowed() -> None:
    torch = {"packages": {"torch": "2.12.0"}}
    runs = [
        a_run(1.0, "a", environment=torch),
        a_run(9.0, "b", environment=torch | {"cpu": "Another"}, created="2025-01-03T00:00:00Z"),
    ]
    (point,) = compared(runs, a_run(1.01, "new")).points
    assert point.kind == "not-comparable"
    assert [one.field for one in point.differences] == ["cpu", "torch"]
    (point,) = compared(runs, a_run(1.01, "new"), "torch").points
    assert point.kind == "ok"
    assert "allowed to differ: torch: base 2.12.0, candidate 2.13.0" in point.steps
    (point,) = compared(runs, a_run(9.01, "new"), "torch", "cpu").points
    assert (point.kind, len(point.base.medians_ns)) == ("ok", 8)


LARGE = planned(4096)


@pytest.mark.parametrize("side", ["base", "candidate"])
def test_a_key_that_is_only_in_runs_left_out_says_what_differs(side: str) -> None:
    other = {"packages": {"torch": "2.12.0"}}
    large = sessions_of(medians(), LARGE)
    sides = {
        name: [a_run(run_id=name), run_of(large, run_id=f"{name}-large", environment=other if name == side else None)]
        for name in ("base", "candidate")
    }
    newest = sides[side][0]
    newest.header = newest.header.model_copy(update={"created": "2025-02-01T00:00:00Z"})
    small, point = compared(sides["base"], sides["candidate"]).points
    assert (small.kind, point.kind) == ("ok", "not-comparable")
    assert [(one.field, "2.12.0" in (one.base, one.candidate)) for one in point.differences] == [("torch", True)]
    assert compared(sides["base"], sides["candidate"], "torch").points[1].kind == "ok"
    lacking = "candidate" if side == "base" else "base"
    del sides[lacking][1]
    point = compared(sides["base"], sides["candidate"]).points[1]
    assert (point.key, point.kind) == (LARGE.key, "not-comparable")  # neither new nor missing
    assert [one.field for one in point.differences] == ["torch"]


def test_a_candidate_that_fails_now_and_then_is_a_regression_unless_the_base_does() -> None:
    def part(failures: int, run_id: str) -> Run:
        crashes = [failed("crashed", "signal 11", session=8 + number) for number in range(failures)]
        return run_of([*sessions_of(medians()), *crashes], run_id=run_id)

    (point,) = compared(a_run(), part(2, "new")).points
    assert (point.kind, point.metric, point.candidate.status) == ("regression", "status", "crashed")
    assert "in 2 of 10 sessions: signal 11" in point.reason
    for before, now in ((0, 1), (2, 2), (3, 2)):
        assert compared(part(before, "base"), part(now, "new")).points[0].kind == "ok"
    assert compared(part(1, "base"), part(2, "new")).points[0].kind == "regression"


def test_a_side_of_a_duet_is_not_compared_with_a_run_that_stands_alone() -> None:
    values = [step + 0.01 * (-1) ** n for n, step in enumerate(SPREAD)]
    _, candidate = duet_of(values, base_ns=1e7, injected=0.05)
    found = compared(a_run(), candidate)
    assert [one.field for one in found.points[0].differences] == ["order"]
    assert found.injected == 0.05
    assert compared(a_run(), candidate, "order").points[0].kind == "ok"
    mixed = compared([a_run(), duet_of(values, base_ns=9e7)[0]], a_run(1.01, "new"))
    assert (mixed.points[0].kind, len(mixed.points[0].base.medians_ns), mixed.injected) == ("ok", 8, None)
    assert "measured otherwise than those compared (order)" in mixed.warnings[0]


def test_the_newest_candidate_says_what_is_compared() -> None:
    candidates = [
        a_run(9.0, "late", environment={"cpu": "Another"}),
        a_run(1.0, "new", created="2025-02-01T00:00:00Z"),
    ]
    found = compared(a_run(), candidates)
    assert found.points[0].kind == "ok"
    assert "1 of 2 runs of the candidate" in found.warnings[0]
    assert found.candidate.created == "2025-02-01T00:00:00Z"


def test_points_come_as_the_base_planned_them_and_new_ones_last() -> None:
    cases = [planned(length) for length in (4096, 1024, 2048)]
    keys = [case.key for case in cases]
    base = run_of([failed("oom", case=cases[1]), *sessions_of(medians(), cases[0])], plan=keys[:2])
    candidate = run_of(
        [*sessions_of(medians(), cases[2]), failed("oom", case=cases[1])],
        run_id="new",
        plan=[keys[2], keys[1], keys[0]],
    )
    found = compared(base, candidate)
    assert [(point.key, point.kind) for point in found.points] == [
        (keys[0], "regression"), (keys[1], "ok"), (keys[2], "new"),
    ]  # fmt: skip
    assert found.points[0].candidate.status == "missing"
    assert "cut off" in found.points[0].reason
    assert found.points[0].case.backend == "sdpa-flash"


def test_more_memory_is_a_regression_though_the_time_is_the_same() -> None:
    heavy = run_of(sessions_of(medians(), peak_bytes=128 << 20), run_id="new")
    (point,) = compared(a_run(), heavy).points
    assert (point.kind, point.metric) == ("regression", "memory")
    assert point.memory is not None
    assert (point.memory.base_bytes, point.memory.candidate_bytes) == (64 << 20, 128 << 20)
    assert "at most" in point.reason


def test_a_run_of_older_files_is_one_session_whatever_its_numbers() -> None:
    old = a_run()
    old.header.settings.pop("sessions")
    (point,) = compared(old, a_run(run_id="new")).points
    assert len(point.base.medians_ns) == 1


def test_sides_are_called_by_their_files_and_by_their_paths_where_those_are_alike() -> None:
    found = compared(a_run(), a_run(run_id="new"))
    assert (found.base.label, found.candidate.label) == ("base.jsonl", "new.jsonl")
    assert (found.base.commit, found.base.version) == ("0f1e2d3c", "0.1.0")
    one, two = a_run(run_id="one"), a_run(run_id="two")
    one.path, two.path = one.path.parent / "a" / "run.jsonl", two.path.parent / "b" / "run.jsonl"
    found = compared(one, two)
    assert (found.base.label, found.candidate.label) == ("a/run.jsonl", "b/run.jsonl")
