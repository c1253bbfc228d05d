"""A slowdown put into what is timed: how a gate's power is measured on the very thing that it guards."""

from __future__ import annotations

from longbench_cli.measure.clock import Timer, now_ns
from longbench_cli.measure.clock.timer import Clock, Iteration, Work
from longbench_cli.measure.types import Timing


def slowed(timer: Timer, share: float, device: str) -> Timer:
    """``timer`` where each iteration takes ``share`` (0.05 is 5%) longer; itself if that is 0.

    The time is really spent: a processor waits busily in the call, a GPU in a kernel behind the work.
    """
    if not share:
        return timer
    return _SlowedGpu(timer, share) if device == "cuda" else _SlowedCpu(timer, share)


class _Slowed:
    def __init__(self, timer: Timer, share: float) -> None:
        self._timer, self._share = timer, share

    @property
    def settled(self) -> bool:
        return self._timer.settled

    def timing(self) -> Timing:
        return self._timer.timing()


class _SlowedCpu(_Slowed):
    """Measures each call itself, and waits for its share of that."""

    def __init__(self, timer: Timer, share: float, clock: Clock = now_ns) -> None:
        super().__init__(timer, share)
        self._clock = clock

    def bind(self, work: Work) -> Iteration:
        def longer() -> object:
            begin = self._clock()
            result = work()
            end = self._clock()
            until = end + round(self._share * (end - begin))
            while self._clock() < until:
                pass
            return result

        return self._timer.bind(longer)


class _SlowedGpu(_Slowed):
    """Launches a spinning kernel behind the work, as long as the share of the iteration before; the first has none."""

    def __init__(self, timer: Timer, share: float) -> None:
        from longbench_cli.measure.clock.hold import cycles_per_ns

        super().__init__(timer, share)
        self._cycles = cycles_per_ns()
        self._extra_ns = self._added_ns = 0.0

    def bind(self, work: Work) -> Iteration:
        import torch

        def longer() -> object:
            result = work()
            self._added_ns = self._extra_ns
            if self._added_ns:
                torch.cuda._sleep(round(self._added_ns * self._cycles))
            return result

        inner = self._timer.bind(longer)
        added = self._added_ns  # a graph was captured with this much, and replays it

        def iteration() -> int:
            took = inner()
            spent = added if self._timer.timing().graph else self._added_ns
            self._extra_ns = self._share * max(0.0, took - spent)
            return took

        return iteration
