"""From what came of a point to the line that is recorded, and back."""

from __future__ import annotations

from typing import Any

from pydantic import ValidationError

from longbench_cli.execute.outcome import Outcome
from longbench_cli.measure.types import CostRecord
from longbench_cli.record.loading import RecordedPoint, short_reason
from longbench_cli.record.schema import POINT, MeasuredPoint, UnmeasuredPoint, dump_line
from longbench_cli.sweep.plan import PlannedPoint

_MEASURED_KEYS = (
    "latency",
    "timing",
    "memory",
    "telemetry",
    "cost",
    "verification",
    "verdict",
    "streaming",
    "communication",
)
_UNMEASURED_KEYS = ("memory", "cost", "verification")
_REASON_CHARS = 500


def record_of(point: PlannedPoint, outcome: Outcome, session: int) -> RecordedPoint:
    """The record of ``outcome``, of the point's fresh process number ``session``, from 0.

    A record that this returns can be read back from the line it is written as. An ``ok`` whose
    values do not fit the record becomes ``crashed``, with the reason.
    """
    result = outcome.result or {}
    backend = result.get("backend")
    common: dict[str, Any] = {
        "key": point.key,
        "session": session,
        "case": point.case.model_copy(update={"backend": backend} if isinstance(backend, str) else {}),
        "details": point.details,
        "execution": outcome.execution,
    }
    common |= {name: result[name] for name in ("execution", "ranks") if result.get(name) is not None}
    if outcome.status == "ok":
        try:
            return _readable(MeasuredPoint(**common, **{name: result.get(name) for name in _MEASURED_KEYS}))
        except ValidationError as error:
            reason = f"the worker's result does not fit the record: {short_reason(error)}"
            outcome = Outcome("crashed", reason, None, outcome.stderr_tail, outcome.execution)
            common["execution"] = outcome.execution
            common.pop("ranks", None)
            result = {}
    common["status"] = outcome.status
    common["reason"] = _one_line(outcome.reason)
    common["stderr_tail"] = outcome.stderr_tail
    common["cost"] = _planned_cost(point)
    given = {name: result[name] for name in _UNMEASURED_KEYS if result.get(name) is not None}
    try:
        return _readable(UnmeasuredPoint(**(common | given)))
    except ValidationError:  # the status stands, whatever else the worker said
        common["execution"] = outcome.execution
        common.pop("ranks", None)
        return UnmeasuredPoint(**common)


def outcome_of(record: RecordedPoint) -> Outcome:
    """What a point that is recorded taught: enough to predict the others from."""
    if isinstance(record, MeasuredPoint):
        latency = {"latency": {"median_ns": record.latency.median_ns}}
        return Outcome("ok", None, latency, execution=record.execution)
    return Outcome(record.status, record.reason, execution=record.execution)


def _readable(record: RecordedPoint) -> RecordedPoint:
    """Check that the line can be read back: a NaN, say, would be written as null."""
    POINT.validate_json(dump_line(record))
    return record


def _planned_cost(point: PlannedPoint) -> CostRecord:
    cost = point.cost
    return CostRecord(
        flops=cost.flops, dense_flops=cost.dense_flops, io_bytes=cost.io_bytes, comm_bytes=cost.comm_bytes
    )


def _one_line(reason: str | None) -> str:
    return " ".join((reason or "").split())[:_REASON_CHARS] or "no reason given"
