"""A host that launches and a GPU that runs what was launched, on one clock that only they move on.

Installed over ``torch.cuda``. It keeps what timers depend on: launches cost the host time and run in order,
events happen when the device gets there, a capture records instead of running, and waiting for the device
invalidates it; torch then raises before it has closed the capture's memory pool and its random generator.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from longbench_cli.measure.clock import graphs

CYCLES_PER_NS = 2.0
REPLAY_HOST_NS = 3_000
L2_BYTES = 640
NOT_PERMITTED = "CUDA error: operation not permitted when stream is capturing"

Effect = Callable[[], object] | None


class FakeGpu:
    """``log`` names what ran on the device, in order; "event" is an event that was recorded."""

    def __init__(self) -> None:
        self.now, self.free_at = 0, 0
        self.log: list[str] = []
        self.default = self.stream = FakeStream()
        self.captured: list[tuple[str, int, Effect]] | None = None
        self.invalid = False
        self.pools: set[Any] = set()
        self.capturing_pools: set[Any] = set()
        self.captures = 0
        self.generator = FakeGenerator()

    def clock(self) -> int:
        return self.now

    def launch(
        self, name: str, device_ns: int, host_ns: int = 0, effect: Effect = None, own_stream: bool = False
    ) -> None:
        """A kernel; ``own_stream``: on one that a capture does not see."""
        self.now += host_ns
        if self.captured is None or own_stream:
            self.run(name, device_ns, effect)
        else:
            self.captured.append((name, device_ns, effect))

    def run(self, name: str, device_ns: int, effect: Effect) -> None:
        self.log.append(name)
        self.free_at = max(self.free_at, self.now) + device_ns
        if effect is not None:
            effect()

    def synchronize(self) -> None:
        if self.captured is not None:
            self.invalid = True
            raise RuntimeError(f"{NOT_PERMITTED}\nCompile with TORCH_USE_CUDA_DSA")
        self.now = max(self.now, self.free_at)

    def install(self, monkeypatch: pytest.MonkeyPatch) -> None:
        tokens = itertools.count()
        fakes = {
            "Event": lambda enable_timing: FakeEvent(self),
            "Stream": FakeStream,
            "CUDAGraph": lambda: FakeGraph(self),
            "graph": lambda graph, pool, stream: FakeCapture(self, graph, pool, stream),
            "graph_pool_handle": lambda: (0, next(tokens)),
            "current_device": lambda: 0,
            "current_stream": lambda: self.stream,
            "default_generators": (self.generator,),
            "get_device_properties": lambda: SimpleNamespace(L2_cache_size=L2_BYTES),
            "set_stream": lambda stream: setattr(self, "stream", stream),
            "synchronize": self.synchronize,
            "_sleep": lambda cycles: self.launch("spin", round(cycles / CYCLES_PER_NS)),
        }
        for name, fake in fakes.items():
            monkeypatch.setattr(torch.cuda, name, fake)
        ends = {"_cuda_endAllocateToPool": self.capturing_pools, "_cuda_releasePool": self.pools}
        for name, pools in ends.items():
            monkeypatch.setattr(torch._C, name, lambda _device, pool, p=pools: _end(p, pool), raising=False)
        graphs.side_stream.cache_clear()
        monkeypatch.setattr(graphs, "_broken", [])


class FakeGenerator:
    """Refuses to draw while its state is that of a capture."""

    def __init__(self) -> None:
        self.capturing = False

    def clone_state(self) -> FakeGenerator:
        return FakeGenerator()

    def graphsafe_set_state(self, other: FakeGenerator) -> None:
        self.capturing = other.capturing


class FakeStream:
    def wait_stream(self, other: FakeStream) -> None:
        """Everything runs in order here."""


class FakeEvent:
    def __init__(self, gpu: FakeGpu) -> None:
        self._gpu, self._at = gpu, 0

    def record(self) -> None:
        self._gpu.log.append("event")
        self._at = max(self._gpu.now, self._gpu.free_at)

    def query(self) -> bool:
        return self._gpu.now >= self._at

    def synchronize(self) -> None:
        self._gpu.now = max(self._gpu.now, self._at)

    def elapsed_time(self, end: FakeEvent) -> float:
        return (end._at - self._at) / 1e6


class FakeGraph:
    def __init__(self, gpu: FakeGpu) -> None:
        self._gpu = gpu
        self.kernels: list[tuple[str, int, Effect]] | None = None

    def pool(self) -> tuple[int, int]:
        if self.kernels is None:
            raise RuntimeError("Called CUDAGraph::pool() without a preceding successful capture.")
        return 0, 0

    def replay(self) -> None:
        assert self.kernels is not None
        self._gpu.now += REPLAY_HOST_NS
        for kernel in self.kernels:
            self._gpu.run(*kernel)


class FakeCapture:
    """torch.cuda.graph."""

    def __init__(self, gpu: FakeGpu, graph: FakeGraph, pool: Any, stream: FakeStream) -> None:
        assert stream is not gpu.default, "CUDA graphs must be captured on a non-default stream."
        self._gpu, self._graph, self._pool = gpu, graph, pool

    def __enter__(self) -> None:
        gpu = self._gpu
        gpu.synchronize()
        gpu.captures += 1
        gpu.captured, gpu.invalid = [], False
        gpu.pools.add(self._pool)
        gpu.capturing_pools.add(self._pool)
        gpu.generator.capturing = True

    def __exit__(self, *_: object) -> None:
        gpu = self._gpu
        kernels, gpu.captured = gpu.captured, None
        if gpu.invalid:
            raise RuntimeError("CUDA error: operation failed due to a previous error during capture")
        gpu.capturing_pools.remove(self._pool)
        gpu.generator.capturing = False
        self._graph.kernels = kernels


def _end(pools: set[Any], pool: Any) -> None:
    if pool not in pools:
        raise RuntimeError("not currently recording to this pool")
    pools.remove(pool)
