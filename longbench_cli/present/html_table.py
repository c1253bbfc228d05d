"""A table as the HTML report lays it out: kinds of cells, and one wide cell where a point has no number."""

from __future__ import annotations

from dataclasses import dataclass

from longbench_cli.present.tables import Cell, Table

POINT_NUMBERS = ("median", "TFLOP/s (dense-equivalent)")
"""First and last of the columns that a point without a number has nothing in."""


@dataclass(frozen=True, slots=True)
class HtmlCell:
    """``kind`` is the cell's class in the style sheet; ``span`` the columns it takes."""

    text: str
    order: float | str | None
    kind: str
    span: int = 1


@dataclass(frozen=True, slots=True)
class HtmlTable:
    columns: tuple[tuple[str, str], ...]
    rows: tuple[tuple[HtmlCell, ...], ...]


def lay_out(table: Table, numbers: tuple[str, str] = POINT_NUMBERS) -> HtmlTable:
    """``table`` with the reason of a point that has no number in place of its ``numbers``."""
    kinds = tuple(_kind(title, numeric) for title, numeric in zip(table.columns, table.numeric, strict=True))
    if not {"reason", *numbers} <= set(table.columns):
        return HtmlTable(tuple(zip(table.columns, kinds, strict=True)), tuple(_cells(row, kinds) for row in table.rows))
    at = table.columns.index("reason")
    first, last = (table.columns.index(name) for name in numbers)
    kept = [index for index in range(len(kinds)) if index != at]
    rows = []
    for row in table.rows:
        cells = _cells(row, kinds)
        if row[at].text:
            reason = HtmlCell(row[at].text, None, "reason", last - first + 1)
            cells = (*cells[:first], reason, *cells[last + 1 : at], *cells[at + 1 :])
        else:
            cells = tuple(cells[index] for index in kept)
        rows.append(cells)
    return HtmlTable(tuple((table.columns[index], kinds[index]) for index in kept), tuple(rows))


def _kind(title: str, numeric: bool) -> str:
    if title in ("status", "verdict"):
        return "status"
    if title == "reason":
        return "reason"
    return "num" if numeric else "long" if title == "why" or title.endswith("to the next") else "word"


def _cells(row: tuple[Cell, ...], kinds: tuple[str, ...]) -> tuple[HtmlCell, ...]:
    return tuple(HtmlCell(cell.text, cell.order, kind) for cell, kind in zip(row, kinds, strict=True))
