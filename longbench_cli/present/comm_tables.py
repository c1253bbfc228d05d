"""What ranks exchange, as tables: the terminal, Markdown and HTML draw the same cells."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import groupby
from typing import TypeVar

from longbench_cli.analyse.comm import BranchRows, Exchanged, Exchanges, Refused
from longbench_cli.analyse.comm_counted import Comparison
from longbench_cli.analyse.comm_growth import Growth, GrowthLine
from longbench_cli.present.series import format_options, format_varied, varied_options
from longbench_cli.present.tables import Cell, Table
from longbench_cli.present.units import count, format_bytes, format_fixed, format_significant
from longbench_cli.printable import printable
from longbench_cli.sweep.axes import format_length
from longbench_cli.sweep.case import Case

MOST, CALLS = "a rank, most", "calls"
_NUMBERS = ("N", "P", MOST, "a rank, mean", "all ranks", CALLS)
_NOTHING = Cell("", None)
_Number = TypeVar("_Number", int, float)
_UNSAID = {"parallel", "mixing_gradient"}
"""Not said with the options: it is in the name; it changes nothing about what is exchanged forward."""


def labels_of(groups: Sequence[Exchanges]) -> list[str]:
    """A name for each variant: the implementation, its algorithm, and whatever tells it from the others."""
    cases = [group.case for group in groups]
    varied = {impl: names - {"parallel"} for impl, names in varied_options(cases).items()}
    names = [[case.impl, str(case.options.get("parallel") or ""), format_varied(case, varied)] for case in cases]
    axes: tuple[Callable[[Case], str], ...] = (
        lambda case: case.pass_,
        _mask,
        lambda case: case.dtype,
        lambda case: count(case.heads, "head"),
        lambda case: count(case.kv_heads, "key head"),
        lambda case: f"head dim {case.head_dim}",
    )
    for axis in axes:
        if len({axis(case) for case in cases}) > 1:
            for name, case in zip(names, cases, strict=True):
                name.append(axis(case))
    if len({_batch(group) for group in groups}) > 1:
        for name, group in zip(names, groups, strict=True):
            name.append(_batch(group))
    return [" ".join(filter(None, name)) for name in names]


def subtitle_of(group: Exchanges) -> str:
    """The shape and the options of a variant, in one line."""
    case = group.case
    own = format_options({name: value for name, value in case.options.items() if name not in _UNSAID})
    shared = "N" if case.kind == "op" else "the batch"
    parts = [
        case.pass_,
        f"{count(case.heads, 'head')}, {count(case.kv_heads, 'key head')}, head dim {case.head_dim}",
        _batch(group),
        case.dtype,
        _mask(case),
        *filter(None, [own]),
        f"weak scaling: {shared} grows with the ranks" if group.weak else f"strong scaling: the ranks share {shared}",
    ]
    return ", ".join(parts)


def points_table(groups: Sequence[Exchanges], labels: Sequence[str] | None = None) -> Table:
    """A row a point; with ``labels`` the first column says of which variant."""
    points = [point for group in groups for point in group.points]
    exchanged = [point for point in points if isinstance(point, Exchanged)]
    branches = any(point.branches for point in exchanged)
    measured = any(point.counted for point in exchanged)
    refused = len(exchanged) < len(points)
    columns = (
        *(("implementation",) if labels else ()),
        *_NUMBERS,
        *(("rows a head, by branch",) if branches else ()),
        *(("measured", "as computed") if measured else ()),
        *(("reason",) if refused else ()),
    )
    rows = []
    for index, group in enumerate(groups):
        for point in group.points:
            numbers = _numbers(point)
            rows.append(
                (
                    *((Cell(labels[index], labels[index]),) if labels else ()),
                    *numbers,
                    *((_rows(point),) if branches else ()),
                    *(_measured(point) if measured else ()),
                    *((_word(point.reason) if isinstance(point, Refused) else _NOTHING,) if refused else ()),
                )
            )
    numeric = tuple(title in (*_NUMBERS, "measured") for title in columns)
    return Table(columns, numeric, tuple(rows))


def reasons_table(group: Exchanges) -> Table:
    """A row a reason, of a variant whose ranks can share none of its points."""
    found: dict[str, list[Case]] = {}
    for point in group.points:
        if isinstance(point, Refused):
            found.setdefault(point.reason, []).append(point.case)
    rows = []
    for reason, cases in found.items():
        lengths, ranks = [case.seq_len for case in cases], [case.world_size for case in cases]
        length = _range(min(lengths), max(lengths), format_length)
        rows.append((_word(length), _word(_range(min(ranks), max(ranks), str)), _word(reason)))
    return Table(("N", "P", "reason"), (False,) * 3, tuple(rows))


def growth_table(group: Exchanges, lines: Sequence[GrowthLine]) -> Table:
    """How the bytes of a variant grow, a row for all neighbouring lines that grow alike."""
    length = "N / P" if group.holds_share else "N"
    rows = []
    for (receiver, axis, _), alike in groupby(lines, key=lambda line: (line.receiver, line.axis, _alike(line.growth))):
        same = list(alike)
        at = (same[0].held, same[-1].held)
        held = f"P {_range(*at, str)}" if axis == "N" else f"{length} {_range(*at, format_length)}"
        growth = same[0].growth
        over = f"{axis} {_range(growth.first, growth.last, format_length if axis == 'N' else str)}"
        law = law_words([line.growth for line in same], axis)
        cells = (receiver, axis, held, law, over, count(growth.points, "point"))
        rows.append(tuple(map(_word, cells)))
    return Table(("received by", "against", "at", "grows as", "read off", "of"), (False,) * 6, tuple(rows))


def law_words(growths: Sequence[Growth], axis: str) -> str:
    """``constant, within 0.4%: 3.00 MiB``; ``N^1.00, exactly``; ``log P: 2.00 MiB more at each doubling, within 2%``.

    Of several that are alike, the least and the greatest of each number.
    """
    first = growths[0]
    span = _bytes_range([growth.low for growth in growths] + [growth.high for growth in growths])
    if first.law == "nothing":
        return "nothing is received"
    if first.exponent is None:
        return f"no law: {span}"
    within = _within_words(max(growth.within or 0.0 for growth in growths))
    sizes = _bytes_range([growth.size or 0.0 for growth in growths])
    power = f"{axis}^{format_fixed(first.exponent, 2)}"
    times = " times (P - 1) / P" if first.others else ""
    return {
        "constant": f"constant{times}, {within}: {sizes}",
        "power": f"{power}{times}, {within}",
        "logarithmic": f"log {axis}{times}: {sizes} more at each doubling, {within}",
        "linearithmic": f"{axis} log {axis}: {sizes} more a rank at each doubling, {within}",
        "none": f"no law: {span}; {power} comes only {within}",
    }[first.law]


def _alike(growth: Growth) -> object:
    exponent = format_fixed(growth.exponent, 2) if growth.law == "power" and growth.exponent is not None else None
    return growth.law, growth.others and growth.law != "none", exponent, growth.first, growth.last, growth.points


def _within_words(share: float) -> str:
    return "exactly" if share < 1e-6 else f"within {format_significant(100 * share, 2)}%"


def _bytes_range(values: Sequence[float]) -> str:
    return _range(min(values), max(values), format_bytes, " to ")


def _numbers(point: Exchanged | Refused) -> tuple[Cell, ...]:
    where = (
        Cell(format_length(point.case.seq_len), point.case.seq_len),
        Cell(str(point.case.world_size), point.case.world_size),
    )
    if isinstance(point, Refused):
        return (*where, *(_NOTHING,) * (len(_NUMBERS) - len(where)))
    received = (Cell(format_bytes(value), value) for value in (point.most, point.mean, point.total))
    return (*where, *received, Cell(f"{point.calls:,}", point.calls))


def _rows(point: Exchanged | Refused) -> Cell:
    if isinstance(point, Refused) or not point.branches:
        return _NOTHING
    total = sum(branch.rows for branch in point.branches)
    return Cell(rows_words(point.branches), total)


def rows_words(branches: Sequence[BranchRows]) -> str:
    """``0 + 1,536 + 3 × 2,048``: the rows of each branch in the order of the schedule."""
    parts = []
    for text, same in groupby(_rounded(branch.rows) for branch in branches):
        times = len(list(same))
        parts.append(text if times == 1 else f"{times} × {text}")
    return " + ".join(parts)


def _measured(point: Exchanged | Refused) -> tuple[Cell, Cell]:
    if isinstance(point, Refused) or not point.counted:
        return _NOTHING, _NOTHING
    shown = next((one for one in point.counted if one.difference), point.counted[0])
    return Cell(format_bytes(shown.most), shown.most), _word(agreement(point.counted))


def agreement(counted: Sequence[Comparison]) -> str:
    """``equal``, ``equal, 3 times``, or the first difference and where it is."""
    for one in counted:
        if one.difference:
            return printable(f"no: {one.difference} ({one.source})")
    return "equal" if len(counted) == 1 else f"equal, {len(counted)} times"


def _word(text: str) -> Cell:
    return Cell(text, text)


def _batch(group: Exchanges) -> str:
    case = group.case
    if group.weak and case.kind == "model":
        return f"batch {case.batch // case.world_size} a rank"
    return f"batch {case.batch}"


def _mask(case: Case) -> str:
    return "causal" if case.causal else "not causal"


def _rounded(rows: float) -> str:
    return f"{rows:,.0f}" if rows == round(rows) else f"{rows:,.1f}"


def _range(first: _Number, last: _Number, show: Callable[[_Number], str], between: str = "–") -> str:
    low, high = show(first), show(last)
    return low if low == high else f"{low}{between}{high}"
