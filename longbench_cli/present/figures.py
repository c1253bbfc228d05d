"""Figures of a sweep against the sequence length, with plotly (imported when a figure is drawn).

All are log-log, one line a series; the ``meta`` of a trace is its series' place in the list. A point
without a number breaks its line and appears in a strip above the plot, so that what is missing can
be seen. A point that is not trusted has an open marker, a streamed one a dot in it. Colours of text
and grid suit light and dark pages.
"""

from __future__ import annotations

import html
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from longbench_cli.present.axes import LogAxis, bytes_axis, duration_axis, length_axis, rate_axis
from longbench_cli.present.hover import hover_text
from longbench_cli.present.rates import actual_tflops, dense_tflops
from longbench_cli.present.series import Series
from longbench_cli.present.strip import STRIP_AXIS, Strip, add_strip
from longbench_cli.present.trust import is_doubtful
from longbench_cli.record.schema import MeasuredPoint

if TYPE_CHECKING:
    import plotly.graph_objects as go

PLOT_HEIGHT = 440
OUTSIDE = 144
"""Pixels of the height that labels and legend take."""
INK = "#808893"
GRID = "rgba(128,136,147,0.22)"
SYMBOLS = {"fwd": "circle", "bwd": "square", "fwd+bwd": "diamond", "step": "triangle-up"}


@dataclass(frozen=True, slots=True)
class _Quantity:
    """What is drawn upwards: how to read it from a point, and its axis."""

    title: str
    value: Callable[[MeasuredPoint], float | None]
    axis: Callable[[list[float]], LogAxis]
    interval: Callable[[MeasuredPoint], tuple[float, float] | None] = lambda _point: None
    references: bool = False


def _positive(interval: tuple[float, float] | None) -> tuple[float, float] | None:
    """A logarithmic axis has no zero: a clock too coarse to see a pass says 0."""
    return interval if interval and interval[0] > 0 else None


_RUNTIME = _Quantity(
    title="time of one pass, median",
    value=lambda point: point.latency.median_ns,
    axis=duration_axis,
    interval=lambda point: _positive(point.latency.ci95_ns),
    references=True,
)
_THROUGHPUT = {
    "actual": _Quantity("TFLOP/s, work actually done", actual_tflops, rate_axis),
    "dense": _Quantity("TFLOP/s, dense-equivalent", dense_tflops, rate_axis),
}
_MEMORY = _Quantity("peak memory of the pass", lambda point: point.memory.peak_bytes, bytes_axis)


def runtime_figure(series: Sequence[Series]) -> go.Figure:
    """Median time of a pass, with the band of its 95% interval, and dashed slopes of N and N²."""
    return _figure(series, _RUNTIME)


def throughput_figure(series: Sequence[Series], work: Literal["actual", "dense"]) -> go.Figure:
    """TFLOP/s: of the work done, or as if full attention had done it. The axis says which."""
    return _figure(series, _THROUGHPUT[work])


def memory_figure(series: Sequence[Series]) -> go.Figure:
    """Peak memory of a pass, inputs included."""
    return _figure(series, _MEMORY)


def _figure(series: Sequence[Series], quantity: _Quantity) -> go.Figure:
    import plotly.graph_objects as go

    lengths = [point.case.seq_len for one in series for point in one.curve.points]
    values = [value for one in series for point in one.curve.measured if (value := quantity.value(point))]
    ends = [end for one in series for point in one.curve.measured for end in quantity.interval(point) or ()]
    # A little below the data, so that they are seen beside it.
    start = min(values) / 1.7 if quantity.references and len(set(lengths)) > 1 and values else None
    x_axis = length_axis(lengths or [1024])
    y_axis = quantity.axis(values + ends + ([start] if start else []))
    figure = go.Figure()
    if start:
        _add_references(figure, min(lengths), max(lengths), start, y_axis)
    for index, one in enumerate(series):
        _add_series(figure, one, quantity, index)
    strip = add_strip(figure, series, x_axis)
    _lay_out(figure, quantity.title, x_axis, y_axis, strip)
    if not values:
        figure.add_annotation(
            text="no point has a value here", x=0.5, y=0.4, xref="paper", yref="paper", showarrow=False
        )
    return figure


def _add_series(figure: go.Figure, series: Series, quantity: _Quantity, index: int) -> None:
    label = html.escape(series.label, quote=False)
    belongs = {"legendgroup": f"series-{index}", "meta": index}
    points = series.curve.points
    values = [quantity.value(point) or None if isinstance(point, MeasuredPoint) else None for point in points]
    if not any(values):
        return
    for low, high in _bands(series, quantity):
        figure.add_scatter(
            x=[n for n, _ in low + high[::-1]],
            y=[bound for _, bound in low + high[::-1]],
            fill="toself",
            fillcolor=translucent(series.color),
            mode="lines",
            line={"width": 0},
            hoverinfo="skip",
            showlegend=False,
            **belongs,
        )
    shape = SYMBOLS[series.curve.case.pass_]
    streamed = "-dot" if series.curve.execution == "streamed" else ""
    figure.add_scatter(
        x=[point.case.seq_len for point in points],
        y=values,
        name=label,
        mode="lines+markers",
        marker={"symbol": [f"{shape}{'-open' if is_doubtful(p) else ''}{streamed}" for p in points], "size": 7},
        hovertext=[hover_text(series, point) for point in points],
        hovertemplate="%{hovertext}<extra></extra>",
        connectgaps=False,
        line={"color": series.color, "width": 2.25, "dash": series.dash},
        **belongs,
    )


_Line = list[tuple[int, float]]


def _bands(series: Series, quantity: _Quantity) -> list[tuple[_Line, _Line]]:
    """Lower and upper edges of the interval, one pair for each unbroken stretch of the line."""
    stretches: list[tuple[_Line, _Line]] = [([], [])]
    for point in series.curve.points:
        interval = quantity.interval(point) if isinstance(point, MeasuredPoint) else None
        if interval is None:
            stretches.append(([], []))
            continue
        for edge, bound in zip(stretches[-1], interval, strict=True):
            edge.append((point.case.seq_len, bound))
    return [stretch for stretch in stretches if stretch[0]]


def translucent(color: str) -> str:
    """A colour of the palette, ``#rrggbb``, as that of a band."""
    red, green, blue = (int(color[at : at + 2], 16) for at in (1, 3, 5))
    return f"rgba({red},{green},{blue},0.22)"


def _add_references(figure: go.Figure, first: int, last: int, start: float, y_axis: LogAxis) -> None:
    """Slopes of N and N² through the lower left corner, ended where they leave the plot."""
    for power, name in ((1, "slope N"), (2, "slope N²")):
        end = min(float(last), first * (y_axis.high / start) ** (1 / power))
        figure.add_scatter(
            x=[first, end],
            y=[start, start * (end / first) ** power],
            name=name,
            mode="lines+text",
            text=["", name],
            textposition="bottom center" if end == last else "middle right",
            textfont={"size": 11},
            cliponaxis=False,
            line={"color": INK, "width": 1.25, "dash": "8px,5px" if power == 1 else "2px,4px"},
            hoverinfo="skip",
            showlegend=False,
        )


def _lay_out(figure: go.Figure, title: str, x_axis: LogAxis, y_axis: LogAxis, strip: Strip) -> None:
    height = PLOT_HEIGHT + strip.height
    strip_share = strip.height / (height - OUTSIDE)
    figure.update_layout(page_layout(height, "sequence length N, tokens", x_axis, title, y_axis))
    figure.update_layout(yaxis={"domain": [0, 1 - strip_share]})
    if strip.height:
        figure.update_layout({STRIP_AXIS: {**strip.axis, "domain": [1 - strip_share, 1]}})


def page_layout(height: int, x_title: str, x_axis: LogAxis, y_title: str, y_axis: LogAxis) -> dict[str, Any]:
    """How a log-log figure of ``height`` pixels stands on a page, light or dark; the page has its legend."""
    line = {"gridcolor": GRID, "linecolor": INK, "zeroline": False, "ticks": "outside", "tickcolor": GRID}
    return {
        "template": "none",
        "height": height,
        "paper_bgcolor": "rgba(0,0,0,0)",
        "plot_bgcolor": "rgba(0,0,0,0)",
        "font": {"family": "system-ui, sans-serif", "size": 13, "color": INK},
        "margin": {"l": 76, "r": 16, "t": 36, "b": 48},
        "hovermode": "closest",
        "modebar": {"bgcolor": "rgba(0,0,0,0)", "color": INK, "activecolor": "#2f7fd6"},
        "hoverlabel": {"align": "left", "font": {"size": 12}},
        "legend": {"orientation": "h", "x": 0, "xanchor": "left", "y": -0.16, "yanchor": "top", "itemwidth": 40},
        "xaxis": {
            "type": "log", "range": x_axis.range, "tickvals": x_axis.ticks, "ticktext": x_axis.texts,
            "title": {"text": x_title, "standoff": 8, "font": {"size": 13}}, **line,
        },
        "yaxis": {
            "type": "log", "range": y_axis.range, "tickvals": y_axis.ticks, "ticktext": y_axis.texts,
            "title": {"text": y_title, "standoff": 6, "font": {"size": 13}}, "automargin": True, **line,
        },
    }  # fmt: skip
