"""Why clocks were lowered, as shares of the iterations."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections import Counter
from collections.abc import Sequence
from typing import Final

from longbench_cli.measure.telemetry.looks import Look

LIMITING: Final = frozenset(
    {
        "sw_power_cap",
        "hw_slowdown",
        "sync_boost",
        "sw_thermal_slowdown",
        "hw_thermal_slowdown",
        "hw_power_brake_slowdown",
        "board_limit",
        "reliability",
    }
)
"""Reasons that slow a measurement. The others are of rest (gpu_idle) or of somebody's choice."""

_REACH = 1.5
"""A look speaks for iterations at most so many periods away."""


def shares(looks: Sequence[Look], windows: Sequence[tuple[int, int]], period_ns: int) -> dict[str, float] | None:
    """Clock event reason to the share of iterations in which it was seen; None if no iteration had a look near.

    An iteration (start and end in nanoseconds) has the looks in its window, else the nearest one.
    Iterations without a look near them do not count.
    """
    known = [(look.at_ns, look.reasons) for look in looks if look.reasons is not None]
    at = [when for when, _ in known]
    seen: Counter[str] = Counter()
    counted = 0
    for start, end in windows:
        inside = range(bisect_left(at, start), bisect_right(at, end))
        places = inside or _nearest(at, start, end, round(_REACH * period_ns))
        if places:
            counted += 1
            seen.update(frozenset().union(*(known[place][1] for place in places)))
    return {name: seen[name] / counted for name in sorted(seen)} if counted else None


def _nearest(at: list[int], start: int, end: int, reach_ns: int) -> list[int]:
    """The place of the look nearest to a window that holds none."""
    after = bisect_left(at, start)
    distances = [(start - at[after - 1], after - 1)] if after > 0 else []
    if after < len(at):
        distances.append((at[after] - end, after))
    within = [pair for pair in distances if pair[0] <= reach_ns]
    return [min(within)[1]] if within else []
