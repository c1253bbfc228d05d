"""The picture of a mask as a plotly figure: HTML to zoom and to point at, and PNG through kaleido."""

from __future__ import annotations

import html
import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from longbench_cli.errors import UsageError
from longbench_cli.present.pattern_picture import Picture, Shades, shades_of, tick_texts, token_ticks

if TYPE_CHECKING:
    import plotly.graph_objects as go

_INK, _FAINT = "#1f2933", "#5f6b7a"
_PNG_SCALE = 2.5


def to_html(picture: Picture) -> str:
    """``picture`` as a page that needs nothing else, plotly included."""
    page: str = pattern_figure(picture).to_html(include_plotlyjs=True, full_html=True)
    return page


def to_png(picture: Picture, path: Path) -> bytes:
    """``picture`` as PNG; ``path`` is where it goes, for messages.

    Raises:
        UsageError: kaleido found no browser to draw with, or it failed.
    """
    try:
        image: bytes = pattern_figure(picture).to_image(format="png", scale=_PNG_SCALE)
    except Exception as error:  # kaleido drives a browser: whatever goes wrong there
        said = " ".join(str(error).split())
        raise UsageError(f"--picture {path}: kaleido cannot draw: {said[:200]}: choose .svg or .html") from error
    return image


def pattern_figure(picture: Picture) -> go.Figure:
    """A heat map of the mask, queries down; what is not seen has no colour."""
    import plotly.graph_objects as go

    tiles, shades = picture.tiles, shades_of(picture.tiles)
    n = tiles.seq_len
    starts = np.arange(0, n, tiles.size)
    middle = starts if tiles.exact else starts + tiles.size / 2
    seen = np.where(tiles.values > 0, tiles.values, np.nan)
    figure = go.Figure(
        go.Heatmap(
            z=np.log10(seen) if shades.logarithmic else seen,
            customdata=tiles.values,
            x=middle,
            y=middle,
            colorscale=[(place, color) for low, high, color in shades.swatches for place in (low, high)],
            hoverongaps=False,
            hovertemplate="query %{y}<br>key %{x}<br>" + picture.measure + " %{customdata:.4~g}<extra></extra>",
            **_bar(picture, shades),
        )
    )
    above = "<br>".join(
        f'<span style="font-size:13px;color:{_FAINT}">{html.escape(line, quote=False)}</span>'
        for line in (*picture.lines, picture.note)
    )
    ticks = token_ticks(n)
    if tiles.exact:
        ticks = [tick for tick in ticks if tick < n]
    edge = 0.5 if tiles.exact else 0.0
    axis: dict[str, Any] = {
        "tickvals": ticks, "ticktext": tick_texts(ticks), "ticks": "outside", "showgrid": False, "zeroline": False,
        "showline": True, "mirror": True, "linecolor": _INK, "constrain": "domain",
    }  # fmt: skip
    figure.update_layout(
        template="none",
        width=800,
        height=800,
        font={"family": "Helvetica, Arial, Liberation Sans, sans-serif", "size": 13, "color": _INK},
        title={
            "text": f"<b>{html.escape(picture.title, quote=False)}</b><br>{above}",
            "x": 0.02, "xanchor": "left", "y": 0.975, "yanchor": "top", "font": {"size": 17},
        },
        margin={"l": 84, "r": 24, "t": 66 + 19 * (len(picture.lines) + 1), "b": 76},
        xaxis={"title": _axis_title("key (token)"), "range": [-edge, n - edge], **axis},
        yaxis={"title": _axis_title("query (token)"), "range": [n - edge, -edge], "scaleanchor": "x", **axis},
    )  # fmt: skip
    return figure


def _axis_title(text: str) -> dict[str, Any]:
    return {"text": text, "standoff": 10, "font": {"size": 14}}


def _bar(picture: Picture, shades: Shades) -> dict[str, Any]:
    """The ends of the colours and the bar that explains them."""
    low, high = (math.log10(end) if shades.logarithmic else end for end in (shades.low, shades.high))
    return {
        "zmin": low,
        "zmax": high,
        "colorbar": {
            "title": {"text": picture.measure},
            "tickvals": [low + (high - low) * place for place, _ in shades.ticks],
            "ticktext": [label for _, label in shades.ticks],
            "len": 0.5, "y": 1, "yanchor": "top", "thickness": 16, "outlinewidth": 0.75,
        },
    }  # fmt: skip
