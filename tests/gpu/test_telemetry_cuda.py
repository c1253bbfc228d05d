"""The real GPU while it works: what NVML says of it is plausible, and this process is found on it."""

from __future__ import annotations

import time

import pytest
import torch

from longbench_cli.measure.machine import inspect_gpus
from longbench_cli.measure.telemetry.watch import Watch
from longbench_cli.nvml import CLOCK_REASONS, gpu_of_torch
from longbench_cli.sweep.hardware import free_bytes

pytestmark = pytest.mark.gpu

MIB = 2**20


def test_a_busy_gpu() -> None:
    """Products of matrices for a second, in iterations of some 50 ms."""
    held = torch.randn(8192, 8192, device="cuda", dtype=torch.float16)
    kept = torch.ones(512 * MIB, dtype=torch.int8, device="cuda")
    windows = []
    with Watch("cuda") as watch:
        start = time.perf_counter_ns()
        while time.perf_counter_ns() - start < 1_500_000_000:
            begin = time.perf_counter_ns()
            for _ in range(20):
                held @ held
            torch.cuda.synchronize()
            windows.append((begin, time.perf_counter_ns()))
    telemetry = watch.telemetry(windows, tokens=8192)
    found = telemetry.gpu
    assert found is not None, telemetry.missing
    assert telemetry.samples >= 3
    told = {name for name, value in found.model_dump().items() if value is not None}
    assert {"sm_clock_mhz", "memory_clock_mhz", "power_w", "temperature_c", "utilisation"} <= told, telemetry.missing
    assert found.sm_clock_mhz is not None
    assert found.sm_clock_mhz.low > 0
    assert found.throttled is None or found.throttled.keys() <= set(CLOCK_REASONS.values())
    if "gpu.energy_j" not in telemetry.missing:  # since Volta
        assert found.energy_j is not None
        assert found.energy_j > 0
        assert telemetry.joules_per_iteration is not None
        assert 0 < telemetry.joules_per_iteration * len(windows) <= found.energy_j * 1.01
    assert watch.nvml_peak_bytes is not None
    assert watch.nvml_peak_bytes > held.nbytes + kept.nbytes
    if watch.nvml_process_peak_bytes is not None:  # a container may hide who is who, and then says so
        assert watch.nvml_process_peak_bytes >= torch.cuda.max_memory_allocated()
    else:
        assert telemetry.missing["memory.nvml_process_peak_bytes"]


def test_the_device_is_the_one_that_torch_uses() -> None:
    with gpu_of_torch() as gpu:
        assert gpu.name() == torch.cuda.get_device_name()
        assert abs(gpu.memory().free - torch.cuda.mem_get_info()[0]) < 1024 * MIB
    assert free_bytes("cuda") > 0
    assert torch.cuda.get_device_name() in {gpu.name for gpu in inspect_gpus()}
