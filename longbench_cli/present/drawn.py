"""A figure with the legend that the page draws for it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import plotly.graph_objects as go


@dataclass(frozen=True, slots=True)
class LegendEntry:
    """``series`` is the ``meta`` of the line's traces; ``symbol`` that of marks without a line, circle or diamond."""

    series: int
    label: str
    color: str
    dash: str
    symbol: str = ""


@dataclass(frozen=True, slots=True)
class Drawn:
    """A figure, and its legend."""

    figure: go.Figure
    legend: tuple[LegendEntry, ...]
