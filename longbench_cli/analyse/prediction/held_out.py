"""Held-out points: how well a model of some measured points predicts others that were measured too."""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import median

from attention_impls.api import Implementation
from longbench_cli.analyse.prediction.estimate import Estimate
from longbench_cli.analyse.prediction.families import Family
from longbench_cli.analyse.prediction.forecast import points_for
from longbench_cli.analyse.prediction.memory import fit_memory, peak_of
from longbench_cli.analyse.prediction.model import can_fit, fit_time
from longbench_cli.analyse.prediction.work import recorded_work
from longbench_cli.errors import UsageError
from longbench_cli.record.schema import MeasuredPoint
from longbench_cli.sweep.axes import parse_lengths, shown
from longbench_cli.sweep.case import Case
from longbench_cli.sweep.hardware import Network

_SIZES: dict[str, Callable[[Case], int]] = {
    "seq": lambda case: case.seq_len,
    "gpus": lambda case: case.world_size,
    "heads": lambda case: case.heads,
    "batch": lambda case: case.batch,
}
_SIGNS: dict[str, Callable[[int, int], bool]] = {
    ">=": operator.ge, "<=": operator.le, ">": operator.gt, "<": operator.lt, "=": operator.eq,
}  # fmt: skip
_CONDITION = re.compile(r"\s*([a-z]+)\s*(>=|<=|>|<|=)\s*([0-9a-z]+)\s*", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Condition:
    """Which points are held out: those of which all comparisons hold."""

    text: str
    parts: tuple[tuple[str, str, int], ...]

    def holds(self, case: Case) -> bool:
        """Whether ``case`` is held out."""
        return all(_SIGNS[sign](_SIZES[size](case), value) for size, sign, value in self.parts)


@dataclass(frozen=True, slots=True)
class HeldOut:
    """One held-out point: what was measured of it, and what the others say it should be.

    Attributes:
        seconds: predicted.
        peak_bytes: predicted; None where memory was not measured, of it or of the others.
    """

    point: MeasuredPoint
    seconds: Estimate
    peak_bytes: Estimate | None

    @property
    def error(self) -> float:
        """Of the time: predicted over measured, less 1."""
        return self.seconds.value / (self.point.latency.median_ns / 1e9) - 1

    @property
    def held(self) -> bool:
        """Whether the interval of the time holds what was measured."""
        return self.seconds.holds(self.point.latency.median_ns / 1e9)

    @property
    def memory_error(self) -> float | None:
        """Of the memory: predicted over measured, less 1."""
        measured = peak_of(self.point)
        return self.peak_bytes.value / measured - 1 if self.peak_bytes and measured else None

    @property
    def memory_held(self) -> bool | None:
        """Whether the interval of the memory holds what was measured."""
        measured = peak_of(self.point)
        return self.peak_bytes.holds(measured) if self.peak_bytes and measured else None


@dataclass(frozen=True, slots=True)
class Score:
    """How good predictions of ``count`` held-out points were: of time, and of memory where it was measured."""

    count: int
    median_error: float
    worst_error: float
    coverage: float
    memory_median_error: float | None
    memory_coverage: float | None


def parse_condition(text: str) -> Condition:
    """``seq>64k``, ``gpus>2``, or several that must all hold: ``seq>64k,gpus=4``.

    Raises:
        UsageError: it is anything else.
    """
    parts = []
    for item in text.split(","):
        found = _CONDITION.fullmatch(item)
        if found is None or found[1].lower() not in _SIZES:
            raise UsageError(
                f"--hold-out {shown(item)}: expected {', '.join(_SIZES)} compared with a number, "
                "e.g. 'seq>64k' or 'gpus>2'"
            )
        (value,) = parse_lengths(found[3], "--hold-out")
        parts.append((found[1].lower(), found[2], value))
    return Condition(text, tuple(parts))


def hold_out(family: Family, impl: Implementation, condition: Condition, network: Network) -> list[HeldOut] | None:
    """Predict the points that ``condition`` holds out from the rest; None if the rest is too little to fit to."""
    rest = [point for point in family.points if not condition.holds(point.case)]
    chosen = [point for point in family.points if condition.holds(point.case)]
    if not chosen:
        return []
    if not can_fit(rest):
        return None
    found = []
    for execution in ("resident", "streamed"):
        of_this = [point for point in chosen if point.execution == execution]
        if of_this:
            model = fit_time(points_for(rest, execution), family.machine.cores, network)
            memory = fit_memory(rest, impl, execution)
            found += [
                HeldOut(
                    point,
                    model.predict(point.case, recorded_work(point, family.machine.cores)),
                    memory.predict(point.case, impl) if memory else None,
                )
                for point in of_this
            ]
    return found


def score(rows: Sequence[HeldOut]) -> Score:
    """Of at least one row."""
    errors = [abs(row.error) for row in rows]
    of_memory = [abs(row.memory_error) for row in rows if row.memory_error is not None]
    return Score(
        count=len(rows),
        median_error=median(errors),
        worst_error=max(errors),
        coverage=sum(row.held for row in rows) / len(rows),
        memory_median_error=median(of_memory) if of_memory else None,
        memory_coverage=sum(bool(row.memory_held) for row in rows) / len(of_memory) if of_memory else None,
    )
