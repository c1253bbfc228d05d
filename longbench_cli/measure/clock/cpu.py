"""The CPU's timer: a monotonic clock around the call."""

from __future__ import annotations

from longbench_cli.measure.clock.flush import Flush
from longbench_cli.measure.clock.timer import Clock, Iteration, Work, now_ns
from longbench_cli.measure.types import Timing


class CpuTimer:
    """Monotonic wall clock around the call; the cache stays as the last iteration left it unless there is a flush."""

    def __init__(self, flush: Flush | None = None, clock: Clock = now_ns) -> None:
        self._flush, self._clock = flush, clock

    def bind(self, work: Work) -> Iteration:
        flush, clock = self._flush, self._clock

        def iteration() -> int:
            if flush is not None:
                flush()
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
