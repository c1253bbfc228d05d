"""From how much on a slowdown of one point counts in a duet."""

from __future__ import annotations

from typing import Final

from longbench_cli.analyse.comparison.types import Threshold
from longbench_cli.sweep.case import Case
from longbench_cli.sweep.units import format_seconds

ONE_DEVICE: Final = 0.03
SEVERAL_RANKS: Final = 0.05
LEAST_NS: Final = 5e3
"""Nobody mends less than 5 us, and a clock and a launch are worth as much."""


def threshold_of(case: Case, base_median_ns: float, noise: float | None = None) -> Threshold:
    """The largest of 3% (5% on several ranks), ``noise``, and 5 us of the base's median, nanoseconds above 0.

    ``noise`` is the spread (sd) of ln(candidate / base) that pairs of the same code showed, where that was measured:
    2.4 standard errors of a look of 6 pairs. docs/statistics.md shows what other multiples of it cost.
    """
    least = (SEVERAL_RANKS, "on several ranks") if case.world_size > 1 else (ONE_DEVICE, "on one device")
    shares = [
        least,
        (LEAST_NS / base_median_ns, f"{format_seconds(LEAST_NS / 1e9)} of {format_seconds(base_median_ns / 1e9)}"),
    ]
    if noise is not None:
        shares.append((noise, "the spread of pairs of the same code"))
    return Threshold(*max(shares, key=lambda one: one[0]))
