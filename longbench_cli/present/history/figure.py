"""One series over its runs, drawn with plotly (imported when it is drawn).

Runs stand at equal distances, the oldest on the left, since a step belongs to a run and not to a day. The
axis of times does not begin at 0, but a series that moves by less than a tenth looks flat, as it is.
"""

from __future__ import annotations

import html
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from longbench_cli.analyse.history import Change, Observation, Series
from longbench_cli.present.axes import LogAxis
from longbench_cli.present.comparison.words import change as percent_change
from longbench_cli.present.figures import page_layout
from longbench_cli.present.history.view import change_words, run_words
from longbench_cli.present.series import PALETTE
from longbench_cli.present.units import count, duration_unit, format_duration, format_interval
from longbench_cli.record.schema import MeasuredPoint

if TYPE_CHECKING:
    import plotly.graph_objects as go

HEIGHT = 310
TIMES, SLOWER, FASTER, FAILED = PALETTE[0], PALETTE[6], PALETTE[2], PALETTE[1]
_LEAST_SPAN = 0.1
_ROOM = 0.12
_MOST_TICKS = 4
"""Of dates: as many as stand beside each other on a narrow screen."""
_MARGIN = {"l": 76, "r": 44, "t": 36, "b": 66}
"""Pixels: half a date to the right of the last run, two lines and a title under the axis."""


@dataclass(frozen=True, slots=True)
class _Scale:
    """Nanoseconds in the ``unit`` of the axis, and where the axis begins and ends, in it."""

    nanoseconds: float
    unit: str
    low: float
    high: float


def history_figure(series: Series) -> go.Figure:
    """Times of a series, its levels, a line at each change, and a cross at the foot for a run that failed."""
    import plotly.graph_objects as go

    figure = go.Figure()
    scale = _scale(series)
    places = {run.run.header.run_id: place for place, run in enumerate(series.runs, 1)}
    _lay_out(figure, series.runs, scale)
    _add_levels(figure, series, places, scale)
    _add_times(figure, series.runs, scale)
    _add_failures(figure, series.runs, scale)
    for change in series.changes:
        place = places[change.first.run.header.run_id] - 0.5
        _add_change(figure, change, place, scale, early=place <= len(series.runs) / 2)
    return figure


def _scale(series: Series) -> _Scale:
    values = [run.median_ns for run in series.runs if run.median_ns is not None]
    low, high = (min(values), max(values)) if values else (1.0, 2.0)
    nanoseconds, unit = duration_unit(high)
    middle = (low + high) / 2
    half = max(high - low, _LEAST_SPAN * middle) / 2 * (1 + 2 * _ROOM)
    return _Scale(nanoseconds, unit, (middle - half) / nanoseconds, (middle + half) / nanoseconds)


def _lay_out(figure: go.Figure, runs: Sequence[Observation], scale: _Scale) -> None:
    step = math.ceil(len(runs) / _MOST_TICKS)
    ticks = [float(place) for place in range(len(runs), 0, -step)][::-1]
    title, form = _times_axis(runs)
    texts = [runs[int(place) - 1].when.strftime(form) for place in ticks]
    axes = (LogAxis(0.5, len(runs) + 0.5, ticks, texts), LogAxis(scale.low, scale.high, [], []))
    figure.update_layout(page_layout(HEIGHT, title, axes[0], f"time of one pass, {scale.unit}", axes[1]))
    figure.update_layout(
        margin=_MARGIN,
        xaxis={"type": "linear", "range": [axes[0].low, axes[0].high], "tickangle": 0, "tickfont": {"size": 11}},
        yaxis={"type": "linear", "range": [scale.low, scale.high], "tickvals": None, "ticktext": None},
    )


def _times_axis(runs: Sequence[Observation]) -> tuple[str, str]:
    """Title and form of the ticks: the day is in the title if all share it, hours are shown if any do."""
    days = {run.when.date() for run in runs}
    if len(days) == len(runs):
        return "day of the run, UTC", "%Y-%m-%d"
    if len(days) == 1:
        return f"time of the run on {runs[0].when:%Y-%m-%d}, UTC", "%H:%M"
    return "time of the run, UTC", "%Y-%m-%d<br>%H:%M"


def _add_levels(figure: go.Figure, series: Series, places: dict[str, int], scale: _Scale) -> None:
    for level in series.levels:
        shown = [places[run.run.header.run_id] for run in level.runs if run.run.header.run_id in places]
        if shown and len(series.levels) > 1:
            figure.add_scatter(
                x=[min(shown) - 0.5, max(shown) + 0.5],
                y=[level.median_ns / scale.nanoseconds] * 2,
                mode="lines",
                line={"color": TIMES, "width": 6},
                opacity=0.3,
                hoverinfo="skip",
            )


def _add_times(figure: go.Figure, runs: Sequence[Observation], scale: _Scale) -> None:
    figure.add_scatter(
        x=list(range(1, len(runs) + 1)),
        y=[None if run.median_ns is None else run.median_ns / scale.nanoseconds for run in runs],
        mode="lines+markers",
        connectgaps=False,
        line={"color": TIMES, "width": 1},
        marker={"size": 7},
        hovertext=[_hover(run) for run in runs],
        hovertemplate="%{hovertext}<extra></extra>",
    )


def _add_failures(figure: go.Figure, runs: Sequence[Observation], scale: _Scale) -> None:
    failed = [(place, run) for place, run in enumerate(runs, 1) if run.median_ns is None]
    if failed:
        figure.add_scatter(
            x=[place for place, _ in failed],
            y=[scale.low + (scale.high - scale.low) * 0.04] * len(failed),
            mode="markers",
            marker={"symbol": "x", "size": 9, "color": FAILED},
            hovertext=[_hover(run) for _, run in failed],
            hovertemplate="%{hovertext}<extra></extra>",
        )


def _add_change(figure: go.Figure, change: Change, place: float, scale: _Scale, *, early: bool) -> None:
    """A line that says how much, beside its upper end, which is marked so that there is something to point at."""
    color = SLOWER if change.ratio > 1 else FASTER
    top: dict[str, Any] = {"x": [place, place], "y": [scale.low, scale.high - (scale.high - scale.low) * 0.06]}
    figure.add_scatter(
        **top,
        mode="lines+markers+text",
        line={"color": color, "width": 2, "dash": "dash"},
        marker={"color": color, "size": [0, 8], "symbol": "triangle-up" if change.ratio > 1 else "triangle-down"},
        text=["", percent_change(change.ratio)],
        textposition="middle right" if early else "middle left",
        textfont={"color": color, "size": 12},
        hovertext=["", html.escape(change_words(change), quote=False)],
        hovertemplate="%{hovertext}<extra></extra>",
    )


def _hover(run: Observation) -> str:
    """Lines joined by ``<br>``; everything that came from a file is escaped."""
    point = run.point
    lines = [run_words(run), f"run {run.run.header.run_id}", f"back end {point.case.backend}"]
    if isinstance(point, MeasuredPoint):
        latency = point.latency
        ends = f" (95%: {format_interval(*latency.ci95_ns, latency.median_ns)})" if latency.ci95_ns else ""
        lines.append(f"median {format_duration(latency.median_ns)}{ends}, {count(latency.sessions, 'session')}")
        lines += [point.verdict.kind, *point.verdict.reasons] if point.verdict else []
    else:
        lines.append(f"{point.status}: {point.reason}")
    first, *rest = (html.escape(line, quote=False) for line in lines)
    return "<br>".join((f"<b>{first}</b>", *rest))
