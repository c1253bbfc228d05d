"""The strip above a figure that shows the points without a number: a row a series, a mark a point."""

from __future__ import annotations

import html
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from longbench_cli.present.axes import LogAxis
from longbench_cli.present.hover import hover_text
from longbench_cli.present.series import Series

if TYPE_CHECKING:
    import plotly.graph_objects as go

STRIP_AXIS = "yaxis2"
ROW_HEIGHT = 20
LEAST_ROOM = 0.3
"""Share of the width that a row's name needs."""
_SYMBOLS = {
    "pruned": "triangle-right-open",
    "oom": "x",
    "timeout": "hourglass",
    "crashed": "cross",
    "incorrect": "diamond-cross-open",
    "unsupported": "circle-x-open",
}


@dataclass(frozen=True, slots=True)
class Strip:
    """Height in pixels (0: every point has a number) and the axis of the rows."""

    height: int
    axis: dict[str, Any]


def add_strip(figure: go.Figure, series: Sequence[Series], x_axis: LogAxis) -> Strip:
    """Draw the marks on the second y axis; the caller gives it room above the plot."""
    rows = [(index, one) for index, one in enumerate(series) if one.curve.unmeasured]
    if not rows:
        return Strip(0, {})
    for row, (index, one) in enumerate(reversed(rows)):
        _add_row(figure, one, row, x_axis, index)
    height = ROW_HEIGHT * len(rows) + 14
    axis = {
        "range": [-0.6, len(rows) - 0.4],
        "fixedrange": True,
        "visible": False,
        "anchor": "x",
    }
    return Strip(height, axis)


def _add_row(figure: go.Figure, series: Series, row: int, x_axis: LogAxis, index: int) -> None:
    points = series.curve.unmeasured
    names = ", ".join(dict.fromkeys(point.status for point in points))
    text = ["" for _ in points]
    # The name goes where there is more room: before the first mark or after the last; nowhere if a row is full.
    label = html.escape(f"{series.label}: {names}", quote=False)
    before, after = _share(x_axis, points[0].case.seq_len), 1 - _share(x_axis, points[-1].case.seq_len)
    side = "middle left" if before >= after else "middle right"
    if max(before, after) >= LEAST_ROOM:
        text[0 if before >= after else -1] = f" {label} "
    figure.add_scatter(
        x=[point.case.seq_len for point in points],
        y=[row] * len(points),
        yaxis="y2",
        name=label,
        mode="markers+text",
        text=text,
        textposition=side,
        textfont={"size": 11},
        cliponaxis=False,
        marker={"symbol": [_SYMBOLS[point.status] for point in points], "size": 9, "color": series.color},
        hovertext=[hover_text(series, point) for point in points],
        hovertemplate="%{hovertext}<extra></extra>",
        legendgroup=f"series-{index}",
        meta=index,
        showlegend=not any(text) or not series.curve.measured,
    )


def _share(x_axis: LogAxis, length: int) -> float:
    """How far along the axis ``length`` is, 0 to 1."""
    start, end = x_axis.range
    return (math.log10(length) - start) / (end - start)
