"""``longbench comm``: what ranks exchange and how it grows, as text, Markdown and JSON."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

from longbench_cli.analyse.comm import Exchanged, Exchanges, Refused
from longbench_cli.analyse.comm_growth import GrowthLine, growth_lines
from longbench_cli.present.comm_tables import growth_table, labels_of, points_table, reasons_table, subtitle_of
from longbench_cli.present.export import escape_markdown, markdown_table
from longbench_cli.present.tables import Table
from longbench_cli.printable import printable, printable_json, printable_lines

if TYPE_CHECKING:
    from rich.console import RenderableType

NOTE = (
    "Received: bytes that must come to a rank from others in one iteration, whatever route a library takes. "
    "A rank, most: the one that receives most."
)
ROWS_NOTE = (
    "Rows a head, by branch: keys, each with its value, that the rank which gathers most gets from others in a "
    "forward, the mean of the heads; branches in the order of the schedule, n × where n have as many."
)


@dataclass(frozen=True)
class CommView:
    """Every variant with its points; ``unmatched`` are keys of measured points that are none of them."""

    groups: tuple[Exchanges, ...]
    unmatched: tuple[str, ...] = ()

    @cached_property
    def labels(self) -> list[str]:
        """A name for each variant."""
        return labels_of(self.groups)

    @cached_property
    def growth(self) -> list[list[GrowthLine]]:
        """How the bytes of each variant grow; none where an axis has too few points."""
        return [growth_lines(group) for group in self.groups]

    def sections(self) -> Iterator[tuple[str, str, Table, Table | None]]:
        """Of each variant: its name, its shape and options, its points, its growth."""
        for group, label, lines in zip(self.groups, self.labels, self.growth, strict=True):
            growth = growth_table(group, lines) if lines else None
            points = points_table([group]) if group.exchanged else reasons_table(group)
            yield label, subtitle_of(group), points, growth

    def notes(self) -> list[str]:
        """What is to be known of the numbers."""
        found = [NOTE]
        if any(point.branches for group in self.groups for point in group.exchanged):
            found.append(ROWS_NOTE)
        if self.unmatched:
            shown = "; ".join(map(printable, self.unmatched[:2])) + ("; ..." if len(self.unmatched) > 2 else "")
            found.append(
                f"Measured points of several ranks that are not in the tables: {len(self.unmatched)} ({shown}). "
                "Give the options that they were measured with."
            )
        return found

    def as_renderables(self) -> Iterator[RenderableType]:
        """Lines and tables for rich, from top to bottom."""
        from rich.text import Text

        for label, subtitle, points, growth in self.sections():
            yield Text(label, style="bold")
            yield Text(subtitle)
            yield _rich(points)
            if growth is not None:
                yield Text()
                yield _rich(growth)
            yield Text()
        yield from map(Text, self.notes())

    def as_markdown(self) -> str:
        """The same tables, for a page."""
        lines: list[str] = []
        for label, subtitle, points, growth in self.sections():
            lines += [f"### {escape_markdown(label)}", "", f"{escape_markdown(subtitle)}.", ""]
            lines += [*markdown_table(points), ""]
            if growth is not None:
                lines += [*markdown_table(growth), ""]
        lines += [f"- {escape_markdown(note)}" for note in self.notes()]
        return printable_lines("\n".join(lines) + "\n")

    def as_json(self) -> str:
        """Every number in full; bytes, rows and tokens."""
        content = {
            "variants": [
                {
                    "label": label,
                    "case": _variant(group),
                    "scaling": "weak" if group.weak else "strong",
                    "points": [_point(point) for point in group.points],
                    "growth": [asdict(line) for line in lines],
                }
                for group, label, lines in zip(self.groups, self.labels, self.growth, strict=True)
            ],
            "unmatched": list(self.unmatched),
        }
        return printable_json(json.dumps(content, ensure_ascii=False, allow_nan=False, indent=1)) + "\n"


def _variant(group: Exchanges) -> dict[str, Any]:
    return group.case.model_dump(by_alias=True, exclude={"seq_len", "world_size", "batch", "device", "backend"})


def _point(point: Exchanged | Refused) -> dict[str, Any]:
    case = point.case
    where = {"seq_len": case.seq_len, "world_size": case.world_size, "batch": case.batch}
    if isinstance(point, Refused):
        return {**where, "refused": point.reason}
    return {
        **where,
        "refused": None,
        "received_bytes_most": point.most,
        "received_bytes_mean": point.mean,
        "received_bytes_all": point.total,
        "calls": point.calls,
        "branches": [asdict(branch) for branch in point.branches],
        "measured": [asdict(one) for one in point.counted],
    }


def _rich(table: Table) -> RenderableType:
    from rich.table import Table as RichTable
    from rich.text import Text

    shown = RichTable(box=None, pad_edge=False, header_style="bold")
    for title, numeric in zip(table.columns, table.numeric, strict=True):
        wide = title in ("reason", "as computed", "rows a head, by branch")
        shown.add_column(Text(title), justify="right" if numeric else "left", no_wrap=not wide, overflow="fold")
    for row in table.rows:
        shown.add_row(*(Text(cell.text) for cell in row))
    return shown
