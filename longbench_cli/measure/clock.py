"""Timers: one call, its nanoseconds. The only place that reads a clock around measured work."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, Protocol

import torch

now_ns = time.perf_counter_ns


class Timer(Protocol):
    """Times one call of ``work`` to completion on the device."""

    def time(self, work: Callable[[], Any]) -> int:
        """Nanoseconds of one call; its result is released outside the timed region."""
        ...


class CpuTimer:
    """Monotonic wall clock around the call."""

    def time(self, work: Callable[[], Any]) -> int:
        begin = now_ns()
        result = work()
        end = now_ns()
        del result
        return end - begin


class CudaTimer:
    """CUDA events around the call, after the L2 cache has been overwritten.

    Inputs left in L2 by the previous iteration would make small points look faster than they are
    in a model, where other layers run in between.
    """

    def __init__(self) -> None:
        cache_bytes: int = torch.cuda.get_device_properties().L2_cache_size
        self._flush = torch.empty(max(cache_bytes, 1), dtype=torch.int8, device="cuda")

    def time(self, work: Callable[[], Any]) -> int:
        begin, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
        self._flush.zero_()
        begin.record()
        result = work()
        end.record()
        end.synchronize()
        del result
        milliseconds: float = begin.elapsed_time(end)
        return round(milliseconds * 1e6)


def timer_for(device: str) -> Timer:
    """The timer of a device type."""
    return CudaTimer() if device == "cuda" else CpuTimer()
