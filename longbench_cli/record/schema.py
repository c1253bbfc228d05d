"""The record: one JSON object a line. Everything else in the product hangs on this contract.

Raising :data:`SCHEMA`: adding a field that has a default needs no new number, because old files
still load. Removing or renaming a field, or changing a unit or meaning, raises it, and the loader
learns to read the old number.
"""

from __future__ import annotations

from typing import Annotated, Any, Final, Literal

from pydantic import BaseModel, ConfigDict, Discriminator, Field, Tag, TypeAdapter

from longbench_cli.measure.types import (
    Communication,
    CostRecord,
    Latency,
    Memory,
    RankRecord,
    Streaming,
    Telemetry,
    Timing,
    Verdict,
    Verification,
)
from longbench_cli.printable import printable_json
from longbench_cli.sweep.case import Case

SCHEMA: Final = 1

FailureStatus = Literal["oom", "timeout", "crashed", "incorrect", "unsupported", "pruned"]
BAD_STATUSES = frozenset({"timeout", "crashed", "incorrect"})
"""Statuses that make `longbench run` exit with 1: the rest are results."""


class _Line(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Duet(_Line):
    """Of a run that was one side of a duet: it took turns, pair by pair, with the run of the other side.

    Session k of a point and session k of the same key in the other run are one pair; the r-th turns of both
    (``latency.turns``) followed each other at once.
    """

    id: str = Field(description="the same in both runs")
    side: Literal["base", "candidate"]
    label: str = Field(description="what the user calls this side: a ref, an interpreter")
    identical: bool = Field(description="both sides are the same code")
    injected: float | None = Field(default=None, gt=0, description="slowdown put into the candidate, as a share")


class RunHeader(_Line):
    """First line of a run file: what was asked for and where it ran."""

    record: Literal["run"] = "run"
    schema_: Literal[1] = Field(default=SCHEMA, alias="schema")
    run_id: str
    created: str = Field(description="UTC, ISO 8601, ends in Z")
    argv: list[str]
    version: str
    profile: str | None
    settings: dict[str, Any] = Field(description="how it was measured: limits, precision, seed")
    plan: list[str] = Field(description="keys of all points, in order; --resume compares it")
    environment: dict[str, Any]
    duet: Duet | None = Field(default=None, description="null of a run that stands alone")


class _Point(_Line):
    record: Literal["point"] = "point"
    schema_: Literal[1] = Field(default=SCHEMA, alias="schema")
    key: str = Field(description="identity of the case as planned (back end as asked for)")
    session: int = Field(default=0, ge=0, le=10**9, description="which of the case's fresh processes this was, from 0")
    case: Case
    details: dict[str, Any] = Field(default_factory=dict, description="what the options came to at this length")
    execution: Literal["resident", "streamed"] = "resident"
    ranks: list[RankRecord] | None = Field(default=None, description="of a point of several ranks")


class MeasuredPoint(_Point):
    """A verified, timed point."""

    status: Literal["ok"] = "ok"
    reason: None = None
    latency: Latency
    memory: Memory
    telemetry: Telemetry | None
    cost: CostRecord
    verification: Verification
    streaming: Streaming | None = Field(default=None, description="null where all inputs were resident")
    timing: Timing | None = Field(default=None, description="null in older files")
    verdict: Verdict | None = Field(default=None, description="null in older files")
    communication: Communication | None = Field(
        default=None, description="null on one rank, and where there was no room to take it apart"
    )


class UnmeasuredPoint(_Point):
    """A point without a latency, and why."""

    status: FailureStatus
    reason: str = Field(min_length=1)
    latency: None = None
    memory: Memory | None = None
    telemetry: None = None
    cost: CostRecord | None = None
    verification: Verification | None = None
    stderr_tail: list[str] = Field(default_factory=list, description="last lines the point printed")


def _status_kind(value: Any) -> str:
    status = value.get("status") if isinstance(value, dict) else getattr(value, "status", None)
    return "measured" if status == "ok" else "unmeasured"


Point = Annotated[
    Annotated[MeasuredPoint, Tag("measured")] | Annotated[UnmeasuredPoint, Tag("unmeasured")],
    Discriminator(_status_kind),
]
POINT: TypeAdapter[MeasuredPoint | UnmeasuredPoint] = TypeAdapter(Point)


def dump_line(line: RunHeader | MeasuredPoint | UnmeasuredPoint) -> str:
    """One JSON line, without its newline; it holds no character that a terminal would obey."""
    return printable_json(line.model_dump_json(by_alias=True))
