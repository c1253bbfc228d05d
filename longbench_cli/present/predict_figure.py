"""Predictions drawn against the sequence length: what was measured solid, what was not dashed, with its interval.

Both axes are logarithmic, a colour a number of ranks. A predicted point has an open marker, and says so when it
is pointed at.
"""

from __future__ import annotations

import html
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from longbench_cli.analyse.prediction.forecast import Forecast
from longbench_cli.present.axes import duration_axis, length_axis
from longbench_cli.present.drawn import Drawn, LegendEntry
from longbench_cli.present.figures import PLOT_HEIGHT, page_layout, translucent
from longbench_cli.present.predict_view import ROOFLINE, Section, varied_within
from longbench_cli.present.series import PALETTE, format_varied, varied_options
from longbench_cli.present.units import format_duration
from longbench_cli.record.schema import MeasuredPoint
from longbench_cli.sweep.axes import format_length
from longbench_cli.sweep.case import Case

if TYPE_CHECKING:
    import plotly.graph_objects as go


_SAID = frozenset({"pass", "batch", "heads", "options"})
"""What the name of a line has in any case, and options, of which it has those that vary."""


def predict_figure(section: Section, first_series: int) -> Drawn:
    """Time against N; its series are numbered from ``first_series``."""
    import plotly.graph_objects as go

    figure = go.Figure()
    measured = section.family.points if section.family else ()
    shown = [one for one in section.forecasts if one.seconds is not None]
    cases = _cases(measured, shown)
    line_of = _lines(cases)
    lines = list(dict.fromkeys(line_of.values()))
    legend = []
    for index, line in enumerate(lines):
        entry = LegendEntry(first_series + index, " ".join(line), PALETTE[index % len(PALETTE)], "dash")
        legend.append(entry)
        _add_measured(figure, entry, [point for point in measured if line_of[point.case.key] == line])
        _add_predicted(figure, entry, [one for one in shown if line_of[one.case.key] == line])
    lengths = [case.seq_len for case in cases]
    times = [point.latency.median_ns for point in measured]
    times += [end * 1e9 for one in shown if one.seconds for end in (one.seconds.low, one.seconds.high)]
    layout = page_layout(
        PLOT_HEIGHT,
        "sequence length N, tokens",
        length_axis(lengths or [1024]),
        "time of one pass; dashed: predicted",
        duration_axis(times),
    )
    figure.update_layout(layout)
    return Drawn(figure, tuple(legend))


def _cases(measured: Iterable[MeasuredPoint], forecasts: Iterable[Forecast]) -> list[Case]:
    return [*(point.case for point in measured), *(one.case for one in forecasts)]


def _lines(cases: Sequence[Case]) -> dict[str, tuple[str, ...]]:
    """By key, the words of the line that a case lies on: what tells it from others but its length."""
    more = {name: show for name, show in varied_within(cases).items() if name not in _SAID}
    varied = {impl: names - {"parallel"} for impl, names in varied_options(cases).items()}
    found = {}
    for case in cases:
        words = (*_words(case), *(f"{name} {show(case)}" for name, show in more.items()), format_varied(case, varied))
        found[case.key] = tuple(filter(None, words))
    return found


def _words(case: Case) -> tuple[str, ...]:
    """What is said of every line."""
    words = [case.impl, case.pass_, f"{case.world_size} {'rank' if case.world_size == 1 else 'ranks'}"]
    words += [str(case.options["parallel"])] if case.options.get("parallel") else []
    words += [f"batch {format_length(case.batch)}"] if case.batch > 1 else []
    return (*words, f"{case.heads} {'head' if case.heads == 1 else 'heads'}")


def _add_measured(figure: go.Figure, entry: LegendEntry, points: Sequence[MeasuredPoint]) -> None:
    ordered = sorted(points, key=lambda point: point.case.seq_len)
    _add(
        figure,
        entry,
        [(point.case.seq_len, point.latency.median_ns) for point in ordered],
        [f"measured: {format_duration(point.latency.median_ns)}" for point in ordered],
        {"line": {"color": entry.color, "width": 2.25}, "marker": {"size": 6, "symbol": "circle"}},
    )


def _add_predicted(figure: go.Figure, entry: LegendEntry, forecasts: Sequence[Forecast]) -> None:
    ordered = sorted(forecasts, key=lambda one: one.case.seq_len)
    edges = [(one.case.seq_len, one.seconds) for one in ordered if one.seconds and one.basis == "predicted"]
    if edges:
        figure.add_scatter(
            x=[n for n, _ in edges] + [n for n, _ in edges[::-1]],
            y=[found.low * 1e9 for _, found in edges] + [found.high * 1e9 for _, found in edges[::-1]],
            fill="toself",
            fillcolor=translucent(entry.color),
            mode="lines",
            line={"width": 0},
            hoverinfo="skip",
            meta=entry.series,
        )
    _add(
        figure,
        entry,
        [(one.case.seq_len, one.seconds.value * 1e9) for one in ordered if one.seconds],
        [_said(one) for one in ordered if one.seconds],
        {"line": {"color": entry.color, "width": 2, "dash": "dash"}, "marker": {"size": 8, "symbol": "circle-open"}},
    )


def _add(
    figure: go.Figure,
    entry: LegendEntry,
    values: Sequence[tuple[int, float]],
    said: Sequence[str],
    look: dict[str, Any],
) -> None:
    if not values:
        return
    figure.add_scatter(
        x=[n for n, _ in values],
        y=[time for _, time in values],
        mode="lines+markers",
        name=html.escape(entry.label, quote=False),
        hovertext=[html.escape(text, quote=False) for text in said],
        hovertemplate="%{hovertext}<extra></extra>",
        meta=entry.series,
        **look,
    )


def _said(one: Forecast) -> str:
    if one.seconds is None:
        return ""
    time = format_duration(one.seconds.value * 1e9)
    if one.basis == "roofline":
        return f"{ROOFLINE}: {time}"
    ends = f"{format_duration(one.seconds.low * 1e9)} to {format_duration(one.seconds.high * 1e9)}"
    return "; ".join((f"predicted: {time} (90%: {ends})", *one.notes))
