"""Run files' points of several ranks: what each rank counted, beside what its case is computed to exchange."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from attention_impls.distributed.traffic import Traffic
from longbench_cli.measure.types import RankRecord
from longbench_cli.record.loading import Run
from longbench_cli.record.schema import MeasuredPoint
from longbench_cli.sweep.case import Case

_Counts = tuple[int, int, int, int]
_NAMES = ("calls", "size_bytes", "sent_bytes", "received_bytes")


@dataclass(frozen=True, slots=True)
class CountedPoint:
    """A measured point of several ranks, and the name of the run file that holds it."""

    source: str
    case: Case
    ranks: tuple[RankRecord, ...]


@dataclass(frozen=True, slots=True)
class Comparison:
    """What was counted while a point ran.

    Attributes:
        most, total: bytes received, by the rank that received most and by all together.
        difference: the first count of a rank that is not as computed, in words; None where all are.
    """

    source: str
    backend: str
    device: str
    most: int
    total: int
    difference: str | None


def counted_points(runs: Iterable[Run]) -> list[CountedPoint]:
    """Every measured point of several ranks, sessions apart."""
    return [
        CountedPoint(run.path.name, point.case, tuple(point.ranks))
        for run in runs
        for point in run.points
        if isinstance(point, MeasuredPoint) and point.ranks and point.case.world_size > 1
    ]


def same_exchange(case: Case) -> str:
    """An identity that cases share whose ranks exchange the same: the device and the back end are no part of it."""
    return case.model_copy(update={"backend": "", "device": "cpu"}).key


def compare(computed: Sequence[Traffic], point: CountedPoint) -> Comparison:
    """Every count of every rank against what was computed for it."""
    received = [sum(count.received_bytes for count in rank.traffic.values()) for rank in point.ranks]
    return Comparison(
        source=point.source,
        backend=point.case.backend,
        device=point.case.device,
        most=max(received),
        total=sum(received),
        difference=_difference(computed, point.ranks),
    )


def _difference(computed: Sequence[Traffic], ranks: Sequence[RankRecord]) -> str | None:
    if sorted(rank.rank for rank in ranks) != list(range(len(computed))):
        return f"{len(ranks)} ranks are recorded, of {len(computed)}"
    for rank in sorted(ranks, key=lambda one: one.rank):
        expected: dict[str, _Counts] = {
            kind: (count.calls, count.size, count.sent, count.received) for kind, count in computed[rank.rank].items()
        }
        found: dict[str, _Counts] = {
            kind: (count.calls, count.size_bytes, count.sent_bytes, count.received_bytes)
            for kind, count in rank.traffic.items()
        }
        for kind in sorted(expected.keys() | found.keys()):
            counted, wanted = found.get(kind, (0, 0, 0, 0)), expected.get(kind, (0, 0, 0, 0))
            for name, one, other in zip(_NAMES, counted, wanted, strict=True):
                if one != other:
                    return f"rank {rank.rank}, {kind}: {name} counted {one:,}, computed {other:,}"
    return None
