"""``longbench predict --format html``: figures and tables as one page that needs nothing else."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from longbench_cli.present.html_table import lay_out
from longbench_cli.present.page import render_page
from longbench_cli.present.predict_figure import predict_figure
from longbench_cli.present.predict_view import Section, forecast_table, to_json

_JSON_NAME = "predictions.json"


def render_predictions(sections: Sequence[Section]) -> str:
    """The whole HTML document."""
    figures: dict[str, Any] = {}
    shown = []
    series = 0
    for index, section in enumerate(sections):
        made = predict_figure(section, series)
        series += len(made.legend)
        figures[str(index)] = made.figure.to_plotly_json()
        shown.append(
            {"title": section.title, "name": str(index), "sentences": section.sentences, "legend": made.legend}
        )
    forecasts = [one for section in sections for one in section.forecasts]
    return render_page(
        "predict.html.j2",
        {"figures": figures, "files": [to_json(sections)]},
        title=f"Predicted: {', '.join(dict.fromkeys(one.case.impl for one in forecasts))}",
        sections=shown,
        points=lay_out(forecast_table(forecasts)),
        filename=_JSON_NAME,
    )
