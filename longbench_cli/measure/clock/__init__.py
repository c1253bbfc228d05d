"""Timers: work bound, its iterations in nanoseconds. The only place that reads a clock around measured work."""

from __future__ import annotations

from attention_impls.api import Unsupported
from longbench_cli.measure.clock.cpu import CpuTimer
from longbench_cli.measure.clock.cuda import CudaTimer
from longbench_cli.measure.clock.flush import l2_flush, last_level_flush
from longbench_cli.measure.clock.timer import LineUp, Timer, now_ns, start_at_once
from longbench_cli.sweep.settings import Settings

__all__ = ["CpuTimer", "CudaTimer", "LineUp", "Timer", "now_ns", "timer_for"]


def timer_for(device: str, settings: Settings, line_up: LineUp = start_at_once) -> Timer:
    """A timer of a device type: the cache cold on CUDA and hot on a CPU, unless the settings say.

    ``line_up`` is called right before the clock starts, in stream order on CUDA.

    Raises:
        Unsupported: graphs are required of a CPU.
    """
    if device == "cuda":
        return CudaTimer(settings.graphs, None if settings.cache == "hot" else l2_flush(), line_up=line_up)
    if settings.graphs == "on":
        raise Unsupported("--graphs on: only CUDA has graphs; leave it out on a CPU")
    return CpuTimer(last_level_flush() if settings.cache == "cold" else None, line_up=line_up)
