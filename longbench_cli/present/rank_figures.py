"""Figures over ranks, with plotly (imported when a figure is drawn): time, efficiency, and where the time goes.

Looks and markers are those of the figures over the sequence length: a colour a variant, a dash a pass, an open
marker where a point is not trusted. Lines of one variant, one a problem, share its place in the legend.
"""

from __future__ import annotations

import html
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from longbench_cli.analyse.parallel_scaling import OnRanks
from longbench_cli.measure.judge import percent
from longbench_cli.measure.types import Communication
from longbench_cli.present.axes import LogAxis, duration_axis, ranks_axis
from longbench_cli.present.figures import GRID, INK, PLOT_HEIGHT, SYMBOLS, page_layout
from longbench_cli.present.rank_series import Exchange, RankSeries, format_speedup
from longbench_cli.present.trust import is_doubtful, precision_words
from longbench_cli.present.units import count, format_bytes, format_duration

if TYPE_CHECKING:
    import plotly.graph_objects as go

MOST_BARS = 40
"""Points whose breakdown is drawn: those of the longest time; the table has all."""

_BAR_HEIGHT, _AROUND_BARS = 26, 120
_COMPUTE, _EXPOSED = "#2f7fd6", "#dc6a0b"
_LONGEST_NAME = 70
_END_ROOM = 0.2
"""Share of the width that the names at the ends of lines have."""


def time_figure(series: Sequence[RankSeries], places: Sequence[int]) -> go.Figure:
    """Median time against ranks, log-log; dotted from the smallest count of each line is its ideal.

    ``places`` are the series' places in the page's legend.
    """
    import plotly.graph_objects as go

    figure = go.Figure()
    values = []
    for one, place in zip(series, places, strict=True):
        ideal = _ideal_times(one)
        values += [*ideal, *(at.point.latency.median_ns for at in one.curve.points)]
        _add_ideal(figure, one, place, ideal)
        _add_line(figure, one, place, lambda at: at.point.latency.median_ns, end=f" {one.problem}")
    layout = page_layout(PLOT_HEIGHT, "ranks P", _ranks_axis(series), "time of one pass, median", duration_axis(values))
    figure.update_layout(layout)
    return figure


def efficiency_figure(series: Sequence[RankSeries], places: Sequence[int]) -> go.Figure:
    """Efficiency against ranks; the dashed line is the ideal, 1."""
    import plotly.graph_objects as go

    figure = go.Figure()
    axis = _ranks_axis(series)
    for one, place in zip(series, places, strict=True):
        _add_line(figure, one, place, lambda at: at.efficiency)
    highest = max((at.efficiency for one in series for at in one.curve.points), default=1.0)
    figure.update_layout(page_layout(PLOT_HEIGHT, "ranks P", axis, "efficiency", axis))
    figure.update_layout(
        yaxis={
            "type": "linear",
            "range": [0, 1.08 * max(1.0, highest)],
            "tickvals": None,
            "ticktext": None,
            "tickformat": ".0%",
        }
    )
    figure.add_hline(y=1, line={"color": INK, "width": 1.25, "dash": "8px,5px"})
    return figure


def breakdown_figure(exchanges: Sequence[Exchange]) -> go.Figure:
    """A bar a point: the share of its time that is compute, and that is exposed communication.

    A diamond marks how long the communication alone takes: what of it lies inside the compute is hidden.
    """
    import plotly.graph_objects as go

    shown = longest(exchanges)[::-1]  # plotly begins at the bottom
    wholes = [told.compute_ns + told.exposed_ns for _, told in shown]
    figure = go.Figure()

    def shares(value: Callable[[Communication], float]) -> list[float | None]:
        return [value(told) / whole if whole > 0 else None for (_, told), whole in zip(shown, wholes, strict=True)]

    places = list(range(len(shown)))
    hover = {
        "hovertext": [_bar_hover(one, told) for one, told in shown],
        "hovertemplate": "%{hovertext}<extra></extra>",
    }
    bars = {"orientation": "h", "width": 0.62, **hover}
    figure.add_bar(y=places, x=shares(lambda told: told.compute_ns), name="compute", marker_color=_COMPUTE, **bars)
    figure.add_bar(y=places, x=shares(lambda told: told.exposed_ns), name="exposed", marker_color=_EXPOSED, **bars)
    figure.add_scatter(
        y=places,
        x=shares(lambda told: told.communication_ns),
        name="communication alone",
        mode="markers",
        marker={"symbol": "diamond", "size": 9, "color": INK, "line": {"width": 1, "color": "#ffffff"}},
        **hover,
    )
    figure.update_layout(_bars_layout([_bar_name(one) for one, _ in shown]))
    return figure


def longest(exchanges: Sequence[Exchange]) -> list[tuple[Exchange, Communication]]:
    """The points of the breakdown, in their order: of more than :data:`MOST_BARS` those of the longest time."""
    known = [(one, one.told) for one in exchanges if one.told is not None]
    kept = sorted(range(len(known)), key=lambda index: -known[index][1].full_ns)[:MOST_BARS]
    return [known[index] for index in sorted(kept)]


def _bars_layout(names: Sequence[str]) -> dict[str, Any]:
    nothing = LogAxis(1, 10, [], [])
    layout = page_layout(_AROUND_BARS + _BAR_HEIGHT * len(names), "", nothing, "", nothing)
    layout["xaxis"] = {
        "type": "linear", "rangemode": "tozero", "tickformat": ".0%", "gridcolor": GRID, "zeroline": False,
        "title": {"text": "share of the pass's time", "standoff": 8, "font": {"size": 13}},
    }  # fmt: skip
    layout["yaxis"] = {
        "type": "linear", "tickvals": list(range(len(names))), "ticktext": list(names), "automargin": True,
        "range": [-0.6, len(names) - 0.4], "showgrid": False, "zeroline": False, "fixedrange": True,
    }  # fmt: skip
    return layout | {"barmode": "stack"}


def _bar_name(one: Exchange) -> str:
    return html.escape(_shorten(one.name), quote=False)


def _bar_hover(one: Exchange, told: Communication) -> str:
    lines = [
        one.name,
        f"full {format_duration(told.full_ns)}, compute alone {format_duration(told.compute_ns)}",
        f"communication alone {format_duration(told.communication_ns)}, exposed {format_duration(told.exposed_ns)}",
        "" if told.overlap is None else f"{percent(told.overlap)} hidden",
        f"{format_bytes(told.received_bytes_most)} received by a rank at most",
    ]
    return _as_hover(lines)


def _ideal_times(series: RankSeries) -> list[float]:
    least, most = series.curve.points[0], series.curve.widest
    start = least.point.latency.median_ns
    return [start, start * (least.ranks / most.ranks if series.curve.way == "strong" else 1.0)]


def _add_ideal(figure: go.Figure, series: RankSeries, place: int, times: Sequence[float]) -> None:
    figure.add_scatter(
        x=[series.curve.points[0].ranks, series.curve.widest.ranks],
        y=list(times),
        mode="lines",
        line={"color": series.color, "width": 1, "dash": "2px,4px"},
        hoverinfo="skip",
        showlegend=False,
        meta=place,
    )


def _add_line(
    figure: go.Figure, series: RankSeries, place: int, value: Callable[[OnRanks], float], end: str = ""
) -> None:
    points = series.curve.points
    shape = SYMBOLS[series.curve.case.pass_]
    figure.add_scatter(
        x=[at.ranks for at in points],
        y=[value(at) for at in points],
        name=html.escape(f"{series.label}, {series.problem}", quote=False),
        mode="lines+markers+text",
        text=["" for _ in points[1:]] + [html.escape(end, quote=False)],
        textposition="middle right",
        textfont={"size": 11},
        cliponaxis=False,
        marker={"symbol": [f"{shape}{'-open' if is_doubtful(at.point) else ''}" for at in points], "size": 7},
        line={"color": series.color, "width": 2.25, "dash": series.dash},
        hovertext=[_hover(series, at) for at in points],
        hovertemplate="%{hovertext}<extra></extra>",
        meta=place,
    )


def _hover(series: RankSeries, at: OnRanks) -> str:
    latency = at.point.latency
    work = "" if at.work_efficiency is None else f", of the work {percent(at.work_efficiency)}"
    lines = [
        f"{series.label}, {series.problem}, {count(at.ranks, 'rank')}",
        f"median {format_duration(latency.median_ns)} {precision_words(latency)}",
        "" if at.speedup is None else f"speed-up {format_speedup(at.speedup)}",
        f"efficiency {percent(at.efficiency)}{work}",
    ]
    if at.point.verdict is not None:
        lines += [at.point.verdict.kind, *at.point.verdict.reasons]
    return _as_hover(lines)


def _as_hover(lines: Sequence[str]) -> str:
    first, *rest = (html.escape(_shorten(line), quote=False) for line in lines if line)
    return "<br>".join((f"<b>{first}</b>", *rest))


def _shorten(line: str) -> str:
    flat = " ".join(line.split())
    return flat if len(flat) <= _LONGEST_NAME else f"{flat[: _LONGEST_NAME - 1]}…"


def _ranks_axis(series: Sequence[RankSeries]) -> LogAxis:
    axis = ranks_axis([at.ranks for one in series for at in one.curve.points] or [1, 2])
    return replace(axis, high=axis.high * (axis.high / axis.low) ** _END_ROOM)
