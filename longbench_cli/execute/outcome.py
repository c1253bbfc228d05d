"""What came of running one point, before it is a record."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

from longbench_cli.sweep.predict import Execution

Status = Literal["ok", "oom", "timeout", "crashed", "incorrect", "unsupported", "pruned"]


@dataclass(frozen=True, slots=True)
class Outcome:
    """The end of one point.

    Attributes:
        status: "ok", or why there is no latency.
        reason: one line for the user; None only where ``status`` is "ok".
        result: the worker's own words (latency, memory, ...), not validated; None if it said nothing.
        stderr_tail: the last lines the point printed.
        execution: how it was run, or would have been.
    """

    status: Status
    reason: str | None = None
    result: dict[str, Any] | None = None
    stderr_tail: list[str] = field(default_factory=list)
    execution: Execution = "resident"

    @property
    def median_seconds(self) -> float | None:
        """Median time of an iteration; None unless the point was measured."""
        if self.status != "ok" or self.result is None:
            return None
        latency = self.result.get("latency")
        median = latency.get("median_ns") if isinstance(latency, dict) else None
        return median / 1e9 if isinstance(median, (int, float)) and median > 0 else None


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a point is, while it runs.

    Attributes:
        done: units done.
        total: units in all; None while unknown.
        unit: "iterations" or "chunks".
        rate: units a second; None while unknown.
    """

    done: int
    total: int | None
    unit: str
    rate: float | None
