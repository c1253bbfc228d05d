"""The lower plot of a point: the change of each pair, in percent, with the threshold, the estimate and its interval.

Its axis spans the bulk of the pairs, no change and the threshold. A pair that is far off the others would press all of
these into one line: where it is beyond the axis, an arrow at the edge says how far.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from longbench_cli.analyse.comparison.types import PointVerdict
from longbench_cli.present.comparison.pairs import changes_of, far_off
from longbench_cli.present.comparison.words import change, share
from longbench_cli.present.figures import INK, translucent

if TYPE_CHECKING:
    from collections.abc import Collection

    import plotly.graph_objects as go

AXIS = "y2"

_ROOM = 0.12
"""Of what the axis spans, left free at each end."""

_ARROW_ROOM = 0.3
"""The same, at an end that arrows stand at."""


def change_range(point: PointVerdict) -> list[float]:
    """Both ends of the axis, percent; of a point with pairs."""
    low, high = _bulk(point)
    above, below = _beyond(point)
    span = high - low or 1.0
    return [low - span * (_ARROW_ROOM if below else _ROOM), high + span * (_ARROW_ROOM if above else _ROOM)]


def add_changes(figure: go.Figure, point: PointVerdict, fresh: Collection[int]) -> None:
    """A mark a pair; those of the places ``fresh`` are open."""
    percent = _percent(point)
    (bottom, top), (low, high) = change_range(point), _bulk(point)
    above, below = _beyond(point)
    edges = dict.fromkeys(above, (high + top) / 2) | dict.fromkeys(below, (low + bottom) / 2)
    shapes = dict.fromkeys(above, "triangle-up") | dict.fromkeys(below, "triangle-down")
    said = [change(math.exp(d)) for d in changes_of(point)]
    places = range(len(percent))
    figure.add_scatter(
        x=[place + 1 for place in places],
        y=[edges.get(place, percent[place]) for place in places],
        yaxis=AXIS,
        mode="markers+text" if edges else "markers",
        marker={
            "size": [11 if place in edges else 8 for place in places],
            "color": INK,
            "symbol": [f"{shapes.get(place, 'circle')}{'-open' if place in fresh else ''}" for place in places],
            "line": {"width": [2 if place in fresh else 0 for place in places]},
        },
        text=[said[place] if place in edges else "" for place in places] if edges else None,
        textposition=["middle right" if place < len(percent) / 2 else "middle left" for place in places],
        textfont={"size": 11, "color": INK},
        cliponaxis=False,
        hovertext=[f"pair {number}: {text}" for number, text in enumerate(said, 1)],
        hovertemplate="%{hovertext}<extra></extra>",
    )


def change_shapes(point: PointVerdict, color: str) -> Iterator[dict[str, Any]]:
    """The interval and the estimate in ``color``, no change, and the threshold dashed."""
    across = {"xref": "paper", "x0": 0, "x1": 1, "yref": AXIS}
    if point.effect and all(map(math.isfinite, point.effect.interval)):
        low, high = (100 * (end - 1) for end in point.effect.interval)
        ground = {"fillcolor": translucent(color), "line": {"width": 0}, "layer": "below"}
        yield {"type": "rect", **across, "y0": low, "y1": high, **ground}
        estimate = 100 * (point.effect.ratio - 1)
        yield {"type": "line", **across, "y0": estimate, "y1": estimate, "line": {"color": color, "width": 2}}
    yield {"type": "line", **across, "y0": 0, "y1": 0, "line": {"color": INK, "width": 1}}
    if point.threshold:
        limit = 100 * point.threshold.share
        dashed = {"color": INK, "width": 1.5, "dash": "6px,4px"}
        yield {"type": "line", **across, "y0": limit, "y1": limit, "line": dashed}


def threshold_label(point: PointVerdict, top: float) -> dict[str, Any] | None:
    """What the dashed line is, above the left end of the plot (``top``: share of the paper), where no mark can be."""
    if point.threshold is None:
        return None
    place = {"xref": "paper", "x": 0, "xanchor": "left", "yref": "paper", "y": top, "yanchor": "bottom"}
    text = f"– – threshold {share(point.threshold.share)}"
    return {"text": text, "showarrow": False, "font": {"size": 11}, **place}


def _percent(point: PointVerdict) -> list[float]:
    return [100 * math.expm1(d) for d in changes_of(point)]


def _bulk(point: PointVerdict) -> tuple[float, float]:
    """Least and most of what must be in sight."""
    far = set(far_off(point))
    seen = [value for place, value in enumerate(_percent(point)) if place not in far]
    seen += [0.0, 100 * point.threshold.share if point.threshold else 0.0]
    seen += [100 * (point.effect.ratio - 1)] if point.effect else []
    return min(seen), max(seen)


def _beyond(point: PointVerdict) -> tuple[list[int], list[int]]:
    """Places of the pairs above and below what the axis spans."""
    low, high = _bulk(point)
    room = _ROOM * (high - low or 1.0)
    percent = _percent(point)
    above = [place for place, value in enumerate(percent) if value > high + room]
    return above, [place for place, value in enumerate(percent) if value < low - room]
