"""The GPU's timer: events around the work on a device that is held until all of it has been launched."""

from __future__ import annotations

import statistics
from dataclasses import dataclass
from typing import Literal

import torch

from attention_impls.api import Unsupported
from longbench_cli.measure.clock.flush import Flush
from longbench_cli.measure.clock.graphs import Refused, capture, move_to, side_stream, worthwhile
from longbench_cli.measure.clock.hold import Hold, cycles_per_ns
from longbench_cli.measure.clock.timer import Clock, Iteration, LineUp, Work, now_ns, start_at_once
from longbench_cli.measure.types import Timing
from longbench_cli.sweep.settings import Graphs

_TRIALS = 3
_LONG_NS = 100_000_000  # no graph makes that shorter, and no more such iterations need be spent on finding out
_MOSTLY = 0.9
_MODES: dict[Graphs, Literal["undecided", "graph", "eager"]] = {"auto": "undecided", "on": "graph", "off": "eager"}


@dataclass(frozen=True, slots=True)
class _Once:
    """One iteration: nanoseconds on the device, nanoseconds to launch, and whether it was launched in time."""

    device_ns: int
    host_ns: int
    in_time: bool


class CudaTimer:
    """CUDA events around the work; before them the cache is flushed and the device held by a spinning kernel.

    An iteration is: flush, spin, line up, begin, work, end, and waiting for the end. The host launches the
    work while the device spins, so that there are no launch gaps between the events. Where several ranks
    line up, that is a collective of their devices: it ends when the last of them no longer spins.

    With ``graphs="on"`` a side stream becomes the current one at once, and each bind captures. With
    ``"auto"`` the first three iterations (one, if it is long) are launched one by one and decide. If for
    graphs, the side stream becomes current then, what is bound from then on is captured, and iterations of
    what was bound before are no part of :meth:`timing`. After a capture that is refused there is no other:
    what follows runs on the stream that was current when the timer was made.
    """

    def __init__(
        self, graphs: Graphs, flush: Flush | None, clock: Clock = now_ns, line_up: LineUp = start_at_once
    ) -> None:
        self._flush, self._clock, self._line_up = flush, clock, line_up
        self._must, self._mode = graphs == "on", _MODES[graphs]
        self._refused: str | None = None
        self._home = torch.cuda.current_stream()
        self._hold, self._cycles = Hold(), cycles_per_ns()
        self._begin, self._end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        self._seen: list[_Once] = []
        if self._must:
            move_to(side_stream())

    def bind(self, work: Work) -> Iteration:
        if self._mode == "graph":
            try:
                replay = capture(work)
            except Refused as refused:
                if self._must:
                    raise Unsupported(f"--graphs on: {refused}") from None
                self._mode, self._refused = "eager", str(refused)
                move_to(self._home)
            else:
                return lambda: self._count(self._once(replay))
        return lambda: self._launched(work)

    @property
    def settled(self) -> bool:
        return self._mode != "undecided"

    def timing(self) -> Timing:
        in_time = sum(once.in_time for once in self._seen)
        return Timing(
            cache="hot" if self._flush is None else "cold",
            graph=self._mode == "graph" and bool(self._seen),
            graph_refused=self._refused,
            blocking_start=bool(self._seen) and in_time >= _MOSTLY * len(self._seen),
            host_median_ns=statistics.median(once.host_ns for once in self._seen) if self._seen else None,
        )

    def _launched(self, work: Work) -> int:
        once = self._once(work)
        if self._mode == "graph":  # decided since this work was bound
            return once.device_ns
        took = self._count(once)
        if self._mode == "undecided" and (len(self._seen) == _TRIALS or took >= _LONG_NS):
            self._decide()
        return took

    def _count(self, once: _Once) -> int:
        self._seen.append(once)
        return once.device_ns

    def _decide(self) -> None:
        """Graphs if the fastest launch took longer than the fastest run."""
        host_ns, device_ns = min(once.host_ns for once in self._seen), min(once.device_ns for once in self._seen)
        if not worthwhile(host_ns, device_ns):
            self._mode = "eager"
            return
        self._mode = "graph"
        self._seen.clear()
        move_to(side_stream())

    def _once(self, work: Work) -> _Once:
        clock, begin, end = self._clock, self._begin, self._end
        if self._flush is not None:
            self._flush()
        if hold_ns := self._hold.next_ns:
            torch.cuda._sleep(round(hold_ns * self._cycles))
        self._line_up()
        begin.record()
        before = clock()
        result = work()
        host_ns = clock() - before
        end.record()
        in_time = not begin.query()  # the device is not there yet, so all was launched before it begins
        end.synchronize()
        del result
        self._hold.saw(host_ns, in_time=in_time)
        milliseconds: float = begin.elapsed_time(end)
        return _Once(round(milliseconds * 1e6), host_ns, in_time)
