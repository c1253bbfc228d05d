"""From a worker's words to a record: a number only where everything fits, and always a line that loads."""

from __future__ import annotations

from typing import Any

import pytest

from attention_impls.pattern import Cost
from longbench_cli.execute.outcome import Outcome
from longbench_cli.record.points import outcome_of, record_of
from longbench_cli.record.schema import POINT, MeasuredPoint, UnmeasuredPoint, dump_line
from longbench_cli.sweep.case import Case
from longbench_cli.sweep.plan import PlannedPoint

CASE = Case(
    impl="dilated", backend="auto", pass_="fwd", seq_len=1024, batch=1, heads=8, kv_heads=8, head_dim=64,
    dtype="bfloat16", causal=False, world_size=1, device="cpu", options={"schedule": "lm"},
)  # fmt: skip
POINT_PLANNED = PlannedPoint(CASE, CASE.key, {"segments": [2048]}, Cost(10, 20, 30), 1, 0.1, 2)


def a_result(**changes: Any) -> dict[str, Any]:
    return {
        "backend": "sdpa-flash",
        "execution": "resident",
        "latency": {
            "iterations_ns": [5, 7], "median_ns": 6.0, "ci95_ns": None, "mean_ns": 6.0, "p95_ns": 7.0,
            "noise": 0.1, "stopped_by": "max_time",
        },
        "memory": {"input_bytes": 1, "peak_bytes": 2, "nvml_peak_bytes": None},
        "telemetry": None,
        "cost": {"flops": 1, "dense_flops": 1, "io_bytes": 1, "comm_bytes": 0},
        "verification": {"status": "passed", "rows": 64, "max_error": 0.1, "tolerance": 0.2},
    } | changes  # fmt: skip


def test_a_measured_point_keeps_its_planned_key_and_names_the_back_end_that_ran() -> None:
    record = record_of(POINT_PLANNED, Outcome("ok", None, a_result()), session=2)
    assert isinstance(record, MeasuredPoint)
    assert (record.key, record.case.backend, record.session) == (CASE.key, "sdpa-flash", 2)
    assert record.details == {"segments": [2048]}
    assert POINT.validate_json(dump_line(record)) == record


@pytest.mark.parametrize(
    ("changes", "word"),
    [
        ({"latency": None}, "latency"),
        ({"latency": a_result()["latency"] | {"median_ns": float("nan")}}, "median_ns"),
        ({"latency": a_result()["latency"] | {"iterations_ns": []}}, "iterations_ns"),
        ({"verification": None}, "verification"),
        ({"cost": {"flops": 1}}, "cost"),
        ({"execution": "imagined"}, "execution"),
    ],
)
def test_an_ok_that_does_not_fit_is_a_crash_without_a_number(changes: dict[str, Any], word: str) -> None:
    record = record_of(POINT_PLANNED, Outcome("ok", None, a_result(**changes), ["last words"]), session=0)
    assert isinstance(record, UnmeasuredPoint)
    assert record.status == "crashed"
    assert word in record.reason
    assert record.stderr_tail == ["last words"]
    assert POINT.validate_json(dump_line(record)) == record


def test_incorrect_keeps_what_verification_found_but_never_a_latency() -> None:
    found = {"status": "failed", "rows": 64, "max_error": float("inf"), "tolerance": 0.2}
    outcome = Outcome("incorrect", "row 7:\n  too large", a_result(verification=found))
    record = record_of(POINT_PLANNED, outcome, session=0)
    assert isinstance(record, UnmeasuredPoint)
    assert (record.status, record.reason, record.latency) == ("incorrect", "row 7: too large", None)
    assert record.verification is not None
    assert record.verification.status == "failed"
    assert '"iterations_ns"' not in dump_line(record)
    POINT.validate_json(dump_line(record))


def test_a_failure_stands_even_if_the_rest_of_what_the_worker_said_does_not_fit() -> None:
    record = record_of(POINT_PLANNED, Outcome("incorrect", "wrong", {"verification": 3, "execution": 4}), session=0)
    assert (record.status, record.reason) == ("incorrect", "wrong")


def test_a_pruned_point_carries_the_cost_it_was_pruned_for() -> None:
    record = record_of(POINT_PLANNED, Outcome("pruned", "too slow"), session=0)
    assert (record.status, record.case.backend) == ("pruned", "auto")
    assert record.cost is not None
    assert record.cost.flops == 10


def test_what_an_earlier_session_taught_comes_back() -> None:
    measured = record_of(POINT_PLANNED, Outcome("ok", None, a_result()), session=0)
    assert outcome_of(measured).median_seconds == pytest.approx(6e-9)
    assert outcome_of(record_of(POINT_PLANNED, Outcome("oom", "x"), session=0)).status == "oom"
