"""The CPU's timer on a fake clock, its cold cache, and the cache's size from trees like /sys."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from worker_process import work as worker

from attention_impls.api import Unsupported
from longbench_cli.measure import clock
from longbench_cli.measure.clock import CpuTimer, flush, timer_for
from longbench_cli.measure.clock.caches import FALLBACK_BYTES, last_level_bytes
from longbench_cli.measure.point import _prepare
from longbench_cli.sweep.settings import Settings

KIB, MIB = 2**10, 2**20


class FakeHost:
    def __init__(self) -> None:
        self.now = 0
        self.log: list[str] = []

    def clock(self) -> int:
        return self.now

    def step(self, name: str, took: int) -> Callable[[], None]:
        def run() -> None:
            self.now += took
            self.log.append(name)

        return run


def test_the_flush_comes_before_each_iteration_and_is_not_timed() -> None:
    host = FakeHost()
    run = CpuTimer(host.step("flush", 10**9), host.clock).bind(host.step("work", 7))
    assert [run(), run(), run()] == [7, 7, 7]
    assert host.log == ["flush", "work"] * 3


def test_freeing_the_result_is_not_timed() -> None:
    host = FakeHost()

    class Slow:
        def __del__(self) -> None:
            host.now += 1000

    def work() -> Slow:
        host.now += 5
        return Slow()

    run = CpuTimer(clock=host.clock).bind(work)
    assert [run(), run()] == [5, 5]
    assert host.now == 2 * 1005


@pytest.mark.parametrize("size", [4096, 4099])
def test_a_flush_rewrites_every_byte_of_the_size_of_the_cache(monkeypatch: pytest.MonkeyPatch, size: int) -> None:
    monkeypatch.setattr(flush, "last_level_bytes", lambda: size)
    overwrite: Callable[[], Any] = flush.last_level_flush()
    before = overwrite().clone()
    after = overwrite()
    assert size <= after.nbytes < size + 8
    assert bool((after != before).all())


@pytest.mark.parametrize(("cache", "flushes"), [(None, 0), ("hot", 0), ("cold", 2)])
def test_the_cache_of_a_cpu_is_hot_unless_asked(monkeypatch: pytest.MonkeyPatch, cache: Any, flushes: int) -> None:
    flushed: list[int] = []
    monkeypatch.setattr(clock, "last_level_flush", lambda: lambda: flushed.append(1))
    timer = timer_for("cpu", Settings(cache=cache))
    run = timer.bind(lambda: None)
    run()
    run()
    assert len(flushed) == flushes
    timing = timer.timing()
    assert timing.cache == (cache or "hot")
    assert (timing.graph, timing.graph_refused, timing.blocking_start, timing.host_median_ns) == (
        False,
        None,
        False,
        None,
    )


@pytest.mark.parametrize("graphs", ["auto", "off"])
def test_graphs_that_are_not_required_are_no_matter_on_a_cpu(graphs: Any) -> None:
    assert timer_for("cpu", Settings(graphs=graphs)).timing().graph is False


def test_graphs_required_of_a_cpu_are_unsupported() -> None:
    with pytest.raises(Unsupported, match=r"^--graphs on: only CUDA has graphs; leave it out on a CPU$"):
        timer_for("cpu", Settings(graphs="on"))


def tree(root: Path, caches: dict[int, list[tuple[int, str, str, str]]]) -> Path:
    """Processors to their caches: (level, type, size, who shares it)."""
    for processor, found in caches.items():
        for index, values in enumerate(found):
            folder = root / f"sys/devices/system/cpu/cpu{processor}/cache/index{index}"
            folder.mkdir(parents=True)
            for name, value in zip(("level", "type", "size", "shared_cpu_list"), values, strict=True):
                (folder / name).write_text(f"{value}\n")
    return root


def core(own: int, third: str, sharers: str) -> list[tuple[int, str, str, str]]:
    return [
        (1, "Data", "48K", f"{own}"),
        (1, "Instruction", "32K", f"{own}"),
        (2, "Unified", "1024K", f"{own}"),
        (3, "Unified", third, sharers),
    ]


def test_a_cache_that_is_shared_counts_once(tmp_path: Path) -> None:
    root = tree(tmp_path, {i: core(i, "32768K", "0-1") for i in (0, 1)})
    assert last_level_bytes([0, 1], root) == last_level_bytes([1], root) == 32 * MIB


def test_every_cache_that_the_affinity_reaches_counts(tmp_path: Path) -> None:
    root = tree(tmp_path, {i: core(i, "16M", "0-1" if i < 2 else "2-3") for i in range(4)})
    assert last_level_bytes([0, 1], root) == 16 * MIB
    assert last_level_bytes([1, 2], root) == last_level_bytes(range(4), root) == 32 * MIB


def test_the_last_level_is_the_last_there_is(tmp_path: Path) -> None:
    own = {i: [(1, "Data", "32K", f"{i}"), (2, "Unified", "512K", f"{i}")] for i in range(4)}
    assert last_level_bytes(range(4), tree(tmp_path, own)) == 2 * MIB


def test_an_instruction_cache_is_not_the_last_level_and_a_size_may_have_no_unit(tmp_path: Path) -> None:
    only = {0: [(1, "Data", "32768", "0"), (1, "Instruction", "64K", "0")]}
    assert last_level_bytes([0], tree(tmp_path, only)) == 32 * KIB


@pytest.mark.parametrize("size", ["", "unknown"])
def test_what_is_unreadable_has_the_size_that_is_documented(tmp_path: Path, size: str) -> None:
    assert last_level_bytes([0], tmp_path) == FALLBACK_BYTES
    assert last_level_bytes([], tmp_path) == FALLBACK_BYTES
    assert last_level_bytes([0], tree(tmp_path, {0: [(3, "Unified", size, "0")]})) == FALLBACK_BYTES


def test_this_machine_has_a_cache() -> None:
    assert 128 * KIB <= last_level_bytes() <= 64 * 2**30


@pytest.mark.parametrize("cache", [None, "cold"])
def test_a_point_says_how_its_iterations_were_timed(cache: str | None) -> None:
    result, done = worker(settings={"cache": cache, "max_iterations": 6})
    assert result is not None, done.stderr.decode()
    assert result["timing"] == {
        "cache": cache or "hot",
        "graph": False,
        "graph_refused": None,
        "blocking_start": False,
        "host_median_ns": None,
    }


def test_a_point_on_a_cpu_that_must_be_a_graph_is_unsupported() -> None:
    result, done = worker(settings={"graphs": "on"})
    assert result is not None, done.stderr.decode()
    assert (result["status"], result["reason"]) == (
        "unsupported",
        "--graphs on: only CUDA has graphs; leave it out on a CPU",
    )


@pytest.mark.parametrize("first_ns", [0, 10**12])
def test_iterations_run_unrecorded_until_the_timer_has_settled(first_ns: int) -> None:
    """Also where the first call was so long that there is nothing to warm up."""

    class Undecided(CpuTimer):
        ran = 0

        @property
        def settled(self) -> bool:
            return self.ran >= 3

        def bind(self, work: Any) -> Any:
            def once() -> int:
                self.ran += 1
                return 1

            return once

    timer = Undecided()
    subject: Any = SimpleNamespace(draw=lambda: None, work=lambda _drawn: None)
    _prepare(subject, timer, first_ns, 1000)
    assert timer.settled
    assert first_ns == 0 or timer.ran == 3
