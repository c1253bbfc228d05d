"""The blocking start: how long the device must be held until the host has launched a whole iteration."""

from __future__ import annotations

import math
from collections import deque

import torch

LONGEST_NS = 50_000_000
"""The device is never held for longer. Where launching takes longer still, launch gaps are measured."""

_FIRST_NS = 500_000
_MARGIN = 2
_SLACK_NS = 50_000
_RECENT = 16
_PATIENCE = 3
_CYCLES = 1_000_000


class Hold:
    """Learns from each iteration how long the next must be held: twice the slowest recent launch, and a little.

    Work that waits for the device itself is never launched in time, however long it is held: each of its
    launches takes as long as the hold. It reaches the limit after a few iterations, and is held no more.
    """

    def __init__(self) -> None:
        self._launches = deque([_FIRST_NS], maxlen=_RECENT)
        self._late_at_limit = 0

    @property
    def next_ns(self) -> int:
        """Nanoseconds to hold the next iteration; 0 once that has proved useless."""
        if self._late_at_limit >= _PATIENCE:
            return 0
        return min(LONGEST_NS, _MARGIN * max(self._launches) + _SLACK_NS)

    def saw(self, launch_ns: int, *, in_time: bool) -> None:
        """Learn from an iteration: what its launch took, and whether it ended while the device was held."""
        if in_time:
            self._late_at_limit = 0
        elif self.next_ns == LONGEST_NS:
            self._late_at_limit += 1
        self._launches.append(launch_ns)


def cycles_per_ns() -> float:
    """Of the clock that ``torch.cuda._sleep`` counts by: the fastest of three sleeps, as clocks rise under load."""
    begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    fastest_ms = math.inf
    for _ in range(3):
        begin.record()
        torch.cuda._sleep(_CYCLES)
        end.record()
        end.synchronize()
        fastest_ms = min(fastest_ms, begin.elapsed_time(end))
    return _CYCLES / (fastest_ms * 1e6)
