"""Watches the machine while iterations run. Never fails: what cannot be told is null, with the reason."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Collection
from contextlib import AbstractContextManager, ExitStack
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Self

from longbench_cli.measure.telemetry.answers import Answers
from longbench_cli.measure.telemetry.counters import Point, Totals
from longbench_cli.measure.telemetry.cpu import CpuReader
from longbench_cli.measure.telemetry.gpu import GpuReader, Health
from longbench_cli.measure.telemetry.looks import Look, Thinned, merge_looks
from longbench_cli.measure.telemetry.processes import ProcessTime, busiest, may_meet, seconds_of, snapshot
from longbench_cli.measure.telemetry.sampler import PERIOD_NS, Pace, Sampler
from longbench_cli.measure.telemetry.summary import GpuSeen, Seen, Windows, summarise
from longbench_cli.measure.types import OtherProcess, Telemetry
from longbench_cli.nvml import Gpu, gpu_of_torch

KEPT = 4096
"""Looks, and readings of the counters, that are kept; more are thinned."""


class Watch:
    """Context manager around all timed iterations of a point.

    ``device`` is "cpu" or "cuda". ``own`` are processes of this machine whose work is part of what is
    measured, as the other ranks of a point are: they are no disturbance. ``root`` is where /proc and /sys are
    read, ``open_gpu`` how the GPU of this process is found, ``period_ns`` the time between two looks.
    """

    def __init__(
        self,
        device: str,
        *,
        own: Collection[int] = (),
        root: Path = Path("/"),
        open_gpu: Callable[[], AbstractContextManager[Gpu]] = gpu_of_torch,
        period_ns: int = PERIOD_NS,
    ) -> None:
        self._device = device
        self._own = own
        self._root = root
        self._open_gpu = open_gpu
        self._answers = Answers()
        self._closing = ExitStack()
        self._lock = threading.Lock()
        self._stretch = 0
        self._active = True
        self._looked = 0
        self._looks = Thinned[Look](KEPT, merge_looks)
        self._points = Thinned[Point](KEPT, lambda first, _second: first)
        self._pace = Pace(period_ns)
        self._sampler = Sampler(self.look, self._pace)
        self._cpu_others: list[OtherProcess] = []

    def __enter__(self) -> Self:
        self._affinity = self._answers.ask("cpu.affinity", _affinity)
        self._processors = self._affinity or list(range(os.cpu_count() or 1))
        self._meeting = [pid for pid in self._own if may_meet(self._root, pid, self._processors)]
        self._cpu = CpuReader(self._root, self._processors, self._answers, self._own_ns)
        self._governor = self._cpu.governor()
        self._gpu = self._find_gpu()
        self._health = self._gpu.health() if self._gpu is not None else Health(None, None)
        self._cpu.reset_peak()
        self._opened_ns, self._before = time.perf_counter_ns(), self._processes()
        first = self._read()
        self._totals = Totals(first, self._answers.lost)
        self._points.add(first)
        self._sampler.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.pause()
        self._sampler.stop()
        with self._closing:
            self._after = self._gpu.health() if self._gpu is not None else Health(None, None)
            if self._gpu is not None:
                self._gpu.look_at_memory()
                self._gpu.finish()
            self._rss_peak = self._cpu.rss_peak_bytes()
            before, after = self._before, self._processes()
            seconds = (time.perf_counter_ns() - self._opened_ns) / 1e9
            if before is not None and after is not None:
                self._cpu_others = busiest(before, after, seconds, self._processors, self._root, self._own)

    def pause(self) -> None:
        """From now on this process waits: what happens does not concern it."""
        with self._lock:
            if self._active:
                self._advance(counts=True)
                self._active = False
                self._stretch += 1

    def resume(self) -> None:
        """This process works again."""
        with self._lock:
            if not self._active:
                self._advance(counts=False)
                self._active = True

    def look(self) -> None:
        """Look once, unless this process waits. The sampler calls it."""
        with self._lock:
            if not self._active:
                return
            stretch = self._stretch
            at_ns = self._advance(counts=True)
        gauges = self._gpu.gauges() if self._gpu is not None else {}
        seen = Look(at_ns, self._cpu.frequency_mhz(), **gauges)
        if self._gpu is not None:
            self._gpu.look_at_memory()
        with self._lock:
            if stretch != self._stretch:  # what was seen may be of somebody else's turn
                return
        pcie = self._gpu.pcie(at_ns) if self._gpu is not None else None
        self._looked += 1
        self._looks.add(replace(seen, pcie_rates=pcie))
        self._pace.stride = self._looks.stride

    def telemetry(self, windows: Windows, tokens: int) -> Telemetry:
        """The record, after the end. ``windows``: when each iteration began and ended; ``tokens`` of one."""
        return summarise(
            Seen(
                threads=_threads(),
                processors=len(self._processors),
                affinity=self._affinity,
                governor=self._governor,
                rss_peak_bytes=self._rss_peak,
                cpu_others=self._cpu_others,
                gpu=GpuSeen(self._health, self._after, self._gpu.others) if self._gpu is not None else None,
                looks=self._looks.items,
                looked=self._looked,
                period_ns=self._pace.period_ns,
                points=self._points.items,
                totals=self._totals.sums,
                active_ns=self._totals.counted_ns,
                missing=self._answers.missing,
            ),
            windows,
            tokens,
        )

    @property
    def nvml_peak_bytes(self) -> int | None:
        """The most memory seen in use on the whole device; None without NVML."""
        return self._gpu.peak_bytes if self._gpu is not None else None

    @property
    def nvml_process_peak_bytes(self) -> int | None:
        """The most memory of the device seen held by this process; None without NVML."""
        return self._gpu.own_peak_bytes if self._gpu is not None else None

    def _find_gpu(self) -> GpuReader | None:
        if self._device != "cuda":
            return None
        gpu = self._answers.ask("gpu", lambda: self._closing.enter_context(self._open_gpu()))
        if gpu is None:
            return None
        reader = GpuReader(gpu, self._root, self._answers, own=self._own)
        reader.look_at_memory()
        return reader

    def _own_ns(self) -> int:
        return time.process_time_ns() + round(seconds_of(self._root, self._meeting) * 1e9)

    def _processes(self) -> dict[int, ProcessTime] | None:
        return self._answers.ask("cpu.others", lambda: snapshot(self._root))

    def _read(self) -> Point:
        at_ns = time.perf_counter_ns()
        of_gpu = self._gpu.counters() if self._gpu is not None else {}
        return Point(at_ns, self._cpu.counters() | of_gpu)

    def _advance(self, *, counts: bool) -> int:
        """Read the counters; the lock is held."""
        point = self._read()
        self._totals.advance(point, counts=counts)
        self._points.add(point)
        return point.at_ns


def _affinity() -> list[int]:
    if not hasattr(os, "sched_getaffinity"):
        raise OSError("this system does not tell")
    return sorted(os.sched_getaffinity(0))


def _threads() -> int:
    import torch

    return torch.get_num_threads()
