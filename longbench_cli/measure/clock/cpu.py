"""The CPU's timer: a monotonic clock around the call."""

from __future__ import annotations

from longbench_cli.measure.clock.flush import Flush
from longbench_cli.measure.clock.timer import Clock, Iteration, LineUp, Work, now_ns, start_at_once
from longbench_cli.measure.types import Timing


class CpuTimer:
    """Monotonic wall clock around the call; the cache stays as the last iteration left it unless there is a flush."""

    def __init__(self, flush: Flush | None = None, clock: Clock = now_ns, line_up: LineUp = start_at_once) -> None:
        self._flush, self._clock, self._line_up = flush, clock, line_up

    def bind(self, work: Work) -> Iteration:
        flush, clock, line_up = self._flush, self._clock, self._line_up

        def iteration() -> int:
            if flush is not None:
                flush()
            line_up()
            begin = clock()
            result = work()
            end = clock()
            del result
            return end - begin

        return iteration

    @property
    def settled(self) -> bool:
        return True

    def timing(self) -> Timing:
        cache = "hot" if self._flush is None else "cold"
        return Timing(cache=cache, graph=False, blocking_start=False, host_median_ns=None)
