"""Two pieces of work measured in turns, so that the machine's drift hits both alike."""

from __future__ import annotations

import gc
import statistics
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from longbench_cli.measure.clock import Timer

Make = Callable[[], Callable[[], Any]]
"""Draws inputs into fresh memory and returns the work on them."""


@dataclass(frozen=True, slots=True)
class Comparison:
    """Nanoseconds of both sides and their ratios, a round each."""

    first: list[int]
    second: list[int]

    @property
    def ratios(self) -> list[float]:
        return [a / b for a, b in zip(self.first, self.second, strict=True)]

    @property
    def ratio(self) -> float:
        """Median over rounds of first / second."""
        return statistics.median(self.ratios)

    @property
    def medians_ms(self) -> tuple[float, float]:
        """Median time of each side, in milliseconds."""
        return statistics.median(self.first) / 1e6, statistics.median(self.second) / 1e6

    @property
    def spread(self) -> tuple[float, float]:
        """Quartiles of the ratio."""
        low, _, high = statistics.quantiles(self.ratios, n=4)
        return low, high


def compare(first: Make, second: Make, timer: Timer, rounds: int) -> Comparison:
    """Alternate ``rounds`` times, the order flipping every round, inputs drawn anew for each turn.

    Each side runs once untimed before the first round, to load its code.
    """
    times: tuple[list[int], list[int]] = ([], [])
    for turn in range(-1, rounds):
        for side in (0, 1) if turn % 2 == 0 else (1, 0):
            run = timer.bind((first, second)[side]())
            took = run()
            if turn >= 0:
                times[side].append(took)
            del run
            gc.collect()
    return Comparison(*times)
