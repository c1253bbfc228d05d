"""What a rank receives, drawn against N and against P with plotly (imported when a figure is drawn).

Both axes are logarithmic, so that a law is a slope: constant is level, N^1 rises by a decade a decade. Lines
are computed; what ranks counted while they were measured are marks upon them. Nothing received has no place
on a logarithmic axis, and is left out.
"""

from __future__ import annotations

import html
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from longbench_cli.analyse.comm import Exchanged, Exchanges
from longbench_cli.present.axes import LogAxis, bytes_axis, length_axis
from longbench_cli.present.drawn import Drawn, LegendEntry
from longbench_cli.present.figures import PLOT_HEIGHT, page_layout
from longbench_cli.present.series import PALETTE
from longbench_cli.present.units import format_bytes
from longbench_cli.sweep.axes import format_length
from longbench_cli.sweep.case import Case

if TYPE_CHECKING:
    import plotly.graph_objects as go

TITLE = "received by a rank, most"
_RAMP = (PALETTE[0], PALETTE[4], PALETTE[3], PALETTE[1])
"""From few to many, each readable on a white and on a near-black page."""
_DASHES = ("solid", "dash", "dot")


def common_axis(groups: Sequence[Exchanges]) -> LogAxis:
    """One axis of bytes for all figures, so that they can be compared."""
    values = [float(point.most) for group in groups for point in group.exchanged]
    values += [float(one.most) for group in groups for point in group.exchanged for one in point.counted]
    return bytes_axis([value for value in values if value])


def against_length(group: Exchanges, axis: LogAxis, first_series: int) -> Drawn:
    """A line a number of ranks, against N."""
    return _figure(
        group, axis, first_series, _length, _ranks, lambda ranks: f"P = {ranks}", "sequence length N, tokens"
    )


def against_ranks(group: Exchanges, axis: LogAxis, first_series: int) -> Drawn:
    """A line a length, against P; of weak scaling a line a length of one rank."""
    name = "N / P" if group.holds_share else "N"
    return _figure(
        group, axis, first_series, _ranks, group.held, lambda held: f"{name} = {format_length(held)}", "ranks P"
    )


def _length(case: Case) -> int:
    return case.seq_len


def _ranks(case: Case) -> int:
    return case.world_size


def _figure(
    group: Exchanges,
    axis: LogAxis,
    first_series: int,
    along: Callable[[Case], int],
    line_of: Callable[[Case], int],
    name: Callable[[int], str],
    x_title: str,
) -> Drawn:
    import plotly.graph_objects as go

    figure = go.Figure()
    held = sorted({line_of(point.case) for point in group.points})
    legend = []
    for index, value in enumerate(held):
        share = index / max(1, len(held) - 1)
        entry = LegendEntry(first_series + index, name(value), _color(share), _DASHES[index % len(_DASHES)])
        legend.append(entry)
        line = [point for point in group.exchanged if line_of(point.case) == value and point.most]
        _add_line(figure, entry, sorted(line, key=lambda point: along(point.case)), along)
    x_axis = length_axis([along(point.case) for point in group.points])
    if x_title.startswith("ranks"):
        x_axis = replace(x_axis, texts=[f"{tick:.0f}" for tick in x_axis.ticks])
    figure.update_layout(page_layout(PLOT_HEIGHT, x_title, x_axis, TITLE, axis))
    if not figure.data:
        figure.add_annotation(text="nothing is received", x=0.5, y=0.5, xref="paper", yref="paper", showarrow=False)
    return Drawn(figure, tuple(legend))


def _add_line(figure: go.Figure, entry: LegendEntry, points: Sequence[Exchanged], along: Callable[[Case], int]) -> None:
    if not points:
        return
    belongs: dict[str, Any] = {"meta": entry.series, "name": html.escape(entry.label, quote=False)}
    hover = {"hovertemplate": "%{hovertext}<extra></extra>"}
    figure.add_scatter(
        x=[along(point.case) for point in points],
        y=[point.most for point in points],
        mode="lines+markers",
        marker={"size": 4, "color": entry.color},
        line={"color": entry.color, "width": 2, "dash": entry.dash},
        hovertext=[_computed(point) for point in points],
        **hover,
        **belongs,
    )
    counted = [(point, one) for point in points for one in point.counted if one.most]
    if counted:
        figure.add_scatter(
            x=[along(point.case) for point, _ in counted],
            y=[one.most for _, one in counted],
            mode="markers",
            marker={
                "size": 12,
                "symbol": ["x" if one.difference else "circle-open" for _, one in counted],
                "color": entry.color,
                "line": {"width": 2, "color": entry.color},
            },
            hovertext=[
                html.escape(
                    f"measured ({one.source}): {format_bytes(one.most)}, {one.difference or 'as computed'}", quote=False
                )
                for _, one in counted
            ],
            **hover,
            **belongs,
        )


def _computed(point: Exchanged) -> str:
    case = point.case
    return (
        f"N {format_length(case.seq_len)}, {case.world_size} ranks<br>a rank: {format_bytes(point.most)} at most, "
        f"{format_bytes(point.mean)} on average<br>all ranks: {format_bytes(point.total)}<br>calls: {point.calls:,}"
    )


def _color(share: float) -> str:
    """The colour at ``share`` (0 to 1) of the ramp."""
    at = min(int(share * (len(_RAMP) - 1)), len(_RAMP) - 2)
    part = share * (len(_RAMP) - 1) - at
    ends = [[int(color[i : i + 2], 16) for i in (1, 3, 5)] for color in _RAMP[at : at + 2]]
    return "#" + "".join(f"{round(one + (other - one) * part):02x}" for one, other in zip(*ends, strict=True))
