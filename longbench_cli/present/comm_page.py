"""``longbench comm -o FILE.html``: the figures and the tables as one page that needs nothing else."""

from __future__ import annotations

from typing import Any

from longbench_cli.present.comm_figure import against_length, against_ranks, common_axis
from longbench_cli.present.comm_tables import CALLS, MOST, growth_table, points_table, reasons_table, subtitle_of
from longbench_cli.present.comm_view import CommView
from longbench_cli.present.html_table import lay_out
from longbench_cli.present.page import render_page


def render_comm(view: CommView, command: str) -> str:
    """The whole HTML document; ``command`` is the command line that made it."""
    axis = common_axis(view.groups)
    figures: dict[str, Any] = {}
    sections = []
    series = 0
    for index, (group, label, lines) in enumerate(zip(view.groups, view.labels, view.growth, strict=True)):
        drawn = []
        for name, draw in (("N", against_length), ("P", against_ranks)) if group.exchanged else ():
            made = draw(group, axis, series)
            series += len(made.legend)
            figures[f"{index}-{name}"] = made.figure.to_plotly_json()
            drawn.append({"name": f"{index}-{name}", "against": name, "legend": made.legend})
        sections.append(
            {
                "label": label,
                "subtitle": subtitle_of(group),
                "figures": drawn,
                "growth": lay_out(growth_table(group, lines)) if lines else None,
                "reasons": None if group.exchanged else lay_out(reasons_table(group)),
            }
        )
    return render_page(
        "comm.html.j2",
        {"figures": figures, "files": [view.as_json()]},
        title=f"What a rank receives: {', '.join(dict.fromkeys(view.labels))}",
        sections=sections,
        points=lay_out(points_table(view.groups, view.labels), (MOST, CALLS)),
        notes=view.notes(),
        measured=any(point.counted for group in view.groups for point in group.exchanged),
        command=command,
        filename="comm.json",
    )
