"""The GPU's timer on a GPU: what it waits for, what it holds, what a cold cache costs, what a graph gives."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from torch import Tensor
from worker_process import BASE, work

from attention_impls.api import Unsupported
from longbench_cli.measure.clock import CudaTimer
from longbench_cli.measure.clock.flush import l2_flush
from longbench_cli.measure.clock.graphs import SMALL_NS
from longbench_cli.measure.inputs import InputSource
from longbench_cli.measure.passes import work_of
from longbench_cli.measure.subject import bind
from longbench_cli.sweep.case import Case

pytestmark = pytest.mark.gpu

MIB = 2**20
CUDA = {"device": "cuda", "dtype": "bfloat16", "head_dim": 64, "heads": 8, "kv_heads": 8, "seq_len": 700}
DILATED = {"impl": "dilated", "options": {"segments": [128, 512], "dilations": [1, 4]}}


@pytest.fixture(autouse=True)
def _default_stream() -> Iterator[None]:
    """Timers of graphs make another stream current."""
    yield
    torch.cuda.synchronize()
    torch.cuda.set_stream(torch.cuda.default_stream())


def median_of(run: Callable[[], int], count: int = 50) -> float:
    for _ in range(5):
        run()
    return statistics.median(run() for _ in range(count))


def tiny_kernels() -> Callable[[], Tensor]:
    x = torch.zeros(8, device="cuda")

    def launch() -> Tensor:
        y = x
        for _ in range(200):
            y = y + 1
        return y

    return launch


def test_the_timer_waits_for_the_device_and_counts_nanoseconds() -> None:
    """The sleep takes at least 5 ms at any clock rate up to 4 GHz, by the timer and by a loop of plain events."""
    cycles = 20_000_000
    timed = CudaTimer("off", l2_flush()).bind(lambda: torch.cuda._sleep(cycles))()
    assert torch.cuda.current_stream().query(), "the timer returned before the work was done"
    begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    begin.record()
    torch.cuda._sleep(cycles)
    end.record()
    end.synchronize()
    assert timed >= 5_000_000
    assert begin.elapsed_time(end) * 1e6 >= 5_000_000


def test_the_timer_calls_the_work_once_and_frees_its_result() -> None:
    calls = []
    timer = CudaTimer("off", l2_flush())
    before = torch.cuda.memory_allocated()

    def work_once() -> Tensor:
        calls.append(1)
        return torch.empty(2**20, device="cuda")

    assert timer.bind(work_once)() > 0
    assert len(calls) == 1
    assert torch.cuda.memory_allocated() == before


def test_launch_gaps_of_tiny_kernels_are_not_measured() -> None:
    launch = tiny_kernels()
    timer = CudaTimer("off", None)
    held = median_of(timer.bind(launch))
    timing = timer.timing()
    assert timing.blocking_start
    assert timing.host_median_ns is not None
    assert held < timing.host_median_ns

    begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))

    def not_held() -> int:
        torch.cuda.synchronize()
        begin.record()
        launch()
        end.record()
        end.synchronize()
        return round(begin.elapsed_time(end) * 1e6)

    assert held < median_of(not_held)


def test_work_that_waits_for_the_device_is_timed_without_a_hold() -> None:
    x = torch.ones(8, device="cuda")
    timer = CudaTimer("off", None)
    run = timer.bind(lambda: x.sum().item())
    assert min(run() for _ in range(30)) > 0
    assert not timer.timing().blocking_start


def test_the_flush_is_as_large_as_l2_and_makes_what_fits_in_it_slower() -> None:
    size = torch.cuda.get_device_properties().L2_cache_size
    assert l2_flush()().nbytes == size
    x = torch.ones(size // 4 // 4, device="cuda")
    cold, hot = (median_of(CudaTimer("off", flush).bind(x.sum)) for flush in (l2_flush(), None))
    assert cold > hot


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("pass_", ["fwd", "bwd", "fwd+bwd"])
@pytest.mark.parametrize("impl", [{}, DILATED], ids=["vanilla", "dilated"])
def test_a_replay_gives_what_the_work_gives_on_the_inputs_of_its_bind(
    impl: dict[str, Any], pass_: str, causal: bool
) -> None:
    case = Case.model_validate(BASE | CUDA | impl | {"pass": pass_, "causal": causal, "backend": "sdpa-flash"})
    timer, attention, source = CudaTimer("on", None), bind(case, case.backend), InputSource(case, 0)

    def parts(result: Any) -> list[Tensor]:
        return [result] if isinstance(result, Tensor) else list(result)

    for _ in range(2):
        inputs, results = source.draw().inputs(), []
        launched = work_of(case, attention, inputs)

        def kept(launched: Callable[[], Any] = launched, results: list[Any] = results) -> Any:
            results.append(launched())
            return results[-1]

        run = timer.bind(kept)
        captured = parts(results[-1])
        inputs.v.data.mul_(-3)
        for _ in range(2):
            run()
            for found, right in zip(captured, parts(launched()), strict=True):
                assert bool((found.float() - right.float()).norm() <= 1e-2 * right.float().norm())
                assert bool(right.float().norm() > 0)
    assert timer.timing().graph


def test_graphs_are_for_small_work_that_waits_for_its_launches() -> None:
    for launch, becomes in ((tiny_kernels(), True), (large_product(), False)):
        timer = CudaTimer("auto", None)
        for _ in range(2):
            run = timer.bind(launch)
            times = [run() for _ in range(4)]
        timing = timer.timing()
        assert (timing.graph, timing.graph_refused) == (becomes, None)
        assert becomes or min(times) > SMALL_NS


def large_product() -> Callable[[], Tensor]:
    x = torch.ones(8192, 8192, device="cuda")
    return lambda: x @ x


def test_memory_of_graphs_goes_with_them() -> None:
    timer, reserved = CudaTimer("on", None), []
    for _ in range(12):
        x = torch.ones(16 * MIB, device="cuda")
        run = timer.bind(lambda x=x: x + 1)
        run()
        reserved.append(torch.cuda.memory_reserved())
        del run, x
    assert reserved[-1] <= reserved[3]


def test_after_a_refused_capture_everything_goes_on() -> None:
    """Reading a number waits for the device, which breaks the capture off; drawing one is part of it."""
    x = torch.ones(8, device="cuda")

    def waits() -> float:
        return float((x + torch.rand_like(x)).sum().item())

    torch.cuda.empty_cache()
    timer, before = CudaTimer("on", None), torch.cuda.memory_allocated()
    with pytest.raises(Unsupported, match=r"^--graphs on: [^\n]*captur[^\n]*$"):
        timer.bind(waits)
    torch.cuda.empty_cache()
    assert torch.cuda.memory_allocated() <= before + MIB
    assert 8 < waits() < 16
    assert bool(torch.rand(100, device="cuda").std() > 0)

    launch = tiny_kernels()
    again = CudaTimer("on", None)
    assert again.bind(launch)() > 0
    assert again.timing().graph


def test_a_refused_capture_under_auto_goes_on_without_and_says_why() -> None:
    x = torch.ones(8, device="cuda")
    timer = CudaTimer("auto", None)
    for _ in range(3):
        run = timer.bind(lambda: x.sum().item())
        assert min(run() for _ in range(4)) > 0
    timing = timer.timing()
    assert not timing.graph
    assert timing.graph_refused is not None
    assert "\n" not in timing.graph_refused
    assert torch.cuda.current_stream() == torch.cuda.default_stream()


@pytest.mark.parametrize("pass_", ["fwd", "bwd", "fwd+bwd"])
@pytest.mark.parametrize("impl", [{}, DILATED], ids=["vanilla", "dilated"])
def test_a_point_of_graphs(impl: dict[str, Any], pass_: str) -> None:
    result, done = work(**CUDA, **impl, **{"pass": pass_}, settings={"graphs": "on", "cache": "hot"})
    assert result is not None, done.stderr.decode()
    assert result["status"] == "ok", result
    timing = result["timing"]
    assert (timing["graph"], timing["graph_refused"], timing["cache"]) == (True, None, "hot")
    assert timing["host_median_ns"] > 0
    assert min(result["latency"]["iterations_ns"]) > 0
