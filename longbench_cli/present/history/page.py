"""``longbench history show --format html``: the series, what changed, and a figure each, as one page."""

from __future__ import annotations

from typing import Any

from longbench_cli.analyse.history import Series
from longbench_cli.present.history.export import to_json
from longbench_cli.present.history.figure import history_figure
from longbench_cli.present.history.view import HistoryView, change_words, event_words
from longbench_cli.present.html_table import lay_out
from longbench_cli.present.page import render_page

MOST_OPEN = 12
"""Figures that are drawn at once: of series in which something changed, the rest when they are opened."""


def render_history(view: HistoryView) -> str:
    """The whole HTML document. A series of a single run is in the table alone: it has nothing to draw."""
    drawn = [(name, one) for name, one in zip(view.names, view.series, strict=True) if len(one.runs) > 1]
    drawn.sort(key=lambda item: not _moved(item[1]))
    figures: dict[str, Any] = {}
    sections = []
    for place, (name, one) in enumerate(drawn):
        figures[str(place)] = history_figure(one).to_plotly_json()
        sections.append(
            {
                "name": str(place),
                "title": name,
                "key": one.key,
                "where": ", ".join(f"{field} {value}" for field, value in one.fingerprint.items()),
                "said": [*map(change_words, one.changes), *map(event_words, one.events), *one.differs],
                "open": place < MOST_OPEN and (_moved(one) or len(drawn) <= MOST_OPEN),
            }
        )
    runs = [run.header.created for run in view.runs]
    return render_page(
        "history.html.j2",
        {"figures": figures, "files": [to_json(view)]},
        title=view.headline,
        span=f"{runs[0]} to {runs[-1]}" if len(runs) > 1 else runs[0],
        changes=[{"name": name, "said": change_words(one), "slower": one.ratio > 1} for name, one in view.changes],
        events=[{"name": name, "said": event_words(one)} for name, one in view.events],
        notes=view.notes,
        least_effect=f"{100 * view.least_effect:g}%",
        table=lay_out(view.table()),
        sections=sections,
        filename="history.json",
    )


def _moved(series: Series) -> bool:
    return bool(series.changes or series.events)
