"""Measure one case as a stream: inputs come chunk by chunk, results are checked as they pass.

One pass over the stream is one iteration. What it spends on making inputs is taken apart, and so is the
forward that a streamed backward has to repeat; only the pass asked for is its latency.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from attention_impls.streams import Event, Gradients, Outputs, SpanningGradients, Stream
from longbench_cli.measure.inputs import Draw
from longbench_cli.sweep.case import Case

Progress = Callable[[int, int, float], None]
"""Called after each chunk: (chunks done, chunks in all, seconds so far)."""


@dataclass(slots=True)
class PassTimes:
    """Nanoseconds of one pass over the stream, by what they were spent on."""

    forward: int = 0
    backward: int = 0
    generation: int = 0

    def of(self, pass_: str) -> int:
        """What the case's pass took."""
        return {"fwd": self.forward, "bwd": self.backward, "fwd+bwd": self.forward + self.backward}[pass_]

    def recomputed(self, pass_: str) -> int:
        """Forward work that is no part of the pass."""
        return self.forward if pass_ == "bwd" else 0


@dataclass(frozen=True, slots=True)
class Group:
    """Sequences ``first .. first + count - 1`` of the batch, streamed together."""

    first: int
    count: int
    stream: Stream


class TimedSource:
    """A draw that adds up the time spent on making its chunks."""

    def __init__(self, draw: Draw, device: str, now_ns: Callable[[], int]) -> None:
        self.spent_ns = 0
        self._draw, self._device, self._now_ns = draw, device, now_ns

    def chunk(self, name: str, start: int, stop: int) -> Tensor:
        return self._timed(lambda: self._draw.chunk(name, start, stop))

    def strided(self, name: str, head: int, positions: range) -> Tensor:
        return self._timed(lambda: self._draw.strided(name, head, positions))

    def _timed(self, make: Callable[[], Tensor]) -> Tensor:
        settle(self._device)
        begin = self._now_ns()
        made = make()
        settle(self._device)
        self.spent_ns += self._now_ns() - begin
        return made


def settle(device: str) -> None:
    """Wait for the device, so that the clock tells what has been done."""
    if device == "cuda":
        torch.cuda.synchronize()


def run_pass(
    case: Case,
    groups: Sequence[Group],
    draw: Draw,
    sink: Callable[[int, Event], None],
    progress: Progress,
    now_ns: Callable[[], int],
) -> PassTimes:
    """Run the case's pass over all groups of sequences, one after another.

    Every event goes to ``sink`` with the number of its first sequence; the time of that is not counted.
    """
    times = PassTimes()
    last: type[Event] = Outputs if case.pass_ == "fwd" else Gradients
    chunks, done, start = sum(len(group.stream.chunks) for group in groups), 0, now_ns()
    for group in groups:
        source = TimedSource(draw.sequences(group.first, group.count), case.device, now_ns)
        for event in _timed_events(case, group.stream, source, times, now_ns):
            sink(group.first, event)
            if isinstance(event, last):
                done += 1
                progress(done, chunks, (now_ns() - start) / 1e9)
        times.generation += source.spent_ns
    return times


def _timed_events(
    case: Case, stream: Stream, source: TimedSource, times: PassTimes, now_ns: Callable[[], int]
) -> Iterator[Event]:
    """The stream's events, the time of each added to ``times``."""
    events: Iterator[Event] = stream.forward(source) if case.pass_ == "fwd" else stream.backward(source)
    while True:
        begin, made = now_ns(), source.spent_ns
        event = next(events, None)
        settle(case.device)
        spent = now_ns() - begin - (source.spent_ns - made)
        if event is None:
            return
        if isinstance(event, Gradients | SpanningGradients):
            times.backward += spent
        else:
            times.forward += spent
        yield event
