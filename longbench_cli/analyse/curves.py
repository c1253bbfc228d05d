"""Curves: the points of a run that differ in sequence length alone."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from longbench_cli.analyse.sessions import merged_points
from longbench_cli.record.schema import MeasuredPoint, UnmeasuredPoint
from longbench_cli.sweep.case import Case

if TYPE_CHECKING:
    from longbench_cli.record.journal import Run

AnyPoint = MeasuredPoint | UnmeasuredPoint
Workload = Literal["batch", "tokens"]
UNRESOLVED = "auto"
"""Back end of a point that failed before one was picked."""


@dataclass(frozen=True)
class Curve:
    """Points of one run, ordered by sequence length, one a length, sessions merged.

    Attributes:
        run: place of the run they are from in the list of runs.
        points: at least one; measured or not.
        workload: what stays the same along the curve: the batch, or the tokens in a batch.
    """

    run: int
    points: tuple[AnyPoint, ...]
    workload: Workload

    @property
    def case(self) -> Case:
        """A case of the curve, of a measured point if there is one: its back end is the resolved one."""
        return (self.measured or self.points)[0].case

    @property
    def execution(self) -> str:
        return self.points[0].execution

    @property
    def measured(self) -> tuple[MeasuredPoint, ...]:
        return tuple(point for point in self.points if isinstance(point, MeasuredPoint))

    @property
    def unmeasured(self) -> tuple[UnmeasuredPoint, ...]:
        return tuple(point for point in self.points if isinstance(point, UnmeasuredPoint))

    @property
    def medians(self) -> tuple[list[int], list[float]]:
        """Lengths in tokens and median times in nanoseconds, where the clock saw the pass at all."""
        seen = [point for point in self.measured if point.latency.median_ns > 0]
        return [point.case.seq_len for point in seen], [point.latency.median_ns for point in seen]

    @property
    def work(self) -> tuple[list[int], list[float]]:
        """Lengths in tokens and floating-point operations, where there are medians and the work is counted."""
        seen = [point for point in self.measured if point.latency.median_ns > 0 and point.cost.flops > 0]
        return [point.case.seq_len for point in seen], [float(point.cost.flops) for point in seen]


def curves_of(runs: Sequence[Run]) -> list[Curve]:
    """The curves of ``runs``, in the order in which their first points appear.

    Points share a curve if they agree in :attr:`Case.curve` (resolved back end included), in how
    they were executed (resident and streamed never mix) and in the batch or the tokens of a batch.
    """
    return [curve for place, run in enumerate(runs) for curve in _curves_of_run(run, place)]


def _curves_of_run(run: Run, place: int) -> list[Curve]:
    groups = _grouped(merged_points(run), lambda point: (point.case.curve, point.execution))
    _adopt_unresolved(groups)
    curves = []
    for group in groups.values():
        workload, parts = _by_workload(group)
        for part in parts:
            ordered = tuple(sorted(part, key=lambda point: point.case.seq_len))
            curves.append(Curve(place, ordered, workload))
    return curves


def _grouped(points: Iterable[AnyPoint], key: Callable[[AnyPoint], object]) -> dict[object, list[AnyPoint]]:
    groups: dict[object, list[AnyPoint]] = {}
    for point in points:
        groups.setdefault(key(point), []).append(point)
    return groups


def _adopt_unresolved(groups: dict[object, list[AnyPoint]]) -> None:
    """Move points without a back end to the curve whose next shorter (else nearest) point they continue."""
    resolved: dict[object, dict[int, list[AnyPoint]]] = {}  # for all but the back end, the curve at each length
    for group in groups.values():
        if group[0].case.backend != UNRESOLVED:
            at = resolved.setdefault(_but_backend(group[0]), {})
            for point in group:
                at.setdefault(point.case.seq_len, group)
    for key, group in list(groups.items()):
        if group[0].case.backend == UNRESOLVED and (homes := resolved.get(_but_backend(group[0]))):
            lengths = sorted(homes)
            for point in group:
                shorter = bisect_right(lengths, point.case.seq_len)
                homes[lengths[max(0, shorter - 1)]].append(point)
            del groups[key]


def _but_backend(point: AnyPoint) -> object:
    return point.case.model_copy(update={"backend": ""}).curve, point.execution


def _by_workload(points: list[AnyPoint]) -> tuple[Workload, list[list[AnyPoint]]]:
    """Split by batch or by tokens in a batch, whichever makes fewer curves."""
    by_batch = list(_grouped(points, lambda point: point.case.batch).values())
    by_tokens = list(_grouped(points, lambda point: point.case.batch * point.case.seq_len).values())
    return ("tokens", by_tokens) if len(by_tokens) < len(by_batch) else ("batch", by_batch)
