"""Curves over ranks, and points of several ranks, ready to be shown: each with a name, and a curve with a look."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from longbench_cli.analyse.curves import Curve, Workload, curves_of
from longbench_cli.analyse.parallel_scaling import WAYS, RankCurve, rank_curves
from longbench_cli.measure.types import Communication, RankRecord
from longbench_cli.present.series import DASHES, Named, colors_of, variant_names
from longbench_cli.present.units import count, format_fixed
from longbench_cli.record.schema import MeasuredPoint
from longbench_cli.sweep.axes import format_length
from longbench_cli.sweep.case import Case

if TYPE_CHECKING:
    from longbench_cli.record.journal import Run


@dataclass(frozen=True)
class RankSeries:
    """A curve over ranks with everything that is said about it.

    Attributes:
        label: implementation, pass, and whatever else tells it from the others, but for its problem.
        color, dash: its look, one colour a variant and one dash a pass.
    """

    curve: RankCurve
    label: str
    color: str
    dash: str

    @property
    def size(self) -> int:
        """Tokens, of a sequence or of a rank; sequences of a rank, where the ranks of a model share a batch."""
        case = self.curve.case
        return case.batch if self._shares_batch else case.seq_len

    @property
    def problem(self) -> str:
        """``64k``, ``8k a rank``, ``64k, batch 2 a rank``."""
        length = format_length(self.curve.case.seq_len)
        if self.curve.way == "strong":
            return length
        return f"{length}, batch {self.size} a rank" if self._shares_batch else f"{length} a rank"

    @property
    def _shares_batch(self) -> bool:
        return self.curve.way == "weak" and self.curve.case.kind == "model"


def build_rank_series(runs: Sequence[Run]) -> list[RankSeries]:
    """Name and colour every curve over ranks of ``runs``: strong ones first, by name, then by size."""
    curves = rank_curves(runs)
    variants = variant_names(curves, runs)
    colors = colors_of(variants)
    found = [
        RankSeries(
            curve=curve,
            label=label,
            color=colors[variant],
            dash=DASHES[curve.case.pass_],
        )
        for curve, variant, label in zip(curves, variants, _labels(variants, curves), strict=True)
    ]
    order = {label: number for number, label in enumerate(dict.fromkeys(one.label for one in found))}
    return sorted(found, key=lambda one: (WAYS.index(one.curve.way), order[one.label], one.size))


@dataclass(frozen=True)
class Exchange:
    """A measured point of several ranks.

    Attributes:
        run: place of its run in the list of runs.
        ranks: what each counted, and its times.
        told: what the exchange cost; None where there was no room to take it apart.
    """

    run: int
    label: str
    point: MeasuredPoint
    ranks: list[RankRecord]
    told: Communication | None

    @property
    def name(self) -> str:
        """``dilated fwd, 8k on 4 ranks``."""
        case = self.point.case
        return f"{self.label}, {format_length(case.seq_len)} on {count(case.world_size, 'rank')}"


def exchanges_of(runs: Sequence[Run]) -> list[Exchange]:
    """The measured points of several ranks: by curve, then by length and by ranks."""
    curves = [_OneRank(curve) for curve in curves_of(runs) if any(point.ranks for point in curve.measured)]
    labels = _labels(variant_names(curves, runs), curves)
    found = [
        Exchange(one.run, label, point, point.ranks, point.communication)
        for label, one in zip(labels, curves, strict=True)
        for point in one.curve.measured
        if point.ranks
    ]
    order = {label: number for number, label in enumerate(dict.fromkeys(labels))}
    return sorted(found, key=lambda one: (order[one.label], one.point.case.seq_len, one.point.case.world_size))


@dataclass(frozen=True)
class _OneRank:
    """A curve over N, named without its number of ranks."""

    curve: Curve

    @property
    def run(self) -> int:
        return self.curve.run

    @property
    def case(self) -> Case:
        return self.curve.case.model_copy(update={"world_size": 1})

    @property
    def execution(self) -> str:
        return self.curve.execution

    @property
    def workload(self) -> Workload:
        return self.curve.workload


def _labels(variants: Sequence[tuple[str, ...]], curves: Sequence[Named]) -> list[str]:
    return [
        " ".join((curve.case.impl, curve.case.pass_, *variant[1:]))
        for curve, variant in zip(curves, variants, strict=True)
    ]


def format_speedup(ratio: float) -> str:
    """``1.85×``."""
    return f"{format_fixed(ratio, 2)}×"
