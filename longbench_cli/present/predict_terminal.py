"""Predictions in a terminal: a table a family, with what it rests on above it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from longbench_cli.present.predict_view import Section, forecast_table, held_out_table, score_words, total_score
from longbench_cli.present.terminal import render_for_terminal, rich_table
from longbench_cli.printable import printable

if TYPE_CHECKING:
    from rich.console import RenderableType


def render(sections: Sequence[Section], *, plain: bool) -> str:
    """The text, with colours for a terminal unless it is ``plain`` or nobody watches."""
    return render_for_terminal(_items(sections), plain=plain)


def _items(sections: Sequence[Section]) -> Iterator[RenderableType]:
    from rich.text import Text

    for section in sections:
        yield Text(printable(f"PREDICTED, not measured: {section.title}"), style="bold")
        for sentence in section.sentences:
            yield Text(printable(sentence), style="dim")
        if section.forecasts:
            yield rich_table(forecast_table(section.forecasts))
        if section.held_out:
            yield rich_table(held_out_table(section.held_out))
        yield Text()
    if len(sections) > 1 and (total := total_score(sections)):
        yield Text(f"all together: {score_words(total)}", style="bold")
