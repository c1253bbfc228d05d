"""A comparison as one HTML page that needs nothing else: the processes behind each verdict, and every point."""

from __future__ import annotations

from typing import Any

from longbench_cli.analyse.comparison.types import Comparison
from longbench_cli.present.comparison.explained import explanation
from longbench_cli.present.comparison.figure import can_draw, point_figure
from longbench_cli.present.comparison.labels import labels_of
from longbench_cli.present.comparison.structured import to_json
from longbench_cli.present.comparison.summary import advice, alarm, counted, facts_of, flagged, headline, kinds_of
from longbench_cli.present.comparison.table import NOTE, comparison_table
from longbench_cli.present.html_table import lay_out
from longbench_cli.present.page import render_page

MOST_DRAWN = 40
"""Points that have a figure, the worst first; the table has all."""


def render_comparison(comparison: Comparison, *, inconclusive_fails: bool = False) -> str:
    """The whole HTML document; ``inconclusive_fails`` is of the JSON that it offers."""
    labels = labels_of(comparison.points)
    found = flagged(comparison)
    figures: dict[str, Any] = {}
    shown = []
    for index, point in enumerate(found[:MOST_DRAWN]):
        drawn = point_figure(point) if can_draw(point) else None
        if drawn:
            figures[str(index)] = drawn.figure.to_plotly_json()
        label = labels[point.key]
        shown.append(
            {
                "label": label,
                "kind": point.kind,
                "reason": point.reason,
                "figure": str(index) if drawn else None,
                "legend": drawn.legend if drawn else (),
                "explanation": "\n".join(explanation(point, label)),
            }
        )
    return render_page(
        "comparison.html.j2",
        {"figures": figures, "files": [to_json(comparison, inconclusive_fails=inconclusive_fails)]},
        title=headline(comparison),
        alarm=alarm(comparison),
        facts_of=facts_of(comparison),
        kinds=[(kind, counted(number, kind)) for kind, number in kinds_of(comparison).items() if number],
        warnings=[*comparison.warnings, *advice(comparison)],
        flagged=shown,
        left_out=len(found) - len(shown),
        paired=comparison.mode == "paired",
        note=NOTE,
        points=lay_out(comparison_table(comparison.points, labels)),
        filename="comparison.json",
    )
