"""The processes behind one verdict, drawn with plotly (imported when a figure is drawn).

Of pairs: above, the median of each process, base and candidate of a pair joined; below, the change of each pair. Pairs
that were run to confirm have open marks on a shaded ground. Of stored runs, or where the processes of both sides do not
pair off: the medians of both sides beside each other.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from statistics import median
from typing import TYPE_CHECKING, Any

from longbench_cli.analyse.comparison.types import PointVerdict
from longbench_cli.present.axes import LogAxis
from longbench_cli.present.comparison.change_plot import add_changes, change_range, change_shapes, threshold_label
from longbench_cli.present.comparison.pairs import changes_of, confirmations_of
from longbench_cli.present.drawn import Drawn, LegendEntry
from longbench_cli.present.figures import GRID, INK, page_layout
from longbench_cli.present.series import PALETTE
from longbench_cli.present.units import duration_unit, format_duration

if TYPE_CHECKING:
    import plotly.graph_objects as go

BASE = LegendEntry(0, "base", PALETTE[0], "solid", "circle")
CANDIDATE = LegendEntry(1, "candidate", PALETTE[1], "solid", "diamond")

_HEIGHT = 430
_ABOVE, _BELOW = (0.42, 1.0), (0.0, 0.32)
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
        confirmations = confirmations_of(point)
        fresh = {place for places in confirmations for place in places}
        _add_pairs(figure, point, scale, fresh)
        layout["xaxis"] = _axis("pair") | {
            "range": [0.4, len(point.base.medians_ns) + 0.6],
            "tickformat": "d",
            "dtick": 1,
        }
        shapes, annotations = list(_grounds(confirmations)), list(_titles(confirmations))
        if changes_of(point):
            add_changes(figure, point, fresh)
            layout["xaxis"]["anchor"] = "y2"
            layout["yaxis"]["domain"] = _ABOVE
            layout["yaxis2"] = _axis("change, %") | {"domain": _BELOW, "range": change_range(point)}
            shapes += change_shapes(point, CANDIDATE.color)
            annotations += filter(None, [threshold_label(point, _BELOW[1])])
        layout["shapes"], layout["annotations"] = shapes, annotations
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


def _add_pairs(figure: go.Figure, point: PointVerdict, scale: float, fresh: Collection[int]) -> None:
    pairs = list(zip(point.base.medians_ns, point.candidate.medians_ns, strict=True))
    figure.add_scatter(
        x=[place for index in range(len(pairs)) for place in (index + 1, index + 1, None)],
        y=[end for pair in pairs for end in (pair[0] / scale, pair[1] / scale, None)],
        mode="lines",
        line={"color": INK, "width": 1.5},
        hoverinfo="skip",
    )
    for entry, medians in _sides(point):
        _add_marks(figure, entry, range(1, len(medians) + 1), medians, scale, fresh)


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
        _add_marks(figure, entry, places, medians, scale, ())


def _add_marks(
    figure: go.Figure,
    entry: LegendEntry,
    places: Sequence[float],
    medians: Sequence[float],
    scale: float,
    fresh: Collection[int],
) -> None:
    figure.add_scatter(
        x=list(places),
        y=[value / scale for value in medians],
        name=entry.label,
        mode="markers",
        marker={
            "size": 9,
            "color": entry.color,
            "symbol": [f"{entry.symbol}{'-open' if index in fresh else ''}" for index in range(len(medians))],
            "line": {"width": [2 if index in fresh else 0 for index in range(len(medians))]},
        },
        hovertext=[f"{entry.label} {index}: {format_duration(value)}" for index, value in enumerate(medians, 1)],
        hovertemplate="%{hovertext}<extra></extra>",
        meta=entry.series,
    )


def _grounds(confirmations: Sequence[range]) -> Iterator[dict[str, Any]]:
    for places in confirmations:
        ends = {"x0": places.start + 0.5, "x1": places.stop + 0.5, "yref": "paper", "y0": 0, "y1": 1}
        ground = {"fillcolor": "rgba(128,136,147,0.13)", "line": {"width": 0}, "layer": "below"}
        yield {"type": "rect", **ends, **ground}


def _titles(confirmations: Sequence[range]) -> Iterator[dict[str, Any]]:
    for places in confirmations:
        at = {"x": (places.start + places.stop + 1) / 2, "yref": "paper", "y": 1, "yanchor": "bottom"}
        yield {"text": "confirmation", "showarrow": False, "font": {"size": 11}, **at}
