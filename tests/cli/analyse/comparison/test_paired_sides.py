"""The sides of a duet, compared pair by pair: values, failures, what differs, and how many pairs are still wanted."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from typing import Any

import pytest
from compared import duet_of, failed, measured, planned, run_of, sessions_of

from longbench_cli.analyse.comparison.paired import compare_paired, noise_of, pair_values
from longbench_cli.analyse.comparison.threshold import threshold_of
from longbench_cli.analyse.comparison.types import Comparison, PointVerdict
from longbench_cli.errors import UsageError
from longbench_cli.measure.types import GpuTelemetry, Telemetry
from longbench_cli.record.journal import Run

SLOWER, SAME = [0.05, 0.049, 0.051] * 2, [0.001, -0.001, 0.0] * 2
KEY = planned().key
HOT = GpuTelemetry(**(dict.fromkeys(GpuTelemetry.model_fields) | {"throttled": {"hw_thermal_slowdown": 0.5}}))
THROTTLED = Telemetry(threads=2, involuntary_switches=0, steal_share=None, gpu=HOT)


def compared(base: Run, candidate: Run, noise: float | None = None, allow: Sequence[str] = ()) -> Comparison:
    return compare_paired(base, candidate, noise={} if noise is None else {KEY: noise}, allow=allow)


def verdict(base: Run, candidate: Run, noise: float | None = None, allow: Sequence[str] = ()) -> PointVerdict:
    (point,) = compared(base, candidate, noise, allow).points
    return point


def sides(base: Sequence[Any], candidate: Sequence[Any], **candidate_run: Any) -> tuple[Run, Run]:
    """A duet of these records; a string is a failure in that session, a number the median of a measured one."""
    found = []
    for name, side, changes in (("base", base, {}), ("candidate", candidate, candidate_run)):
        records = [
            failed(one, session=session) if isinstance(one, str) else measured(median_ns=one * 1e6, session=session)
            for session, one in enumerate(side)
        ]
        found.append(run_of(records, run_id=name, plan=[KEY], **changes))
    return found[0], found[1]


def test_drift_that_hits_both_turns_alike_is_in_no_value_and_a_spoiled_turn_moves_none() -> None:
    base = measured(turns=[[100, 100], [200, 200], [400, 400], [800, 800]])
    candidate = measured(turns=[[105, 105], [210, 210], [420, 420], [5000, 5000, 5000], [9, 9]])
    values = pair_values(run_of([base]), run_of([candidate], run_id="candidate"))
    assert values == {KEY: (pytest.approx(math.log(1.05)),)}


def test_sides_that_do_not_tell_their_turns_are_compared_by_their_medians() -> None:
    base, candidate = duet_of([0.04])
    point = candidate.points[0]
    candidate.points[0] = point.model_copy(update={"latency": point.latency.model_copy(update={"turns": None})})
    assert pair_values(base, candidate)[KEY] == pytest.approx((0.04,))


def test_an_unchanged_point_is_ok_after_six_pairs_and_says_what_would_have_been_found() -> None:
    for count in range(1, 6):
        early = verdict(*duet_of(SAME[:count]))
        assert (early.kind, early.wants, len(early.values)) == ("inconclusive", 6 - count, count)
    found = verdict(*duet_of(SAME))
    assert (found.kind, found.wants, found.metric, found.mode) == ("ok", 0, "time", "paired")
    assert found.values == pytest.approx(SAME, abs=1e-5)
    assert found.reason == "as fast, at most 0.1% slower, threshold 3.0%"
    assert found.detectable == pytest.approx(0.03, abs=0.001)
    assert found.steps[0] == "threshold 3.00%: on one device"
    assert found.base.medians_ns == (1e6,) * 6


def test_a_slower_point_is_a_regression_once_fresh_pairs_confirm_it() -> None:
    suspected = verdict(*duet_of(SLOWER))
    assert (suspected.kind, suspected.wants) == ("inconclusive", 6)
    found = verdict(*duet_of(SLOWER * 2))
    assert (found.kind, found.wants) == ("regression", 0)
    assert found.confirmation == pytest.approx(SLOWER, abs=1e-5)
    assert found.effect is not None
    assert found.effect.ratio == pytest.approx(math.exp(0.05), abs=1e-4)
    assert found.reason.startswith("5.1% slower (from +5.1% to +5.2%), threshold 3.0%, confirmed by 6 fresh pairs")
    assert verdict(*duet_of(SLOWER + SAME)).reason.endswith("not decided by 12 pairs")
    faster = verdict(*duet_of([-value for value in SLOWER * 2]))
    assert faster.kind == "improvement"


def test_noise_of_the_same_code_raises_the_threshold() -> None:
    base, candidate = duet_of(SAME, identical=True)
    assert noise_of(base, candidate) == {KEY: pytest.approx(statistics.stdev(SAME), abs=1e-5)}
    found = verdict(*duet_of(SLOWER * 2), noise=0.08)
    assert (found.kind, found.steps[0]) == ("ok", "threshold 8.00%: the spread of pairs of the same code")
    assert verdict(*duet_of(SLOWER * 2), noise=0.02).kind == "regression"


def test_noise_is_taken_from_an_aa_gate_only() -> None:
    for base, candidate in (duet_of(SAME), (run_of(sessions_of([1e6])), run_of(sessions_of([1e6]), run_id="other"))):
        with pytest.raises(UsageError, match="not the sides of an A/A gate"):
            noise_of(base, candidate)
    with pytest.raises(UsageError, match="not the sides of an A/A gate"):
        noise_of(*duet_of(SAME, identical=True, injected=0.05))
    with pytest.raises(UsageError, match="no point has 6 pairs"):
        noise_of(*duet_of(SAME[:5], identical=True))


@pytest.mark.parametrize(
    ("base", "candidate", "kind", "wants"),
    [
        ([1], ["oom"], "inconclusive", 1),
        ([1, 1], ["oom", "oom"], "regression", 0),
        ([1, 1], ["oom", 1], "inconclusive", 1),  # the third pair will tell
        ([1, 1, 1], ["oom", 1, 1], "inconclusive", 4),  # it came to nothing: 2 of 6 pairs are there
        ([1] * 7, ["crashed", *[1] * 6], "ok", 0),
        ([1] * 8, [1] * 6 + ["crashed"] * 2, "regression", 0),
        ([1, "crashed", 1, "crashed", *[1] * 6], ["crashed", 1, "crashed", *[1] * 7], "ok", 0),  # both come and go
        ([1], ["incorrect"], "incorrect", 0),
        (["oom"], ["oom"], "inconclusive", 1),
        (["oom"] * 2, ["oom"] * 2, "not-comparable", 0),  # and no other point was measured
        (["crashed"] * 2, ["crashed"] * 2, "not-comparable", 0),
        (["crashed", 1], ["crashed", 1], "inconclusive", 1),  # it may be over
        (["crashed", *[1] * 6], ["crashed", *[1] * 6], "ok", 0),
        (["crashed", *[1] * 9], ["crashed"] * 2 + [1] * 8, "ok", 0),  # once in a pair that tells something
        (["oom"], [1], "inconclusive", 1),
        (["oom"] * 2, [1, 1], "improvement", 0),
        (["oom"], ["crashed"], "inconclusive", 1),
        (["oom"] * 2, ["crashed"] * 2, "regression", 0),
        ([1], [], "inconclusive", 1),
        ([1, 1], [], "regression", 0),
        ([], [1], "new", 0),
        ([1], ["pruned"], "not-comparable", 0),
        ([1] * 7, [1] * 6, "ok", 0),  # cut off within the last pair
        (["incorrect", *[1] * 17], [1] * 18, "improvement", 0),  # no second pair shows it: not waited for forever
    ],
)
def test_a_change_of_status_counts_once_a_second_pair_shows_it(
    base: list[Any], candidate: list[Any], kind: str, wants: int
) -> None:
    found = verdict(*sides(base, candidate))
    assert (found.kind, found.wants) == (kind, wants)
    assert "\n" not in found.reason


def test_a_candidate_that_fails_now_and_then_is_told_with_how_often() -> None:
    found = verdict(*sides([1] * 8, [1] * 6 + ["crashed"] * 2))
    assert (found.metric, found.candidate.status) == ("status", "crashed")
    assert "in 2 of 8 pairs: needs more than there is" in found.reason
    assert any("crashed" in note for note in verdict(*sides([1] * 7, ["crashed", *[1] * 6])).candidate.notes)


def test_the_same_limit_on_both_sides_is_ok_beside_a_point_that_was_measured() -> None:
    base, candidate = duet_of(SAME)
    for run in (base, candidate):
        run.points += [failed("oom", case=planned(8192), session=session) for session in range(2)]
    assert [point.kind for point in compared(base, candidate).points] == ["ok", "ok"]
    for run in (base, candidate):
        run.points = [failed("crashed", case=planned(8192), session=n) for n in range(2)] + run.points[:6]
    kinds = {point.case.seq_len: point.kind for point in compared(base, candidate).points}
    assert kinds == {1024: "ok", 8192: "not-comparable"}


def test_more_memory_is_a_regression_though_the_time_is_the_same() -> None:
    found = verdict(*duet_of(SAME, changes={"peak_bytes": 128 << 20}))
    assert (found.kind, found.metric) == ("regression", "memory")


def test_what_differs_is_not_compared_unless_it_is_allowed() -> None:
    base, candidate = sides([1] * 6, [1] * 6, environment={"packages": {"torch": "2.14.0"}})
    found = verdict(base, candidate)
    assert (found.kind, found.wants, [one.field for one in found.differences]) == ("not-comparable", 0, ["torch"])
    assert verdict(base, candidate, allow=["torch"]).kind == "ok"


def test_a_throttled_pair_may_be_over_with_the_next_and_six_are_not() -> None:
    base, candidate = duet_of(SAME, changes={"telemetry": THROTTLED})
    found = verdict(base, candidate)
    assert (found.kind, found.wants) == ("not-comparable", 0)
    for run in (base, candidate):
        del run.points[1:]
    first = verdict(base, candidate)
    assert (first.kind, first.wants) == ("not-comparable", 5)
    base, candidate = duet_of(SAME)
    candidate.points[0] = candidate.points[0].model_copy(update={"telemetry": THROTTLED})
    assert verdict(base, candidate).kind == "ok"


def test_a_clock_that_does_not_see_the_pass_compares_nothing() -> None:
    point = measured(turns=[[0, 0], [0, 1]])
    found = verdict(run_of([point]), run_of([point], run_id="candidate"))
    assert (found.kind, found.wants) == ("not-comparable", 0)
    assert "too coarse" in found.reason


def test_points_come_in_the_order_of_the_plan_then_what_is_new_and_none_without_a_record() -> None:
    cases = [planned(length) for length in (1024, 2048, 4096)]
    plan = [case.key for case in cases]
    base = run_of([measured(cases[1]), measured(cases[0])], plan=plan)
    candidate = run_of([measured(planned(512)), measured(cases[1]), measured(cases[0])], plan=plan, run_id="candidate")
    found = compared(base, candidate)
    assert [point.case.seq_len for point in found.points] == [1024, 2048, 512]
    assert found.points[2].kind == "new"
    assert compared(run_of([]), run_of([], run_id="candidate")).points == ()


def test_a_comparison_says_which_sides_and_what_was_put_into_one() -> None:
    found = compared(*duet_of(SAME, identical=True, injected=0.05))
    assert (found.mode, found.identical, found.injected) == ("paired", True, 0.05)
    assert (found.base.label, found.candidate.label) == ("base", "candidate")


@pytest.mark.parametrize(
    ("changes", "median_ns", "noise", "share", "why"),
    [
        ({}, 1e6, None, 0.03, "on one device"),
        ({}, 1e6, 0.01, 0.03, "on one device"),
        ({"world_size": 2}, 1e6, 0.01, 0.05, "on several ranks"),
        ({}, 1e6, 0.04, 0.04, "the spread of pairs of the same code"),
        ({}, 1e5, 0.04, 0.05, "5 us of 100 us"),
    ],
)
def test_the_threshold_is_the_largest_of_what_bounds_it(
    changes: dict[str, Any], median_ns: float, noise: float | None, share: float, why: str
) -> None:
    found = threshold_of(planned(**changes), median_ns, noise)
    assert found.share == pytest.approx(share)
    assert found.why.replace("µ", "u") == why
