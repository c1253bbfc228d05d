"""The processes behind one verdict, drawn with plotly (imported when a figure is drawn).

Of pairs: above, the median of each process, base and candidate of a pair joined; below, the change of each pair, with
the threshold, the estimate and its interval. Pairs that confirm have open marks on a shaded ground. Of stored runs, or
where the processes of both sides do not pair off: the medians of both sides beside each other.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from statistics import median
from typing import TYPE_CHECKING, Any

from longbench_cli.analyse.comparison.types import PointVerdict
from longbench_cli.present.axes import LogAxis
from longbench_cli.present.comparison.words import change, share
from longbench_cli.present.drawn import Drawn, LegendEntry
from longbench_cli.present.figures import GRID, INK, page_layout, translucent
from longbench_cli.present.series import PALETTE
from longbench_cli.present.units import duration_unit, format_duration

if TYPE_CHECKING:
    import plotly.graph_objects as go

BASE = LegendEntry(0, "base", PALETTE[0], "solid")
CANDIDATE = LegendEntry(1, "candidate", PALETTE[1], "solid")

_HEIGHT = 430
_ABOVE, _BELOW = (0.42, 1.0), (0.0, 0.32)
_SYMBOLS = {BASE.series: "circle", CANDIDATE.series: "diamond"}
_SPREAD = 0.5
"""Width that the sessions of a side take, where the sides are 1 apart."""


def can_draw(point: PointVerdict) -> bool:
    """Whether both sides have times to draw."""
    return bool(point.base.medians_ns and point.candidate.medians_ns)


def point_figure(point: PointVerdict) -> Drawn:
    """The processes of both sides of a point; the legend is the same of every point."""
    import plotly.graph_objects as go

    paired = point.mode == "paired" and len(point.base.medians_ns) == len(point.candidate.medians_ns)
    figure = go.Figure()
    scale, unit = duration_unit(median(point.base.medians_ns))
    empty = LogAxis(1, 10, [], [])
    layout = page_layout(_HEIGHT, "", empty, "", empty)
    layout["yaxis"] = _axis(f"median of a process, {unit}")
    if paired:
        _add_pairs(figure, point, scale)
        layout["xaxis"] = _axis("pair") | {
            "range": [0.4, len(point.base.medians_ns) + 0.6],
            "tickformat": "d",
            "dtick": 1,
        }
        changes = [100 * math.expm1(d) for d in (*point.values, *point.confirmation)]
        if changes:
            _add_changes(figure, point, changes)
            layout["xaxis"]["anchor"] = "y2"
            layout["yaxis"]["domain"] = _ABOVE
            layout["yaxis2"] = _axis("change, %") | {"domain": _BELOW, "range": _range(point, changes)}
        layout["shapes"] = list(_shapes(point, below=bool(changes)))
        layout["annotations"] = list(_annotations(point, below=bool(changes)))
    else:
        _add_sessions(figure, point, scale)
        layout["xaxis"] = _axis("") | {"range": [-0.5, 1.5], "tickvals": [0, 1], "ticktext": ["base", "candidate"]}
    figure.update_layout(layout)
    return Drawn(figure, (BASE, CANDIDATE))


def _axis(title: str) -> dict[str, Any]:
    return {
        "type": "linear", "gridcolor": GRID, "linecolor": INK, "zeroline": False, "ticks": "outside",
        "tickcolor": GRID, "automargin": True, "title": {"text": title, "standoff": 8, "font": {"size": 13}},
    }  # fmt: skip


def _sides(point: PointVerdict) -> list[tuple[LegendEntry, Sequence[float]]]:
    return [(BASE, point.base.medians_ns), (CANDIDATE, point.candidate.medians_ns)]


def _add_pairs(figure: go.Figure, point: PointVerdict, scale: float) -> None:
    pairs = list(zip(point.base.medians_ns, point.candidate.medians_ns, strict=True))
    figure.add_scatter(
        x=[place for index in range(len(pairs)) for place in (index + 1, index + 1, None)],
        y=[end for pair in pairs for end in (pair[0] / scale, pair[1] / scale, None)],
        mode="lines",
        line={"color": INK, "width": 1.5},
        hoverinfo="skip",
    )
    for entry, medians in _sides(point):
        _add_marks(figure, entry, range(1, len(medians) + 1), medians, scale, _confirms(point))


def _add_sessions(figure: go.Figure, point: PointVerdict, scale: float) -> None:
    for centre, (entry, medians) in enumerate(_sides(point)):
        step = _SPREAD / max(1, len(medians) - 1)
        places = [centre + step * (index - (len(medians) - 1) / 2) for index in range(len(medians))]
        figure.add_scatter(
            x=[centre - _SPREAD / 1.7, centre + _SPREAD / 1.7],
            y=[median(medians) / scale] * 2,
            mode="lines",
            line={"color": entry.color, "width": 2},
            hoverinfo="skip",
            meta=entry.series,
        )
        _add_marks(figure, entry, places, medians, scale, range(0))


def _add_marks(
    figure: go.Figure,
    entry: LegendEntry,
    places: Sequence[float],
    medians: Sequence[float],
    scale: float,
    confirms: range,
) -> None:
    symbol = _SYMBOLS[entry.series]
    figure.add_scatter(
        x=list(places),
        y=[value / scale for value in medians],
        name=entry.label,
        mode="markers",
        marker={
            "size": 9,
            "color": entry.color,
            "symbol": [f"{symbol}-open" if index in confirms else symbol for index in range(len(medians))],
            "line": {"width": [2 if index in confirms else 0 for index in range(len(medians))]},
        },
        hovertext=[f"{entry.label} {index}: {format_duration(value)}" for index, value in enumerate(medians, 1)],
        hovertemplate="%{hovertext}<extra></extra>",
        meta=entry.series,
    )


def _add_changes(figure: go.Figure, point: PointVerdict, changes: Sequence[float]) -> None:
    confirms = _confirms(point)
    figure.add_scatter(
        x=list(range(1, len(changes) + 1)),
        y=list(changes),
        yaxis="y2",
        mode="markers",
        marker={
            "size": 8,
            "color": INK,
            "symbol": ["circle-open" if index in confirms else "circle" for index in range(len(changes))],
            "line": {"width": [2 if index in confirms else 0 for index in range(len(changes))]},
        },
        hovertext=[f"pair {index}: {change(1 + value / 100)}" for index, value in enumerate(changes, 1)],
        hovertemplate="%{hovertext}<extra></extra>",
    )


def _confirms(point: PointVerdict) -> range:
    """Places of the pairs that confirm."""
    return range(len(point.values), len(point.values) + len(point.confirmation))


def _levels(point: PointVerdict) -> list[float]:
    """What is drawn across the changes, in percent: nothing, the threshold, the interval where it has ends."""
    ends = [end - 1 for end in point.effect.interval] if point.effect else []
    more = [point.threshold.share] if point.threshold else []
    return [100 * value for value in (0.0, *more, *ends) if math.isfinite(value)]


def _range(point: PointVerdict, changes: Sequence[float]) -> list[float]:
    values = [*changes, *_levels(point)]
    room = 0.12 * (max(values) - min(values) or 1.0)
    return [min(values) - room, max(values) + room]


def _shapes(point: PointVerdict, *, below: bool) -> Iterator[dict[str, Any]]:
    confirms = _confirms(point)
    if confirms:
        ends = {"x0": confirms.start + 0.5, "x1": confirms.stop + 0.5}
        yield {"type": "rect", "yref": "paper", "y0": 0, "y1": 1, **ends} | _ground("rgba(128,136,147,0.13)")
    if not below:
        return
    across = {"xref": "paper", "x0": 0, "x1": 1, "yref": "y2"}
    if point.effect and all(map(math.isfinite, point.effect.interval)):
        low, high = (100 * (end - 1) for end in point.effect.interval)
        estimate = 100 * (point.effect.ratio - 1)
        yield {"type": "rect", **across, "y0": low, "y1": high} | _ground(translucent(CANDIDATE.color))
        yield {"type": "line", **across, "y0": estimate, "y1": estimate, "line": {"color": CANDIDATE.color, "width": 2}}
    yield {"type": "line", **across, "y0": 0, "y1": 0, "line": {"color": INK, "width": 1}}
    if point.threshold:
        limit = 100 * point.threshold.share
        dashed = {"color": INK, "width": 1.5, "dash": "6px,4px"}
        yield {"type": "line", **across, "y0": limit, "y1": limit, "line": dashed}


def _ground(color: str) -> dict[str, Any]:
    return {"fillcolor": color, "line": {"width": 0}, "layer": "below"}


def _annotations(point: PointVerdict, *, below: bool) -> Iterator[dict[str, Any]]:
    small = {"showarrow": False, "font": {"size": 11}}
    if confirms := _confirms(point):
        x = (confirms.start + confirms.stop + 1) / 2
        yield {"text": "confirmation", "x": x, "yref": "paper", "y": 1, "yanchor": "bottom", **small}
    if below and point.threshold:
        place = {"xref": "paper", "x": 1, "xanchor": "right", "yref": "y2", "y": 100 * point.threshold.share}
        yield {"text": f"threshold {share(point.threshold.share)}", **place, "yanchor": "bottom", **small}
