"""The GPU's timer on a fake GPU: what is timed, and what is a graph."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Callable
from typing import Any

import pytest
import torch
from fake_gpu import L2_BYTES, NOT_PERMITTED, REPLAY_HOST_NS, FakeGpu
from torch import Tensor

from attention_impls.api import Unsupported
from longbench_cli.measure.clock import CudaTimer, timer_for
from longbench_cli.measure.clock import hold as holding
from longbench_cli.measure.clock.flush import l2_flush
from longbench_cli.sweep.settings import Graphs, Settings

MS = 1_000_000


@pytest.fixture
def gpu(monkeypatch: pytest.MonkeyPatch) -> FakeGpu:
    fake = FakeGpu()
    fake.install(monkeypatch)
    return fake


def timer_on(gpu: FakeGpu, graphs: Graphs = "off", cold: bool = True) -> CudaTimer:
    timer = CudaTimer(graphs, (lambda: gpu.launch("flush", 20_000, 1_000)) if cold else None, gpu.clock)
    gpu.log.clear()  # how fast it spins is known now
    return timer


def chain(gpu: FakeGpu, kernels: int, device_ns: int, host_ns: int) -> Callable[[], None]:
    """Kernels that the host launches one after another."""

    def work() -> None:
        for _ in range(kernels):
            gpu.launch("kernel", device_ns, host_ns)

    return work


@pytest.mark.parametrize(("cold", "first"), [(True, ["flush"]), (False, [])])
def test_flush_then_hold_then_the_work_between_two_events(gpu: FakeGpu, cold: bool, first: list[str]) -> None:
    timer = timer_on(gpu, cold=cold)
    run = timer.bind(chain(gpu, 2, 5_000, 1_000))
    assert [run(), run()] == [10_000, 10_000]
    assert gpu.log == [*first, "spin", "event", "kernel", "kernel", "event"] * 2
    assert timer.timing().cache == ("cold" if cold else "hot")


def test_launch_gaps_are_not_measured_and_the_host_is_measured_apart(gpu: FakeGpu) -> None:
    timer = timer_on(gpu)
    run = timer.bind(chain(gpu, 50, 2_000, 5_000))
    assert {run() for _ in range(20)} == {50 * 2_000}
    timing = timer.timing()
    assert (timing.blocking_start, timing.host_median_ns, timing.graph) == (True, 50 * 5_000, False)


def test_a_slower_launch_is_held_for_longer(gpu: FakeGpu) -> None:
    timer = timer_on(gpu)
    run = timer.bind(chain(gpu, 600, 1_000, 10_000))
    times = [run() for _ in range(50)]
    assert times[0] > 600 * 1_000
    assert set(times[2:]) == {600 * 1_000}
    assert timer.timing().blocking_start


def test_the_device_is_not_held_for_ever_for_a_host_that_never_comes(gpu: FakeGpu) -> None:
    timer = timer_on(gpu)
    run = timer.bind(chain(gpu, 80, 1_000, MS))
    for _ in range(12):
        run()
    gpu.log.clear()
    run()
    assert "spin" not in gpu.log
    timing = timer.timing()
    assert (timing.blocking_start, timing.host_median_ns) == (False, 80 * MS)


def test_work_that_waits_for_the_device_is_soon_not_held_any_more(gpu: FakeGpu) -> None:
    def work() -> None:
        gpu.launch("kernel", 30_000, 5_000)
        gpu.synchronize()

    timer = timer_on(gpu)
    run = timer.bind(work)
    for _ in range(20):
        run()
    assert gpu.now < 10 * holding.LONGEST_NS
    assert gpu.log[-4:] == ["flush", "event", "kernel", "event"]
    assert not timer.timing().blocking_start


def test_one_stalled_launch_changes_nothing_for_long(gpu: FakeGpu) -> None:
    timer = timer_on(gpu)
    stalls = iter([0, 0, 200 * MS] + [0] * 100)

    def work() -> None:
        gpu.now += next(stalls)
        gpu.launch("kernel", 4_000, 20_000)

    run = timer.bind(work)
    times = [run() for _ in range(60)]
    assert [time for i, time in enumerate(times) if i != 2] == [4_000] * 59
    before = gpu.now
    run()
    assert gpu.now - before < MS
    assert timer.timing().blocking_start


LAUNCH_BOUND, DEVICE_BOUND, LARGE = (50, 2_000, 5_000), (2, 40_000, 5_000), (50, 100_000, 150_000)


@pytest.mark.parametrize(
    ("graphs", "shape", "becomes"),
    [
        ("auto", LAUNCH_BOUND, True),
        ("auto", DEVICE_BOUND, False),
        ("auto", LARGE, False),
        ("on", DEVICE_BOUND, True),
        ("on", LARGE, True),
        ("off", LAUNCH_BOUND, False),
    ],
)
def test_what_becomes_a_graph(gpu: FakeGpu, graphs: Graphs, shape: tuple[int, int, int], becomes: bool) -> None:
    timer = timer_on(gpu, graphs)
    for _ in range(3):  # the first is what decides
        run = timer.bind(chain(gpu, *shape))
        assert [run() for _ in range(5)][1:] == [shape[0] * shape[1]] * 4
    timing = timer.timing()
    assert (timing.graph, timing.graph_refused, timing.blocking_start) == (becomes, None, True)
    assert timing.host_median_ns == (REPLAY_HOST_NS if becomes else shape[0] * shape[2])
    assert gpu.captures == (0 if not becomes else 2 if graphs == "auto" else 3)
    assert (gpu.stream is gpu.default) == (not becomes)


def test_a_replay_runs_what_was_captured_and_launches_once(gpu: FakeGpu) -> None:
    timer = timer_on(gpu, "on")
    run = timer.bind(chain(gpu, 3, 2_000, 5_000))
    gpu.log.clear()
    run()
    assert gpu.log == ["flush", "spin", "event", "kernel", "kernel", "kernel", "event"]


def doubling(gpu: FakeGpu, x: Tensor, outs: list[Tensor], **launch: Any) -> Callable[[], Tensor]:
    """Twice ``x``, into memory of its own each time the work is called."""

    def work() -> Tensor:
        out = torch.empty_like(x)
        outs.append(out)
        gpu.launch("double", 2_000, 5_000, effect=lambda: out.copy_(2 * x), **launch)
        return out

    return work


def test_a_graph_works_on_the_inputs_of_its_own_bind(gpu: FakeGpu) -> None:
    timer = timer_on(gpu, "on")
    inputs, outs = [torch.full((4,), value) for value in (1.0, 5.0)], ([], [])
    runs = [timer.bind(doubling(gpu, x, out)) for x, out in zip(inputs, outs, strict=True)]
    for x in inputs:
        x.add_(2)
    for run in reversed(runs):
        run()
    assert [out[-1].tolist() for out in outs] == [[6.0] * 4, [14.0] * 4]


def test_a_graph_goes_with_what_was_bound(gpu: FakeGpu) -> None:
    timer = timer_on(gpu, "on")
    x = torch.ones(4)
    run = timer.bind(doubling(gpu, x, []))
    inputs = weakref.ref(x)
    del x
    gc.collect()
    run()
    assert inputs() is not None, "a graph reads the inputs of its work, which must live as long"
    del run
    gc.collect()
    assert inputs() is None


def waits(gpu: FakeGpu) -> Callable[[], None]:
    def work() -> None:
        gpu.launch("kernel", 2_000, 5_000)
        gpu.synchronize()

    return work


def is_picky(gpu: FakeGpu) -> Callable[[], None]:
    def work() -> None:
        if gpu.captured is not None:
            raise RuntimeError("this optimiser is not\ncapturable")
        gpu.launch("kernel", 2_000, 5_000)

    return work


def hides(gpu: FakeGpu) -> Callable[[], Any]:
    """Its kernel runs on a stream of its own, which a graph does not hold."""
    return doubling(gpu, torch.ones(4), [], own_stream=True)


REFUSED = [
    (waits, NOT_PERMITTED),
    (is_picky, "this optimiser is not"),
    (hides, "a replay of the graph does not give the result of the work"),
]


@pytest.mark.parametrize(("make", "reason"), REFUSED)
def test_a_refused_capture_falls_back_says_why_and_leaves_nothing_open(
    gpu: FakeGpu, make: Callable[[FakeGpu], Callable[[], Any]], reason: str
) -> None:
    timer = timer_on(gpu, "auto")
    for _ in range(4):
        run = timer.bind(make(gpu))
        assert [run() for _ in range(4)][-1] >= 2_000
    timing = timer.timing()
    assert (timing.graph, timing.graph_refused) == (False, reason)
    assert gpu.captures == 1
    assert gpu.stream is gpu.default
    assert not gpu.capturing_pools, "torch's allocator still waits for the end of the capture"
    assert not gpu.generator.capturing, "no random number can be drawn"
    assert make is not waits or not gpu.pools


@pytest.mark.parametrize(("make", "reason"), REFUSED)
def test_a_refused_capture_that_was_required_is_unsupported(
    gpu: FakeGpu, make: Callable[[FakeGpu], Callable[[], Any]], reason: str
) -> None:
    timer = timer_on(gpu, "on")
    with pytest.raises(Unsupported) as refused:
        timer.bind(make(gpu))
    assert str(refused.value) == f"--graphs on: {reason}"


def test_settings_make_the_timer(gpu: FakeGpu, monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[tuple[int, str]] = []

    class Buffer:
        def zero_(self) -> None:
            gpu.launch("flush", 1)

    def empty(size: int, dtype: torch.dtype, device: str) -> Buffer:
        made.append((size * dtype.itemsize, device))
        return Buffer()

    monkeypatch.setattr(torch, "empty", empty)
    l2_flush()()
    assert (made, gpu.log) == ([(L2_BYTES, "cuda")], ["flush"])
    assert timer_for("cuda", Settings()).timing().cache == "cold"
    assert timer_for("cuda", Settings(cache="hot")).timing().cache == "hot"
    assert len(made) == 2
    assert gpu.stream is gpu.default
    timer_for("cuda", Settings(graphs="on"))
    assert gpu.stream is not gpu.default, "what is prepared for a required graph is prepared on its stream"
