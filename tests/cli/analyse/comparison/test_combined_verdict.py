"""How time, memory, a status and what differs become one verdict."""

from __future__ import annotations

from typing import Any

import pytest
from compared import failed, measured, planned, sessions_of
from hypothesis import given
from hypothesis import strategies as st

from longbench_cli.analyse.comparison.memory import memory_change
from longbench_cli.analyse.comparison.sides import side_of
from longbench_cli.analyse.comparison.types import KINDS, Difference, Kind, PointVerdict, Side, exit_code
from longbench_cli.analyse.comparison.verdict import TimeVerdict, combine, together

CASE = planned()
MIB, GIB = 1 << 20, 1 << 30
MEASURED = Side("ok", backend="sdpa-flash", medians_ns=(1e6,))
OTHER_GPU = Difference("gpu", "A100", "H100")


def verdict(
    base: str | Side = "ok", candidate: str | Side = "ok", time: Kind | None = "ok", **parts: Any
) -> PointVerdict:
    sides = [
        Side(side, None if side == "ok" else "why") if isinstance(side, str) else side for side in (base, candidate)
    ]
    times = time and TimeVerdict(time, f"the time is {time}", wants=6 if time == "inconclusive" else 0)
    return combine(CASE.key, CASE, "stored", *sides, **({"time": times} | parts))


@pytest.mark.parametrize(
    ("base", "candidate", "kind"),
    [
        ("ok", "oom", "regression"),
        ("ok", "timeout", "regression"),
        ("ok", "crashed", "regression"),
        ("ok", "unsupported", "regression"),
        ("ok", "missing", "regression"),
        ("ok", "incorrect", "incorrect"),
        ("oom", "incorrect", "incorrect"),
        ("missing", "incorrect", "incorrect"),
        ("pruned", "incorrect", "incorrect"),
        ("oom", "oom", "ok"),
        ("unsupported", "unsupported", "ok"),
        ("crashed", "crashed", "not-comparable"),
        ("timeout", "timeout", "not-comparable"),
        ("missing", "missing", "not-comparable"),
        ("incorrect", "incorrect", "incorrect"),
        ("oom", "crashed", "regression"),
        ("oom", "missing", "regression"),
        ("crashed", "oom", "ok"),
        ("timeout", "crashed", "regression"),
        ("oom", "timeout", "regression"),
        ("unsupported", "oom", "regression"),
        ("incorrect", "crashed", "ok"),
        ("crashed", "timeout", "ok"),
        ("oom", "unsupported", "ok"),
        ("oom", "ok", "improvement"),
        ("incorrect", "ok", "improvement"),
        ("missing", "ok", "new"),
        ("missing", "oom", "new"),
        ("missing", "pruned", "new"),
        ("ok", "pruned", "not-comparable"),
        ("pruned", "ok", "not-comparable"),
        ("pruned", "missing", "not-comparable"),
        ("pruned", "pruned", "ok"),
    ],
)
def test_a_status_that_changed_decides(base: str, candidate: str, kind: Kind) -> None:
    found = verdict(base, candidate, time=None)
    assert (found.kind, found.metric) == (kind, "status")
    assert "why" in found.reason or candidate == "ok"
    assert "\n" not in found.reason


def test_points_that_a_budget_left_out_on_both_sides_are_not_the_same() -> None:
    late = Side("pruned", "--budget 5m: no time was left")
    assert verdict(late, late).kind == "not-comparable"


def test_a_changed_status_wants_another_pair_and_a_wrong_result_does_not() -> None:
    once = verdict("ok", "oom", status_wants=1)
    assert (once.kind, once.wants, exit_code([once], inconclusive_fails=False)) == ("inconclusive", 1, 0)
    assert "1 more fresh pair will tell" in once.reason
    wrong = verdict("ok", "incorrect", status_wants=1)
    assert (wrong.kind, wrong.wants) == ("incorrect", 0)
    for base, candidate in (("oom", "ok"), ("oom", "oom"), ("crashed", "crashed"), ("crashed", "oom")):
        found = verdict(base, candidate, status_wants=1)
        assert (found.kind, found.wants) == ("inconclusive", 1)
    assert verdict("pruned", "pruned", status_wants=1).wants == 0


def test_where_nothing_was_measured_on_both_sides_nothing_is_ok() -> None:
    limit, new, gone = verdict("oom", "oom"), verdict("missing", "ok"), verdict("ok", "oom")
    waiting = verdict("oom", "oom", status_wants=1)
    found = together([limit, new, waiting])
    assert [one.kind for one in found] == ["not-comparable", "new", "inconclusive"]
    assert found[0].reason.endswith("; no point was measured on both sides")
    assert found[2].wants == 1
    assert exit_code(found, inconclusive_fails=False) == 4
    for other in (gone, verdict("oom", "incorrect"), verdict()):  # found out something, or measured
        assert together([limit, other]) == (limit, other)


@given(st.sampled_from(KINDS), st.sampled_from([None, 90 * MIB, 100 * MIB, 200 * MIB, 10 * MIB]))
def test_the_worse_of_time_and_memory_decides_and_the_reason_names_both(time: Kind, peak: int | None) -> None:
    memory = memory_change(100 * MIB, peak)
    found = verdict(time=time, memory=memory)
    kinds = [time, *([memory.kind] if memory else [])]
    assert found.kind == min(kinds, key=KINDS.index)
    assert found.metric == ("time" if found.kind == time else "memory")
    assert f"the time is {time}" in found.reason
    assert ("peak memory" in found.reason) == (memory is not None and memory.kind != "ok")


def test_a_memory_regression_is_told_with_its_sizes() -> None:
    found = verdict(memory=memory_change(GIB, GIB * 5 // 4))
    assert found.kind == "regression"
    assert found.reason == "peak memory 1.25 GiB, base 1 GiB (+25.0%); time: the time is ok"


def test_sides_that_differ_are_not_compared_unless_allowed() -> None:
    found = verdict(left=[OTHER_GPU], time=None)
    assert found.kind == "not-comparable"
    assert found.reason == "gpu: base A100, candidate H100: --allow gpu compares them all the same"
    assert found.differences == (OTHER_GPU,)
    assert verdict("ok", "oom", left=[OTHER_GPU]).kind == "not-comparable"  # it may be the smaller GPU
    assert verdict("ok", "incorrect", left=[OTHER_GPU]).kind == "incorrect"
    assert verdict("missing", "ok", left=[OTHER_GPU]).kind == "not-comparable"  # in runs that are left out
    allowed = verdict(allowed=[OTHER_GPU], time="regression")
    assert (allowed.kind, allowed.differences) == ("regression", ())
    assert "allowed to differ: gpu: base A100, candidate H100" in allowed.steps


def test_a_verdict_on_times_needs_times() -> None:
    with pytest.raises(ValueError, match="no times"):
        combine(CASE.key, CASE, "stored", MEASURED, MEASURED)


@pytest.mark.parametrize(
    ("base", "candidate", "kind"),
    [
        (GIB, GIB + 16 * MIB, "ok"),  # 1.6%, and no more than 16 MiB
        (GIB, GIB + 17 * MIB, "regression"),
        (10 * GIB, 10 * GIB + 90 * MIB, "ok"),  # below 1%
        (10 * GIB, 10 * GIB + 110 * MIB, "regression"),
        (GIB, GIB - 17 * MIB, "improvement"),
        (0, 15 * MIB, "ok"),
        (0, 17 * MIB, "regression"),
    ],
)
def test_memory_changed_by_more_than_one_percent_and_16_mib(base: int, candidate: int, kind: Kind) -> None:
    found = memory_change(base, candidate)
    assert found is not None
    assert found.kind == kind
    assert verdict(memory=found).kind == kind


def test_no_memory_no_change() -> None:
    assert memory_change(None, 5) is memory_change(5, None) is None


def test_a_side_is_what_its_sessions_are() -> None:
    side = side_of([*sessions_of([3e6, 1e6], peak_bytes=10), measured(median_ns=2e6, peak_bytes=40)])
    assert side == Side("ok", None, "sdpa-flash", (3e6, 1e6, 2e6), 10, ())


def test_a_side_with_failures() -> None:
    points = sessions_of([1e6, 1e6])
    once = side_of([*points, failed("crashed", "signal 11")])
    assert (once.status, once.medians_ns, once.notes) == ("ok", (1e6, 1e6), ("session 2 crashed: signal 11",))
    twice = side_of([*points, failed("crashed", "signal 11"), failed("crashed", "signal 11")])
    assert (twice.status, twice.reason) == ("crashed", "in 2 of 4 sessions: signal 11")
    assert side_of([*points, failed("incorrect", "row 3")]).status == "incorrect"
    assert (side_of([]).status, side_of([], planned=True).status) == ("missing", "missing")
    assert "cut off" in (side_of([], planned=True).reason or "")


def test_sessions_that_ran_another_way_do_not_count() -> None:
    side = side_of([*sessions_of([1e6, 1e6]), measured(median_ns=9e6, backend="math", peak_bytes=1)])
    assert (side.medians_ns, side.peak_bytes) == ((1e6, 1e6), 64 * MIB)
    assert "another way" in side.notes[0]
