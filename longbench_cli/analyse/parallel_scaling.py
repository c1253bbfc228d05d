"""How time changes with the number of ranks: on the same problem (strong scaling), or with as much a rank (weak).

With T(P) the median time on P ranks, F(P) the work of the pass in floating-point operations, all ranks together,
and P0 the smallest count that was measured::

    strong    speed-up S = T(P0) / T(P),   efficiency E = S P0 / P
    weak      efficiency E = T(P0) / T(P)
    both      work efficiency W = (F(P) / (P T(P))) / (F(P0) / (P0 T(P0)))

W is E where the work is the same (strong), or the same a rank (weak). Of full attention under weak scaling it is
not: a rank then has P / P0 times as much to do, which E holds against it and W does not.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from longbench_cli.analyse.curves import Workload
from longbench_cli.analyse.sessions import merged_points
from longbench_cli.measure.types import RankRecord
from longbench_cli.record.schema import MeasuredPoint
from longbench_cli.sweep.case import Case

if TYPE_CHECKING:
    from longbench_cli.record.journal import Run

Way = Literal["strong", "weak"]
WAYS: tuple[Way, ...] = ("strong", "weak")

_ALGORITHM = "parallel"
"""The option that only points of several ranks have a value of: it does not tell their smallest count apart."""


@dataclass(frozen=True, slots=True)
class OnRanks:
    """A point of a curve over ranks, against the point of the smallest count.

    Attributes:
        speedup: of strong scaling, else None.
        efficiency: 1 is ideal.
        work_efficiency: 1 is ideal; None where the work is not counted.
    """

    point: MeasuredPoint
    speedup: float | None
    efficiency: float
    work_efficiency: float | None

    @property
    def ranks(self) -> int:
        return self.point.case.world_size


@dataclass(frozen=True, slots=True)
class RankCurve:
    """Points of one run that differ in the number of ranks: at least two counts, ascending.

    Attributes:
        run: place of the run in the list of runs.
        case: what they are points of: the problem (of weak scaling: that of one rank), the algorithm, one rank.
    """

    run: int
    way: Way
    case: Case
    points: tuple[OnRanks, ...]

    @property
    def execution(self) -> str:
        return self.points[0].point.execution

    @property
    def workload(self) -> Workload:
        """What a name of the curve tells beside the length: its batch."""
        return "batch"

    @property
    def widest(self) -> OnRanks:
        """The point of most ranks."""
        return self.points[-1]


def rank_curves(runs: Sequence[Run]) -> list[RankCurve]:
    """The curves over ranks of ``runs``, strong ones first; sessions merged.

    One sweep may hold both: 8k and 16k tokens on 1 and 2 ranks are two strong curves and a weak one. Resident and
    streamed points, and points of different back ends, do not share a curve.
    """
    several = [(place, run) for place, run in enumerate(runs) if any(p.case.world_size > 1 for p in run.points)]
    return [curve for way in WAYS for place, run in several for curve in _curves(run, place, way)]


def _curves(run: Run, place: int, way: Way) -> Iterator[RankCurve]:
    groups: dict[tuple[str, str], list[tuple[Case, MeasuredPoint]]] = {}
    for point in merged_points(run):
        if isinstance(point, MeasuredPoint) and point.latency.median_ns > 0:
            problem = _problem(point.case, way)
            if problem is not None:
                groups.setdefault((problem.key, point.execution), []).append((problem, point))
    for group in groups.values():
        problem = group[0][0]
        alone = {point.case.world_size: point for _, point in group if point.case.world_size == 1}
        by_algorithm: dict[object, dict[int, MeasuredPoint]] = {}
        for _, point in group:
            if point.case.world_size > 1:
                name = point.case.options.get(_ALGORITHM)
                by_algorithm.setdefault(name, dict(alone))[point.case.world_size] = point
        for name, at in by_algorithm.items():
            if len(at) > 1:
                options = problem.options | ({} if name is None else {_ALGORITHM: name})
                case = problem.model_copy(update={"options": options})
                yield RankCurve(place, way, case, _against_least([at[ranks] for ranks in sorted(at)], way))


def _problem(case: Case, way: Way) -> Case | None:
    """``case`` on one rank; None where the ranks of a weak curve do not have as much each."""
    options = {name: value for name, value in case.options.items() if name != _ALGORITHM}
    update: dict[str, object] = {"world_size": 1, "options": options}
    if way == "weak":
        name = "seq_len" if case.kind == "op" else "batch"
        each, more = divmod(getattr(case, name), case.world_size)
        if more or not each:
            return None
        update[name] = each
    return case.model_copy(update=update)


def _against_least(points: Sequence[MeasuredPoint], way: Way) -> tuple[OnRanks, ...]:
    least = points[0]
    return tuple(_against(point, least, way) for point in points)


def _against(point: MeasuredPoint, least: MeasuredPoint, way: Way) -> OnRanks:
    ratio = least.latency.median_ns / point.latency.median_ns
    more = point.case.world_size / least.case.world_size
    work = ratio * point.cost.flops / least.cost.flops / more if least.cost.flops and point.cost.flops else None
    if way == "weak":
        return OnRanks(point, None, ratio, work)
    return OnRanks(point, ratio, ratio / more, work)


def received_bytes(ranks: Sequence[RankRecord]) -> list[int]:
    """Bytes that each rank received from others in one iteration, as it counted them."""
    return [sum(count.received_bytes for count in rank.traffic.values()) for rank in ranks]


@dataclass(frozen=True, slots=True)
class SharedCores:
    """Ranks of one processor that leave none of its cores to spare.

    Attributes:
        threads: of all ranks together.
    """

    ranks: int
    threads: int
    cores: int


def shared_cores(run: Run) -> SharedCores | None:
    """The point of most ranks that leave less than a core a rank of their machine idle; None without one.

    Against it more ranks cannot be faster: one rank has all of the cores already.
    """
    cores = run.header.environment.get("cores")
    if type(cores) is not int or cores < 1:
        return None
    found = [
        SharedCores(len(ranks), threads, cores)
        for point in run.points
        if isinstance(point, MeasuredPoint) and point.case.device == "cpu" and (ranks := point.ranks)
        if len({rank.host for rank in ranks}) == 1 and len(ranks) > 1
        if (threads := sum(rank.threads for rank in ranks)) > cores - len(ranks)
    ]
    return max(found, key=lambda one: one.ranks, default=None)
