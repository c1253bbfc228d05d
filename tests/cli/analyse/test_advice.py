"""The doctor's remedies: none for a good machine, the right one for each fault."""

from __future__ import annotations

from dataclasses import replace

import pytest

from longbench_cli.analyse.advice import advise
from longbench_cli.measure.capability import DeviceRates, Noise
from longbench_cli.measure.machine import Cpu, Gpu, Machine

CPU = Cpu(
    model="Example",
    physical_cores=8,
    logical_cores=8,
    usable_cores=8,
    threads=8,
    governor="performance",
    smt=False,
    load=0.1,
    memory_total=2**36,
    memory_available=2**35,
)
GPU = Gpu(
    index=0, name="Example GPU", driver="580", memory_total=2**36, memory_free=2**36, processes=0, persistence=True
)
MACHINE = Machine(system="Linux", python="3.11", torch="2.13.0", torch_cuda="13.0", torch_gpus=1, cpu=CPU, gpus=[GPU])
RATES = DeviceRates(
    device="cpu",
    matmul_flops={"fp32": 1e12},
    copy_bytes=1e10,
    noise=Noise(repeats=400, median_ns=5e6, iqr=0.004, drift=0.005),
)


def test_a_good_machine_needs_nothing() -> None:
    assert advise(MACHINE, [RATES], {}) == []


@pytest.mark.parametrize(
    ("change", "remedy"),
    [
        ({"governor": "powersave"}, "cpupower frequency-set --governor performance"),
        ({"load": 3.0}, "load average 3.00 on 8 cores"),
        ({"smt": True, "logical_cores": 16, "usable_cores": 16}, "SMT is on"),
        ({"threads": 16, "usable_cores": 16}, "--threads 8"),
        ({"usable_cores": 2}, "--threads 2"),
    ],
)
def test_each_fault_of_the_processor_has_its_remedy(change: dict[str, object], remedy: str) -> None:
    (line,) = advise(replace(MACHINE, cpu=replace(CPU, **change)), [RATES], {})
    assert remedy in line


def test_a_noisy_device_is_named_with_its_drift() -> None:
    noisy = replace(RATES, device="cuda", noise=replace(RATES.noise, drift=0.09))
    (line,) = advise(MACHINE, [RATES, noisy], {})
    assert line.startswith("cuda: repeats drift by 9.0%")


def test_a_gpu_that_torch_cannot_use() -> None:
    (line,) = advise(replace(MACHINE, torch_cuda=None, torch_gpus=0), [RATES], {})
    assert "built without CUDA" in line
    assert "driver 580" in line


def test_a_gpu_that_others_use() -> None:
    lines = advise(replace(MACHINE, gpus=[replace(GPU, processes=2, persistence=False)]), [RATES], {})
    assert ["already runs 2" in lines[0], "nvidia-smi -pm 1" in lines[1]] == [True, True]


def test_a_missing_flash_attn_matters_only_beside_a_gpu() -> None:
    missing = {"flash-attn-2": "the package flash-attn is not installed", "sdpa-cudnn": "no"}
    (line,) = advise(MACHINE, [RATES], missing)
    assert "flash-attn-2" in line
    assert "longbench-cli[flash]" in line
    assert advise(replace(MACHINE, gpus=[], torch_gpus=0), [RATES], missing) == []
