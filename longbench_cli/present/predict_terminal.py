"""Predictions in a terminal: a table a family, with what it rests on above it."""

from __future__ import annotations

import io
import sys
from collections.abc import Sequence

from rich.console import Console
from rich.table import Table as RichTable
from rich.text import Text

from longbench_cli.present.predict_view import Section, forecast_table, held_out_table, score_words, total_score
from longbench_cli.present.tables import Table
from longbench_cli.printable import printable

_PLAIN_WIDTH = 200
"""Columns where the output is no terminal."""


def render(sections: Sequence[Section], *, plain: bool) -> str:
    """The text, with colours for a terminal unless it is ``plain`` or nobody watches."""
    watched = sys.stdout.isatty() and not plain
    console = Console(
        file=io.StringIO(),
        force_terminal=watched,
        width=None if watched else _PLAIN_WIDTH,
        highlight=False,
        markup=False,
        emoji=False,
    )
    for section in sections:
        console.print(Text(printable(f"PREDICTED, not measured: {section.title}"), style="bold"))
        for sentence in section.sentences:
            console.print(Text(printable(sentence), style="dim"))
        if section.forecasts:
            console.print(_drawn(forecast_table(section.forecasts)))
        if section.held_out:
            console.print(_drawn(held_out_table(section.held_out)))
        console.print()
    if len(sections) > 1 and (total := total_score(sections)):
        console.print(Text(f"all together: {score_words(total)}", style="bold"))
    assert isinstance(console.file, io.StringIO)  # noqa: S101
    return console.file.getvalue()


def _drawn(table: Table) -> RichTable:
    drawn = RichTable(box=None, pad_edge=False, header_style="bold")
    for title, numeric in zip(table.columns, table.numeric, strict=True):
        drawn.add_column(title, justify="right" if numeric else "left", no_wrap=numeric, overflow="fold")
    for row in table.rows:
        drawn.add_row(*(Text(printable(cell.text)) for cell in row))
    return drawn
