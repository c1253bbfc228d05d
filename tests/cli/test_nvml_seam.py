"""The seam to NVML: units, names and reasons, with the module below it faked."""

from __future__ import annotations

import os
import sys
from types import SimpleNamespace

import pynvml
import pytest
import torch
from fake_nvml import ERRORS, GIB, FakePynvml

from longbench_cli.nvml import CLOCK_REASONS, EccErrors, Nvml, NvmlError, Remapped, gpu_of_torch
from longbench_cli.sweep import hardware as hardware_module
from longbench_cli.sweep.hardware import free_bytes


def install(monkeypatch: pytest.MonkeyPatch, module: FakePynvml) -> FakePynvml:
    monkeypatch.setitem(sys.modules, "pynvml", module)
    return module


def test_each_answer_in_the_unit_of_its_name(monkeypatch: pytest.MonkeyPatch) -> None:
    module = install(monkeypatch, FakePynvml(nvmlDeviceGetCurrentClocksEventReasons=0x24))
    with Nvml() as nvml:
        gpu = nvml.gpu("one")
        assert gpu.name() == "Example GPU 0"
        assert gpu.memory().free == 80 * GIB
        assert (gpu.sm_clock_mhz(), gpu.memory_clock_mhz(), gpu.temperature_c()) == (1500, 2600, 55)
        assert (gpu.power_w(), gpu.energy_j()) == (300.5, 1234.567)
        assert gpu.utilisation() == (0.9, 0.4)
        assert gpu.clock_reasons() == {"sw_power_cap", "sw_thermal_slowdown"}
        assert gpu.ecc() == EccErrors(corrected=5, uncorrected=1)
        assert gpu.remapped() == Remapped(rows=3, pending=True)
        assert gpu.pcie_rates() == (10_000, 20_000)
        assert gpu.nvlink_bytes() == (7 * 1024, 8 * 1024)
        assert gpu.processes() == {os.getpid(): GIB, 101: None}
    assert module.opened == 0, "the library is closed as often as it was opened"


def test_every_reason_that_pynvml_knows_has_its_name() -> None:
    """Under the old names and the new; "user defined" is the old name of the second."""

    def snake(name: str) -> str:
        return "".join("_" + letter.lower() if letter.isupper() else letter for letter in name)[1:]

    for prefix in ("nvmlClocksThrottleReason", "nvmlClocksEventReason"):
        known = {snake(name.removeprefix(prefix)): bit for name, bit in vars(pynvml).items() if name.startswith(prefix)}
        for name, bit in known.items():
            if name not in ("none", "all", "unknown", "user_defined_clocks"):
                assert CLOCK_REASONS[bit] == name


def test_a_reason_of_tomorrow_is_told_by_its_number(monkeypatch: pytest.MonkeyPatch) -> None:
    install(monkeypatch, FakePynvml(nvmlDeviceGetCurrentClocksEventReasons=1 << 20 | 1))
    with Nvml() as nvml:
        assert nvml.gpu("one").clock_reasons() == {"gpu_idle", "unknown_0x100000"}


def test_an_old_driver_tells_reasons_under_the_old_name(monkeypatch: pytest.MonkeyPatch) -> None:
    absent = pynvml.NVMLError(pynvml.NVML_ERROR_FUNCTION_NOT_FOUND)
    answers = {
        "nvmlDeviceGetCurrentClocksEventReasons": absent,
        "nvmlDeviceGetCurrentClocksThrottleReasons": 0x8,
    }
    install(monkeypatch, FakePynvml(**answers))
    with Nvml() as nvml:
        assert nvml.gpu("one").clock_reasons() == {"hw_slowdown"}


@pytest.mark.parametrize("kind", ERRORS, ids=lambda kind: kind.__name__)
def test_every_error_of_every_question_is_one_kind_with_a_line(
    monkeypatch: pytest.MonkeyPatch, kind: type[Exception]
) -> None:
    module = install(monkeypatch, FakePynvml())
    with Nvml() as nvml:
        gpu = nvml.gpu("one")
        module.answers = dict.fromkeys(module.answers, kind())
        questions = [name for name in dir(gpu) if not name.startswith("_")]
        assert len(questions) >= 15
        for question in questions:
            with pytest.raises(NvmlError) as caught:
                getattr(gpu, question)()
            assert str(caught.value).startswith("NVML: ")
            assert len(str(caught.value).splitlines()) == 1


def test_a_link_counter_that_fails_by_itself_is_an_error_too(monkeypatch: pytest.MonkeyPatch) -> None:
    failed = [SimpleNamespace(nvmlReturn=pynvml.NVML_ERROR_NOT_SUPPORTED, value=None)] * 2
    install(monkeypatch, FakePynvml(nvmlDeviceGetFieldValues=failed))
    with Nvml() as nvml, pytest.raises(NvmlError, match="Not Supported"):
        nvml.gpu("one").nvlink_bytes()


def test_no_driver_and_no_library(monkeypatch: pytest.MonkeyPatch) -> None:
    install(monkeypatch, FakePynvml(nvmlInit=pynvml.NVMLError(pynvml.NVML_ERROR_DRIVER_NOT_LOADED)))
    with pytest.raises(NvmlError, match="NVML: Driver Not Loaded"):
        Nvml()
    monkeypatch.setitem(sys.modules, "pynvml", None)
    with pytest.raises(NvmlError, match="pynvml"):
        Nvml()


def test_a_library_that_fails_to_close_harms_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    install(monkeypatch, FakePynvml(nvmlShutdown=pynvml.NVMLError(pynvml.NVML_ERROR_GPU_IS_LOST)))
    with Nvml() as nvml:
        assert len(nvml.gpus()) == 2


def torch_sees(monkeypatch: pytest.MonkeyPatch, uuid: str) -> None:
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda: SimpleNamespace(uuid=uuid))
    monkeypatch.setattr(hardware_module, "gpu_name", lambda: "Example GPU")


@pytest.mark.parametrize(("uuid", "name"), [("one", "Example GPU 0"), ("two", "Example GPU 1")])
def test_the_gpu_is_the_one_that_torch_names(monkeypatch: pytest.MonkeyPatch, uuid: str, name: str) -> None:
    """And not the first of NVML's: CUDA_VISIBLE_DEVICES may say otherwise. The second is a part of a GPU (MIG)."""
    install(monkeypatch, FakePynvml())
    torch_sees(monkeypatch, uuid)
    with gpu_of_torch() as gpu:
        assert gpu.name() == name


def test_a_torch_without_gpu_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail() -> None:
        raise AssertionError("Torch not compiled with CUDA enabled")

    monkeypatch.setattr(torch.cuda, "get_device_properties", fail)
    with pytest.raises(NvmlError, match="torch has no GPU: Torch not compiled"), gpu_of_torch():
        pass


def test_free_memory_is_asked_of_nvml_and_else_of_torch(monkeypatch: pytest.MonkeyPatch) -> None:
    contexts = []
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda: contexts.append(1) or (5, 9))
    torch_sees(monkeypatch, "two")
    module = install(monkeypatch, FakePynvml())
    assert free_bytes("cuda") == 79 * GIB
    assert contexts == [], "torch would take memory of the device to answer"
    module.known.clear()
    assert free_bytes("cuda") == 5
