"""A watch from its beginning to the record, over a faked GPU and faked /proc and /sys; looks are asked for by hand."""

from __future__ import annotations

import os
import sys
import threading
import time
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest
from fake_machine import write_machine, write_process, write_rapl, write_times
from fake_nvml import CALM, ERRORS, GIB, FakeGpu, FakePynvml, no_driver

from longbench_cli.measure.telemetry.watch import Watch
from longbench_cli.measure.types import OtherProcess, Telemetry
from longbench_cli.nvml import DeviceMemory, EccErrors, Nvml, NvmlError, Remapped

NEVER = 10**15
"""The watch's own thread does not get to look."""


@pytest.fixture
def machine(tmp_path: Path) -> Path:
    write_machine(tmp_path)
    return tmp_path


def watch_of(machine: Path, gpu: Any = None, period_ns: int = NEVER) -> Watch:
    if gpu is None:
        return Watch("cpu", root=machine, period_ns=period_ns)
    return Watch("cuda", root=machine, open_gpu=lambda: nullcontext(gpu), period_ns=period_ns)


def watched(machine: Path, gpu: Any, iterations: int = 4) -> tuple[Telemetry, Watch]:
    """A look in each of some iterations of 4 tokens."""
    windows = []
    with watch_of(machine, gpu) as watch:
        for _ in range(iterations):
            begin = time.perf_counter_ns()
            watch.look()
            windows.append((begin, time.perf_counter_ns()))
    return watch.telemetry(windows, tokens=4), watch


def test_a_calm_gpu_from_end_to_end(machine: Path) -> None:
    gpu = FakeGpu(
        sm_clock_mhz=[1400.0, 1500.0, 1900.0],
        energy_j=[1000.0, 1010.0, 1020.0, 1030.0],
        nvlink_bytes=[(0, 5), (100, 25)],
        temperature_c=[50.0, 60.0],
    )
    telemetry, watch = watched(machine, gpu)
    found = telemetry.gpu
    assert found is not None
    assert found.sm_clock_mhz is not None
    assert (found.sm_clock_mhz.low, found.sm_clock_mhz.median, found.sm_clock_mhz.high) == (1400, 1700, 1900)
    assert found.temperature_c is not None
    assert found.temperature_c.high == 60
    assert (found.energy_j, found.nvlink_rx_bytes, found.nvlink_tx_bytes) == (30.0, 100, 20)
    assert (found.ecc_corrected, found.ecc_uncorrected) == (0, 0)
    assert (found.remapped_rows, found.remap_pending) == (1, False)
    assert found.utilisation is not None
    assert found.memory_utilisation is not None
    assert (found.utilisation.median, found.memory_utilisation.median) == (0.9, 0.4)
    assert found.throttled == {}
    assert found.others == []
    assert (watch.nvml_peak_bytes, watch.nvml_process_peak_bytes) == (2 * GIB, GIB)
    assert telemetry.samples == 4
    assert telemetry.joules_per_iteration is not None
    assert 0 < telemetry.joules_per_iteration <= 10
    assert telemetry.joules_per_token == telemetry.joules_per_iteration / 4
    assert telemetry.missing == {}
    assert Telemetry.model_validate_json(telemetry.model_dump_json()) == telemetry


def test_throttling_ecc_errors_and_rows_to_be_replaced(machine: Path) -> None:
    heat = frozenset({"hw_thermal_slowdown"})
    gpu = FakeGpu(
        clock_reasons=[frozenset(), heat, heat, frozenset()],
        ecc=[EccErrors(3, 1), EccErrors(7, 2)],
        remapped=[Remapped(0, pending=False), Remapped(1, pending=True)],
    )
    found = watched(machine, gpu)[0].gpu
    assert found is not None
    assert found.throttled == {"hw_thermal_slowdown": 0.5}
    assert (found.ecc_corrected, found.ecc_uncorrected) == (4, 1)
    assert (found.remapped_rows, found.remap_pending) == (1, True)


def test_memory_is_the_highest_of_all_looks(machine: Path) -> None:
    memories = [DeviceMemory(80 * GIB, 0, used * GIB) for used in (2, 9, 4)]
    processes = [{os.getpid(): held * GIB} for held in (1, 3, 7, 2)]
    _, watch = watched(machine, FakeGpu(memory=memories, processes=processes))
    assert (watch.nvml_peak_bytes, watch.nvml_process_peak_bytes) == (9 * GIB, 7 * GIB)


def test_other_processes_on_the_device_stay_on_record_when_they_vanish(machine: Path) -> None:
    write_process(machine, 70, "trainer")
    gpu = FakeGpu(
        processes=[
            {os.getpid(): GIB, 70: GIB, 71: None},
            {os.getpid(): GIB, 70: 3 * GIB},
            {os.getpid(): GIB},
        ]
    )
    found = watched(machine, gpu)[0].gpu
    assert found is not None
    assert found.others == [
        OtherProcess(pid=70, name="trainer", gpu_bytes=3 * GIB),
        OtherProcess(pid=71, name=None, gpu_bytes=None),
    ]


def test_in_a_container_nobody_on_the_device_can_be_told_from_this_process(machine: Path) -> None:
    telemetry, watch = watched(machine, FakeGpu(processes=[{123456: GIB}]))
    assert telemetry.gpu is not None
    assert telemetry.gpu.others is None
    assert "does not list this process" in telemetry.missing["gpu.others"]
    assert watch.nvml_process_peak_bytes is None
    assert watch.nvml_peak_bytes == 2 * GIB


def test_counters_that_go_backwards_are_null_and_the_rest_stands(machine: Path) -> None:
    gpu = FakeGpu(energy_j=[1000.0, 1001.0, 2.0], ecc=[EccErrors(5, 5), EccErrors(0, 0)], nvlink_bytes=[(9, 9), (0, 9)])
    telemetry, _ = watched(machine, gpu)
    assert telemetry.gpu is not None
    assert (telemetry.gpu.energy_j, telemetry.gpu.ecc_corrected, telemetry.gpu.nvlink_rx_bytes) == (None, None, None)
    assert telemetry.joules_per_iteration is None, "RAPL is not the energy of a GPU"
    assert {name for name, reason in telemetry.missing.items() if reason == "the counter went backwards"} == {
        "gpu.energy_j",
        "gpu.ecc_corrected",
        "gpu.ecc_uncorrected",
        "gpu.nvlink_rx_bytes",
    }
    assert telemetry.gpu.power_w is not None


FIELDS = {
    "memory": [],
    "sm_clock_mhz": ["sm_clock_mhz"],
    "memory_clock_mhz": ["memory_clock_mhz"],
    "power_w": ["power_w"],
    "energy_j": ["energy_j"],
    "temperature_c": ["temperature_c"],
    "utilisation": ["utilisation", "memory_utilisation"],
    "clock_reasons": ["throttled"],
    "ecc": ["ecc_corrected", "ecc_uncorrected"],
    "remapped": ["remapped_rows", "remap_pending"],
    "pcie_rates": ["pcie_rx_bytes", "pcie_tx_bytes"],
    "nvlink_bytes": ["nvlink_rx_bytes", "nvlink_tx_bytes"],
    "processes": ["others"],
}
"""What is asked while watching, and the fields that it fills."""


RARE = {"ecc", "remapped", "pcie_rates"}
"""Asked at both ends, or once a second."""


@pytest.mark.parametrize(
    ("question", "later"), [(question, 0) for question in FIELDS] + [(name, 2) for name in sorted(FIELDS.keys() - RARE)]
)
def test_what_is_not_answered_is_null_with_its_reason_and_the_rest_stands(
    machine: Path, question: str, later: int
) -> None:
    gpu = FakeGpu(**{question: [CALM[question]] * later + [NvmlError("NVML: Not Supported")]})
    telemetry, watch = watched(machine, gpu)
    assert telemetry.gpu is not None
    values = telemetry.gpu.model_dump()
    empty = {name for name, value in values.items() if value is None}
    assert empty == set(FIELDS[question])
    for name in FIELDS[question]:
        assert telemetry.missing[f"gpu.{name}"] == "NVML: Not Supported"
    assert (watch.nvml_peak_bytes is None) == (question == "memory")
    assert (watch.nvml_process_peak_bytes is None) == (question == "processes")
    assert gpu.asked.count(question) == later + 1, "what failed is not asked again"


@pytest.mark.parametrize("kind", ERRORS, ids=lambda kind: kind.__name__)
def test_a_driver_that_refuses_everything_costs_the_gpu_part_alone(
    machine: Path, monkeypatch: pytest.MonkeyPatch, kind: type[Exception]
) -> None:
    module = FakePynvml()
    monkeypatch.setitem(sys.modules, "pynvml", module)
    with Nvml() as nvml:
        gpu = nvml.gpu("one")
        module.answers = dict.fromkeys(module.answers, kind())
        telemetry, watch = watched(machine, gpu, iterations=2)
    assert telemetry.gpu is not None
    assert all(value is None for value in telemetry.gpu.model_dump().values())
    assert {name.partition(".")[2] for name in telemetry.missing if name.startswith("gpu.")} == {
        name for names in FIELDS.values() for name in names
    }
    assert all(reason.startswith("NVML: ") for reason in telemetry.missing.values())
    assert (watch.nvml_peak_bytes, watch.nvml_process_peak_bytes) == (None, None)
    assert telemetry.cpu is not None
    assert telemetry.cpu.governor == "performance"


def test_no_driver_is_fine(machine: Path) -> None:
    with Watch("cuda", root=machine, open_gpu=no_driver, period_ns=NEVER) as watch:
        watch.look()
    telemetry = watch.telemetry([], tokens=1)
    assert telemetry.gpu is None
    assert telemetry.missing == {"gpu": "NVML: Driver Not Loaded"}
    assert watch.nvml_peak_bytes is None
    assert telemetry.joules_per_iteration is None


def test_a_machine_that_tells_nothing(tmp_path: Path) -> None:
    """Neither /proc nor /sys: every null has its reason."""
    with watch_of(tmp_path) as watch:
        watch.look()
    telemetry = watch.telemetry([(0, 1)], tokens=1)
    assert telemetry.cpu is not None
    assert telemetry.cpu.affinity == sorted(os.sched_getaffinity(0))
    nulls = {name for name, value in telemetry.cpu.model_dump().items() if value is None}
    assert nulls == {"rss_peak_bytes", "frequency_mhz", "governor", "others_share", "energy_j"}
    assert {f"cpu.{name}" for name in nulls} | {"cpu.others", "steal_share"} == telemetry.missing.keys()


def worked(machine: Path, seconds: float, microjoules: int) -> None:
    """From now on every processor has worked for ``seconds``, and the package used so much."""
    write_times(machine, {number: [seconds, 0, 0, 0, 0, 0, 0, seconds] for number in os.sched_getaffinity(0)})
    write_rapl(machine, {"0": 5_000_000 + microjoules})


def test_what_happens_while_this_process_waits_is_not_counted(machine: Path) -> None:
    with watch_of(machine) as watch:
        watch.pause()
        worked(machine, 1000.0, 7_000_000)
        watch.look()
        watch.resume()
    telemetry = watch.telemetry([], tokens=1)
    assert telemetry.samples == 0
    assert telemetry.cpu is not None
    assert (telemetry.cpu.others_share, telemetry.steal_share, telemetry.cpu.energy_j) == (0, 0, 0)


def test_what_others_do_in_our_turn_is_counted(machine: Path) -> None:
    with watch_of(machine) as watch:
        write_process(machine, 80, "burner", seconds=1000)
        worked(machine, 1000.0, 7_000_000)
        watch.pause()
        worked(machine, 9000.0, 900_000_000)
        watch.resume()
    telemetry = watch.telemetry([], tokens=1)
    assert telemetry.cpu is not None
    assert (telemetry.cpu.others_share, telemetry.steal_share) == (1, 1)
    assert telemetry.cpu.energy_j == 7
    assert telemetry.cpu.others == [OtherProcess(pid=80, name="burner", cpu_share=1)]
    assert telemetry.cpu.rss_peak_bytes == 2048 * 1024


def test_a_look_that_a_wait_cuts_off_is_dropped(machine: Path) -> None:
    """What it saw may be of somebody else's turn."""
    holder: list[Watch] = []

    class Interrupting(FakeGpu):
        def __getattr__(self, question: str) -> Callable[[], Any]:
            if question == "power_w" and holder:
                holder[0].pause()
                holder[0].resume()
            return super().__getattr__(question)

    with watch_of(machine, Interrupting()) as watch:
        watch.look()
        holder.append(watch)
        watch.look()
        holder.clear()
    assert watch.telemetry([], tokens=1).samples == 1


def test_the_watch_looks_by_itself(machine: Path) -> None:
    """The fake says when it is asked."""
    looked = threading.Semaphore(0)

    class Counting(FakeGpu):
        def __getattr__(self, question: str) -> Callable[[], Any]:
            if question == "power_w":
                looked.release()
            return super().__getattr__(question)

    with watch_of(machine, Counting(), period_ns=1_000_000) as watch:
        for _ in range(3):
            assert looked.acquire(timeout=60)
    assert watch.telemetry([], tokens=1).samples >= 2


def test_short_iterations_are_not_told_one_by_one(machine: Path) -> None:
    telemetry, _ = watched(machine, FakeGpu())
    assert telemetry.per_iteration is None


def test_an_error_of_the_measured_work_ends_the_thread_and_passes(machine: Path) -> None:
    before = threading.active_count()
    with pytest.raises(MemoryError, match="work"), watch_of(machine, FakeGpu()):
        raise MemoryError("work")
    assert threading.active_count() == before


def test_this_machine_is_watched() -> None:
    with Watch("cpu") as watch:
        watch.look()
    telemetry = watch.telemetry([], tokens=1)
    assert telemetry.cpu is not None
    assert telemetry.cpu.affinity == sorted(os.sched_getaffinity(0))
    assert telemetry.cpu.others_share is not None
    assert telemetry.gpu is None
    assert telemetry.threads >= 1
