"""What a comparison of two sides says, point by point."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Literal

from longbench_cli.sweep.case import Case

Kind = Literal["incorrect", "regression", "not-comparable", "inconclusive", "improvement", "new", "ok"]
Mode = Literal["paired", "stored"]
Metric = Literal["time", "memory", "status"]

KINDS: Final[tuple[Kind, ...]] = (
    "incorrect", "regression", "not-comparable", "inconclusive", "improvement", "new", "ok",
)  # fmt: skip
"""Worst first."""

OK, REGRESSION, INCONCLUSIVE, NOT_COMPARABLE, INCORRECT = 0, 1, 3, 4, 5
"""Exit codes; 2 is that of usage, as everywhere."""


@dataclass(frozen=True, slots=True)
class Difference:
    """A field in which two points that should be alike are not; ``field`` is what ``--allow`` takes."""

    field: str
    base: str
    candidate: str


@dataclass(frozen=True, slots=True)
class Side:
    """What one side measured of one point.

    Attributes:
        status: "ok" or a failure of the record; "missing" where there is no record.
        reason: of a failure, one line.
        backend: the one that ran.
        medians_ns: of its sessions that were measured, in their order (of a duet: pair by pair).
        peak_bytes: median over the sessions of the peak allocated memory.
        notes: what its verdicts say against it, a line each (throttled, contended, ...).
    """

    status: str
    reason: str | None = None
    backend: str | None = None
    medians_ns: tuple[float, ...] = ()
    peak_bytes: int | None = None
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Threshold:
    """The least slowdown that counts: ``share`` of the base's time (0.03 is 3%), ``why`` it is that much."""

    share: float
    why: str


@dataclass(frozen=True, slots=True)
class Effect:
    """Candidate over base: above 1 is slower.

    Attributes:
        ratio: the estimate.
        interval: two-sided 95% interval of the ratio.
        lower: one-sided 99% lower bound.
        upper: one-sided 95% upper bound.
    """

    ratio: float
    interval: tuple[float, float]
    lower: float
    upper: float


@dataclass(frozen=True, slots=True)
class MemoryChange:
    """Peak allocated memory of both sides, bytes, and what that is: "ok", "regression" or "improvement"."""

    base_bytes: int
    candidate_bytes: int
    kind: Kind


@dataclass(frozen=True, slots=True)
class PointVerdict:
    """One point of both sides.

    Attributes:
        key: identity of the case as planned.
        reason: one line, for people.
        metric: what decided: time, memory or the status.
        threshold: None where no times were compared, as are ``effect`` and ``detectable``.
        values: d of each pair that decided, ln(candidate / base), in order; empty for stored runs.
        confirmation: the same of the fresh pairs that confirmed, or did not.
        detectable: smallest slowdown, as a share, that would be found 9 times of 10 with noise as seen.
        differences: why the sides cannot be compared; those that were allowed are in ``steps``.
        steps: how the verdict came about, a line each, for ``--explain``.
        wants: so many more pairs the rule asks for; 0 when the verdict is final, and of stored runs.
    """

    key: str
    case: Case
    kind: Kind
    reason: str
    mode: Mode
    base: Side
    candidate: Side
    metric: Metric = "time"
    threshold: Threshold | None = None
    effect: Effect | None = None
    values: tuple[float, ...] = ()
    confirmation: tuple[float, ...] = ()
    detectable: float | None = None
    memory: MemoryChange | None = None
    differences: tuple[Difference, ...] = ()
    steps: tuple[str, ...] = ()
    wants: int = 0


@dataclass(frozen=True, slots=True)
class SideInfo:
    """Where one side comes from: ``label`` for tables, ``commit`` if the run recorded one, and its files."""

    label: str
    version: str
    commit: str | None
    created: str
    files: tuple[str, ...]
    environment: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Comparison:
    """All points of both sides, in the order of the base's plan, then those that are new.

    Attributes:
        identical: both sides are the same code (an A/A gate): what differs is an error of the instrument.
        injected: slowdown that was put into the candidate, as a share; None for none.
        warnings: a line each, for the user.
    """

    mode: Mode
    base: SideInfo
    candidate: SideInfo
    points: tuple[PointVerdict, ...]
    identical: bool = False
    injected: float | None = None
    warnings: tuple[str, ...] = field(default=())

    def of_kind(self, *kinds: Kind) -> list[PointVerdict]:
        """The points of these kinds, in order."""
        return [point for point in self.points if point.kind in kinds]


def exit_code(points: Sequence[PointVerdict], *, inconclusive_fails: bool) -> int:
    """The worst that any point asks for: never a count."""
    kinds = {point.kind for point in points}
    codes = {"incorrect": INCORRECT, "regression": REGRESSION, "not-comparable": NOT_COMPARABLE}
    if inconclusive_fails:
        codes["inconclusive"] = INCONCLUSIVE
    return next((codes[kind] for kind in KINDS if kind in kinds and kind in codes), OK)
