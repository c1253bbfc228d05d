"""Counters that only grow: how far they moved while this process had its turn."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum


class Counter(StrEnum):
    """What is counted: the value is the record's field that is null without it. Times are seconds, energies joules."""

    OWN_S = "own_s"
    BUSY_S = "cpu.others_share"
    STEAL_S = "steal_share"
    VOLUNTARY = "cpu.voluntary_switches"
    INVOLUNTARY = "involuntary_switches"
    CPU_J = "cpu.energy_j"
    GPU_J = "gpu.energy_j"
    NVLINK_RX = "gpu.nvlink_rx_bytes"
    NVLINK_TX = "gpu.nvlink_tx_bytes"


Reading = Mapping[Counter, float]
"""All counters that could be read at one moment."""


@dataclass(frozen=True, slots=True)
class Point:
    """A reading and when it was taken, by the clock perf_counter_ns."""

    at_ns: int
    reading: Reading


class Totals:
    """Sums what the counters moved in the stretches that count, however many there are.

    A counter that was not read every time, or that went backwards, has no sum.
    """

    def __init__(self, first: Point, lost: Callable[[str, str], None]) -> None:
        self.counted_ns = 0
        self.sums: dict[Counter, float] = dict.fromkeys(first.reading, 0.0)
        self._last = first
        self._lost = lost

    def advance(self, point: Point, *, counts: bool) -> None:
        """Go on to ``point``; what moved since the last one is summed if it ``counts``."""
        for counter in list(self.sums):
            now, before = point.reading.get(counter), self._last.reading.get(counter)
            if now is None or before is None:
                self._lost(counter, "the counter was not told to the end")
                del self.sums[counter]
            elif now < before:
                self._lost(counter, "the counter went backwards")
                del self.sums[counter]
            elif counts:
                self.sums[counter] += now - before
        if counts:
            self.counted_ns += point.at_ns - self._last.at_ns
        self._last = point


class Curve:
    """A counter over time, straight between the readings."""

    def __init__(self, points: Sequence[Point], counter: Counter) -> None:
        known = [(point.at_ns, point.reading[counter]) for point in points if counter in point.reading]
        self._at = [at for at, _ in known]
        self._values = [value for _, value in known]

    def moved(self, start_ns: int, end_ns: int) -> float | None:
        """By how much between two moments; None where the readings do not reach."""
        start, end = self._value(start_ns), self._value(end_ns)
        return None if start is None or end is None else end - start

    def _value(self, at_ns: int) -> float | None:
        if not self._at or not self._at[0] <= at_ns <= self._at[-1]:
            return None
        right = min(bisect_right(self._at, at_ns), len(self._at) - 1)
        left = max(0, right - 1)
        span = self._at[right] - self._at[left]
        share = (at_ns - self._at[left]) / span if span else 0.0
        return self._values[left] + share * (self._values[right] - self._values[left])
