"""The points of a comparison as a table: one row a point, the same cells in a terminal, in Markdown and in HTML."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import median

from longbench_cli.analyse.comparison.types import KINDS, PointVerdict, Side
from longbench_cli.present.comparison.words import change, interval, memory_words, share, time_of
from longbench_cli.present.tables import NOTHING, Cell, Table, number, word

VERDICT, POINT, WHY = "verdict", "point", "why"
_COLUMNS = (
    (VERDICT, False),
    (POINT, False),
    ("change", True),
    ("base", True),
    ("candidate", True),
    ("95% interval", True),
    ("threshold", True),
    ("detectable", True),
    ("memory", True),
    (WHY, False),
)
_ALWAYS = frozenset({VERDICT, POINT, "base", "candidate", "change"})

NOTE = (
    "Change: time of the candidate against that of the base, above 0 is slower. Threshold: the least slowdown that "
    "counts. Detectable: the least that would be found 9 times of 10 with noise as seen."
)


def comparison_table(points: Sequence[PointVerdict], labels: Mapping[str, str], *, why: bool = True) -> Table:
    """A row a point, in order; columns that hold nothing are left out, and the reasons unless ``why``.

    The change of a point that is not comparable is not shown: it is none of the code.
    """
    rows = [_row(point, labels[point.key]) for point in points]
    kept = [
        index
        for index, (title, _) in enumerate(_COLUMNS)
        if title in _ALWAYS or (any(row[index].text for row in rows) and (why or title != WHY))
    ]
    return Table(
        columns=tuple(_COLUMNS[index][0] for index in kept),
        numeric=tuple(_COLUMNS[index][1] for index in kept),
        rows=tuple(tuple(row[index] for index in kept) for row in rows),
    )


def _row(point: PointVerdict, label: str) -> tuple[Cell, ...]:
    effect = point.effect if point.kind != "not-comparable" else None
    spread = effect.interval[1] - effect.interval[0] if effect else None
    return (
        Cell(point.kind, KINDS.index(point.kind)),
        word(label),
        number(effect.ratio if effect else None, change),
        _time(point.base),
        _time(point.candidate),
        Cell(interval(effect), spread) if effect else NOTHING,
        number(point.threshold.share if point.threshold else None, share),
        number(point.detectable, share),
        Cell(memory_words(point.memory), point.memory.candidate_bytes / point.memory.base_bytes)
        if point.memory and point.memory.base_bytes
        else word(memory_words(point.memory)),
        word(point.reason),
    )


def _time(side: Side) -> Cell:
    return Cell(time_of(side), median(side.medians_ns) if side.medians_ns else None)
