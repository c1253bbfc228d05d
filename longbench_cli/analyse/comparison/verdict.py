"""Time, memory, status and what differs, as one verdict on a point: the only place that weighs them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from longbench_cli.analyse.comparison.status import status_change
from longbench_cli.analyse.comparison.types import (
    KINDS,
    Difference,
    Effect,
    Kind,
    MemoryChange,
    Metric,
    Mode,
    PointVerdict,
    Side,
    Threshold,
)
from longbench_cli.sweep.case import Case
from longbench_cli.sweep.units import format_bytes


@dataclass(frozen=True, slots=True)
class TimeVerdict:
    """What a rule says of the times of one point; the fields are those of :class:`PointVerdict`.

    ``kind`` is "regression", "ok", "improvement", "inconclusive", or "not-comparable" where the times do not suffice.
    """

    kind: Kind
    reason: str
    threshold: Threshold | None = None
    effect: Effect | None = None
    values: tuple[float, ...] = ()
    confirmation: tuple[float, ...] = ()
    detectable: float | None = None
    steps: tuple[str, ...] = ()
    wants: int = 0


def combine(
    key: str,
    case: Case,
    mode: Mode,
    base: Side,
    candidate: Side,
    *,
    time: TimeVerdict | None = None,
    memory: MemoryChange | None = None,
    left: Sequence[Difference] = (),
    allowed: Sequence[Difference] = (),
    status_wants: int = 0,
) -> PointVerdict:
    """The verdict on one point.

    In this order: a wrong result of the candidate is incorrect, whatever else; sides that differ in what matters are
    not comparable; a status other than ok decides; else the worse of time and memory does, and of two that are equally
    bad the time.

    Args:
        time: None where a status or a difference decides, so that no times were compared.
        memory: None where a side has none.
        left: differences that nobody allowed.
        allowed: those that ``--allow`` named.
        status_wants: so many more pairs must show a failure, of one side or both, before it is believed: until then
            the point is inconclusive, and the verdict wants them. No concern of a wrong result, nor of a point that
            was not started.

    Raises:
        ValueError: both sides are measured and comparable, and there is no ``time``.
    """
    kind, reason, metric = _decided(base, candidate, time, memory, left)
    wants = time.wants if time else 0
    steps = [f"allowed to differ: {_differ(one)}" for one in allowed]
    steps += [f"differs: {_differ(one)}" for one in left]
    steps += time.steps if time else ()
    if memory is not None:
        steps.append(f"{_memory_words(memory)}: {memory.kind}")
    sure = kind in ("incorrect", "new") or "pruned" in (base.status, candidate.status)
    if metric == "status" and status_wants and not sure:
        kind, wants = "inconclusive", status_wants
        reason += f"; {status_wants} more fresh pair{'' if status_wants == 1 else 's'} will tell"
    return PointVerdict(
        key=key,
        case=case,
        kind=kind,
        reason=reason,
        mode=mode,
        base=base,
        candidate=candidate,
        metric=metric,
        threshold=time.threshold if time else None,
        effect=time.effect if time else None,
        values=time.values if time else (),
        confirmation=time.confirmation if time else (),
        detectable=time.detectable if time else None,
        memory=memory,
        differences=tuple(left),
        steps=tuple(steps),
        wants=wants,
    )


def together(points: Sequence[PointVerdict]) -> tuple[PointVerdict, ...]:
    """The verdicts on all points of two sides, which between them must have compared something.

    Where no point was measured on both sides, and none is a regression or incorrect, nothing was found to be as it
    was: what would be ok is not comparable.
    """
    measured = any(point.base.status == point.candidate.status == "ok" for point in points)
    if measured or any(point.kind in ("incorrect", "regression") for point in points):
        return tuple(points)
    return tuple(
        replace(point, kind="not-comparable", reason=f"{point.reason}; no point was measured on both sides")
        if point.kind == "ok"
        else point
        for point in points
    )


def _decided(
    base: Side, candidate: Side, time: TimeVerdict | None, memory: MemoryChange | None, left: Sequence[Difference]
) -> tuple[Kind, str, Metric]:
    changed = status_change(base, candidate)
    if changed and changed[0] == "incorrect":
        return *changed, "status"
    if left:
        fields = ",".join(dict.fromkeys(one.field for one in left))
        differ = "; ".join(map(_differ, left))
        return "not-comparable", f"{differ}: --allow {fields} compares them all the same", "time"
    if changed:
        return *changed, "status"
    if time is None:
        raise ValueError("no times were compared, and nothing says why")
    if memory is None or memory.kind == "ok":
        return time.kind, time.reason, "time"
    words = _memory_words(memory)
    if KINDS.index(memory.kind) < KINDS.index(time.kind):
        return memory.kind, f"{words}; time: {time.reason}", "memory"
    return time.kind, f"{time.reason}; {words}", "time"


def _differ(one: Difference) -> str:
    return f"{one.field}: base {one.base}, candidate {one.candidate}"


def _memory_words(memory: MemoryChange) -> str:
    share = f" ({memory.candidate_bytes / memory.base_bytes - 1:+.1%})" if memory.base_bytes else ""
    return f"peak memory {format_bytes(memory.candidate_bytes)}, base {format_bytes(memory.base_bytes)}{share}"
