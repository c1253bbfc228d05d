"""Work captured as a CUDA graph, and checked: a replay must give what the work gives."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from functools import cache
from typing import Any

import torch
from torch import Tensor

from longbench_cli.measure.clock.timer import Work

SMALL_NS = 1_000_000
"""Only work that keeps the device for less is worth a graph; above, launching is a small part anyway."""

_WARM_UPS = 2
_CLOSE = 0.01
"""By norm: above what atomic additions in any order make of a half type."""

_broken: list[torch.cuda.CUDAGraph] = []
"""Graphs whose capture was broken off: torch's pinned-memory allocator may go on asking them for their capture."""


class Refused(Exception):
    """The work cannot be replayed as a graph; why, in one line."""


class Replay:
    """A captured graph. It holds the work, and so the inputs that the graph reads; its memory goes with it."""

    def __init__(self, graph: torch.cuda.CUDAGraph, work: Work) -> None:
        self._graph, self._work = graph, work

    def __call__(self) -> None:
        self._graph.replay()


def worthwhile(host_ns: float, device_ns: float) -> bool:
    """Whether an iteration is small, and waits for its launches."""
    return device_ns < SMALL_NS and host_ns > device_ns


@cache
def side_stream() -> torch.cuda.Stream:
    """The stream that everything captured runs on: the default stream can't be captured."""
    return torch.cuda.Stream()


def move_to(stream: torch.cuda.Stream) -> None:
    """Make ``stream`` current, after all that was launched on the one that is."""
    stream.wait_stream(torch.cuda.current_stream())
    torch.cuda.set_stream(stream)


def capture(work: Work) -> Replay:
    """Capture ``work`` on the current stream, which is not the default one.

    The forward of a backward must have run on this stream too: torch runs a backward where its forward ran.

    Raises:
        Refused: the capture failed, or a replay gives something else than the work.
    """
    for _ in range(_WARM_UPS):  # what is compiled, tuned or allocated once must not be captured
        expected = work()
    graph, pool = torch.cuda.CUDAGraph(), torch.cuda.graph_pool_handle()
    try:
        with torch.cuda.graph(graph, pool=pool, stream=torch.cuda.current_stream()):
            result = work()
    except Exception as error:  # whatever the work raises while it is captured
        _mend(graph, pool)
        raise Refused(_one_line(error)) from None
    _check(graph, expected, result)
    return Replay(graph, work)


def _check(graph: torch.cuda.CUDAGraph, expected: Any, result: Any) -> None:
    """Spoil the captured result, replay, and compare: a kernel that ran on another stream was not captured."""
    pairs = [
        (right, found)
        for right, found in zip(_tensors(expected), _tensors(result), strict=True)
        if right.data_ptr() != found.data_ptr()  # the same memory in both is an input
    ]
    with torch.no_grad():
        for _, found in pairs:
            found.fill_(torch.nan)
        graph.replay()
        for right, found in pairs:
            apart = torch.linalg.vector_norm(found.float() - right.float())
            if not apart <= _CLOSE * torch.linalg.vector_norm(right.float()):
                raise Refused("a replay of the graph does not give the result of the work")


def _tensors(result: Any) -> Iterator[Tensor]:
    """The tensors of floating point in nested tuples, lists and dictionaries."""
    if isinstance(result, Tensor):
        if result.is_floating_point():
            yield result.detach()
    elif isinstance(result, (tuple, list, dict)):
        for part in result.values() if isinstance(result, dict) else result:
            yield from _tensors(part)


def _mend(graph: torch.cuda.CUDAGraph, pool: Any) -> None:
    """Undo a capture that was broken off.

    Where it was invalidated torch's ``capture_end`` raises before it has told its allocator and its random
    generator that the capture is over; from then on freeing cached memory and drawing numbers would fail.
    """
    try:
        graph.pool()  # that of an ended capture, which frees itself
    except RuntimeError:
        _broken.append(graph)
        device = torch.cuda.current_device()
        for end in (torch._C._cuda_endAllocateToPool, torch._C._cuda_releasePool):
            with contextlib.suppress(RuntimeError):  # the capture had not come so far, or further
                end(device, pool)
        generator = torch.cuda.default_generators[device]
        generator.graphsafe_set_state(generator.clone_state())  # a clone is of no capture
    torch.cuda.synchronize()


def _one_line(error: BaseException) -> str:
    """The first line of what went wrong first: ending an invalidated capture raises an error of its own."""
    while error.__context__ is not None and not error.__suppress_context__:
        error = error.__context__
    text = str(error).strip()
    return text.splitlines()[0] if text else type(error).__name__
