"""Which way two sides are compared, and which are refused, on one line that says what to do."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
from compared import duet_of, failed, measured, planned, run_of, sessions_of

from longbench_cli.analyse.comparison.compare import compare
from longbench_cli.analyse.comparison.types import Comparison, exit_code
from longbench_cli.errors import UsageError
from longbench_cli.record.journal import Run

STILL = [0.001, -0.001, 0.0, 0.002, -0.002, 0.0]


def a_run(run_id: str, length: int = 1024, **changes: Any) -> Run:
    return run_of(sessions_of([1e6] * 8, planned(length)), run_id=run_id, **changes)


def compared(base: Sequence[Run], candidate: Sequence[Run], *allow: str) -> Comparison:
    return compare(base, candidate, noise={}, allow=allow)


def refused(base: Sequence[Run], candidate: Sequence[Run], *allow: str) -> str:
    with pytest.raises(UsageError) as caught:
        compared(base, candidate, *allow)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_the_two_sides_of_a_duet_are_compared_pair_by_pair_and_others_as_stored() -> None:
    base, candidate = duet_of(STILL)
    assert compared([base], [candidate]).mode == "paired"
    assert compared([a_run("a")], [a_run("b")]).mode == "stored"


def test_sides_of_two_duets_are_stored_runs_with_a_warning() -> None:
    (base, _), (_, candidate) = duet_of(STILL), duet_of(STILL, duet_id="duet-2")
    found = compared([base], [candidate])
    assert found.mode == "stored"
    assert "not the two sides of one duet" in found.warnings[0]


def test_a_duet_the_wrong_way_round() -> None:
    base, candidate = duet_of(STILL)
    message = refused([candidate], [base])
    assert "swap" in message
    assert "--base duet-1-base.jsonl --candidate duet-1-candidate.jsonl" in message
    base.header = base.header.model_copy(update={"duet": candidate.header.duet})
    assert "both are the candidate of one duet" in refused([base], [candidate])


def test_both_sides_of_a_duet_as_one() -> None:
    base, candidate = duet_of(STILL)
    message = refused([base, candidate], [a_run("new")])
    assert "the base holds both sides of one duet" in message


def test_nothing_in_common_names_a_point_of_each() -> None:
    message = refused([a_run("a")], [a_run("b", 2048)])
    assert planned(1024).key in message
    assert planned(2048).key in message


def test_no_point_at_all() -> None:
    assert "a.jsonl: holds no point" in refused([run_of([], run_id="a")], [a_run("b")])
    assert "the candidate: holds no point" in refused([a_run("a")], [])
    mixed = compared([run_of([], run_id="none"), a_run("a")], [a_run("b")])
    assert [point.kind for point in mixed.points] == ["ok"]


def test_a_run_on_both_sides_or_twice_on_one() -> None:
    copy = a_run("a")
    copy.path = copy.path.parent / "copy.jsonl"
    assert "copy.jsonl: is on both sides (the base's a.jsonl)" in refused([a_run("x"), a_run("a")], [copy])
    assert "copy.jsonl: the same run as a.jsonl, twice in the base" in refused([a_run("a"), copy], [a_run("b")])


def test_a_session_that_is_there_twice() -> None:
    double = run_of([measured(), measured(session=1), measured(session=1, median_ns=2e6)], run_id="a")
    assert f"a.jsonl: session 1 of {planned().key} is there 2 times" in refused([double], [a_run("b")])
    del double.header.settings["sessions"]  # of an older file, resumed
    assert compared([double], [a_run("b")]).points[0].base.medians_ns == (2e6,)


def test_a_field_that_there_is_not() -> None:
    assert "--allow colour" in refused([a_run("a")], [a_run("b")], "colour")


def test_what_was_read_with_a_warning_is_told() -> None:
    torn = a_run("a")
    torn.warnings.append("a.jsonl: line 9, the last, is incomplete and was dropped (the run was cut off)")
    assert torn.warnings[0] in compared([torn], [a_run("b")]).warnings


def test_where_both_sides_only_fail_nothing_was_compared() -> None:
    for status in ("oom", "crashed"):
        found = compared([run_of([failed(status)], run_id="a")], [run_of([failed(status)], run_id="b")])
        assert [point.kind for point in found.points] == ["not-comparable"]
        assert exit_code(found.points, inconclusive_fails=False) == 4
        assert found.warnings == ("no point was measured on both sides: no time was compared",)


def test_a_duet_that_was_cut_off_is_not_comparable_and_says_how_to_go_on() -> None:
    base, candidate = duet_of(STILL[:5])
    (found,) = compared([base], [candidate]).points
    assert (found.kind, found.wants) == ("not-comparable", 0)
    assert found.reason == "cut off: 1 more pair wanted: go on with --keep DIR --resume, or measure again"
    assert found.steps[-1].startswith("so far: ")
    assert [len(found.values), found.base.status] == [5, "ok"]
    base, candidate = duet_of(STILL[:5], changes={"peak_bytes": 128 << 20})
    assert compared([base], [candidate]).points[0].kind == "regression"  # memory, which no further pair changes
    wrong = failed("incorrect", session=5)
    candidate.points.append(wrong)
    base.points.append(measured(session=5))
    assert compared([base], [candidate]).points[0].kind == "incorrect"


@pytest.mark.parametrize("paired", [True, False])
def test_what_both_sides_planned_and_neither_recorded_is_not_comparable(paired: bool) -> None:
    base, candidate = duet_of(STILL) if paired else (a_run("a"), a_run("b"))
    lost = planned(4096, "dilated", options={"segments": [256, 1024], "causal": None}, pass_="fwd+bwd", causal=True)
    for run, more in ((base, ["of the base alone", "of nobody"]), (candidate, ["of nobody"])):
        run.header = run.header.model_copy(update={"plan": [lost.key, planned().key, *more]})
    first, second = compared([base], [candidate]).points
    assert (first.key, first.kind, second.kind) == (lost.key, "not-comparable", "ok")
    assert "measured on neither side: missing" in first.reason
    assert first.case.key == lost.key
    assert (first.case.seq_len, first.case.causal, first.case.impl) == (4096, True, "dilated")


def test_a_base_that_was_slowed_down_on_purpose() -> None:
    _, slowed = duet_of(STILL, injected=0.05)
    assert "duet-1-candidate.jsonl: a slowdown was put into it" in refused([slowed], [a_run("b")])
