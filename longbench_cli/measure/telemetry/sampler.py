"""Looks again and again from a thread, at a pace that costs next to nothing."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

PERIOD_NS = 100_000_000
"""Time between two looks, unless looks are dear or many."""

DEAREST_SHARE = 1 / 300
"""A thread of looks takes at most this share of one processor: where a look costs more, looks are fewer."""

_FIRST_SHARE = 0.1
_SHORTEST_REST = 0.2
_WEIGHT = 0.1


class Pace:
    """How long to wait for the next look. All in nanoseconds."""

    def __init__(self, period_ns: int) -> None:
        self.stride = 1
        self._base_ns = period_ns
        self._cost_ns: float | None = None

    def note(self, cost_ns: int) -> None:
        """A look took so much processor time; a running mean of them counts."""
        known = self._cost_ns
        self._cost_ns = cost_ns if known is None else (1 - _WEIGHT) * known + _WEIGHT * cost_ns

    @property
    def period_ns(self) -> int:
        """From one look to the next."""
        return max(self._base_ns * self.stride, round((self._cost_ns or 0) / DEAREST_SHARE))

    def rest_ns(self, elapsed_ns: int) -> int:
        """What is left of the period after a look that took ``elapsed_ns``, and not too little."""
        return max(self.period_ns - elapsed_ns, round(_SHORTEST_REST * self.period_ns))


class Sampler:
    """Calls ``look`` from a thread of its own between :meth:`start` and :meth:`stop`."""

    def __init__(self, look: Callable[[], None], pace: Pace) -> None:
        self._look = look
        self._pace = pace
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="telemetry", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """Returns when the last look is over."""
        self._stop.set()
        self._thread.join()

    def _run(self) -> None:
        rest_ns = round(_FIRST_SHARE * self._pace.period_ns)
        while not self._stop.wait(rest_ns / 1e9):
            begin, spent = time.perf_counter_ns(), time.thread_time_ns()
            self._look()
            self._pace.note(time.thread_time_ns() - spent)
            rest_ns = self._pace.rest_ns(time.perf_counter_ns() - begin)
