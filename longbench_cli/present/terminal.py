"""Text and tables for a terminal, as a string: coloured where somebody watches, plain in a file or a pipe."""

from __future__ import annotations

import io
import sys
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING

from longbench_cli.present.tables import Cell, Table
from longbench_cli.printable import printable

if TYPE_CHECKING:
    from rich.console import RenderableType

_PLAIN_WIDTH = 200
"""Columns where the output is no terminal."""
_NO_LIMIT = 10_000


def render_for_terminal(items: Iterable[RenderableType], *, plain: bool) -> str:
    """The items under each other, with colours for a terminal unless it is ``plain`` or nobody watches."""
    from rich.console import Console
    from rich.measure import Measurement
    from rich.table import Table as RichTable

    watched = sys.stdout.isatty() and not plain
    console = Console(
        file=io.StringIO(),
        force_terminal=watched,
        width=None if watched else _PLAIN_WIDTH,
        highlight=False,
        markup=False,
        emoji=False,
    )
    width = console.width
    for item in items:
        needed = 0
        if isinstance(item, RichTable):  # rather too wide than with digits cut off
            needed = Measurement.get(console, console.options.update(max_width=_NO_LIMIT), item).minimum
        console.width = max(width, needed)
        console.print(item)
    assert isinstance(console.file, io.StringIO)  # noqa: S101
    return console.file.getvalue()


def rich_table(table: Table, style: Callable[[Sequence[Cell]], str] = lambda _row: "") -> RenderableType:
    """``table`` for rich, its text made printable; ``style`` is how a row looks."""
    from rich.cells import cell_len
    from rich.table import Table as RichTable
    from rich.text import Text

    drawn = RichTable(box=None, pad_edge=False, header_style="bold")
    rows = [[printable(cell.text) for cell in row] for row in table.rows]
    for index, (title, numeric) in enumerate(zip(table.columns, table.numeric, strict=True)):
        least = max(cell_len(text) for text in (title, *(row[index] for row in rows))) if numeric else None
        drawn.add_column(
            title, justify="right" if numeric else "left", no_wrap=numeric, min_width=least, overflow="fold"
        )
    for cells, row in zip(rows, table.rows, strict=True):
        drawn.add_row(*map(Text, cells), style=style(row) or None)
    return drawn
