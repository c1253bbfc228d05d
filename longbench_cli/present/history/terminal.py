"""A history in a terminal: a row a series with its trend as bars, then what changed."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from longbench_cli.present.history.view import HistoryView, change_words, event_words
from longbench_cli.present.terminal import render_for_terminal, rich_table
from longbench_cli.printable import printable

if TYPE_CHECKING:
    from rich.console import RenderableType


def to_terminal(view: HistoryView, *, plain: bool) -> str:
    """The text, with colours for a terminal unless it is ``plain`` or nobody watches."""
    return render_for_terminal(_items(view), plain=plain)


def _items(view: HistoryView) -> Iterator[RenderableType]:
    from rich.text import Text

    yield rich_table(view.table())
    yield Text()
    for name, change in view.changes:
        yield Text(printable(f"{name}: {change_words(change)}"), style="bold red" if change.ratio > 1 else "green")
    for name, event in view.events:
        yield Text(printable(f"{name}: {event_words(event)}"), style="yellow")
    for note in view.notes:
        yield Text(printable(note), style="dim")
    yield Text(printable(view.headline), style="bold")
