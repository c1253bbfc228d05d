"""What the doctor sees of a machine, with /proc, /sys and NVML faked."""

from __future__ import annotations

import sys
from pathlib import Path

import psutil
import pynvml
import pytest
from fake_nvml import FakePynvml

from longbench_cli.measure.machine import cpu_model, inspect_cpu, inspect_gpus


def write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def test_the_processor_as_the_system_tells(tmp_path: Path) -> None:
    write(tmp_path / "proc/cpuinfo", "processor\t: 0\nmodel name\t: Example 9000\n\nmodel name\t: Other\n")
    write(tmp_path / "sys/devices/system/cpu/smt/active", "1\n")
    write(tmp_path / "sys/devices/system/cpu/cpu0/cpufreq/scaling_governor", "powersave\n")
    cpu = inspect_cpu(threads=3, root=tmp_path)
    assert (cpu.model, cpu.smt, cpu.governor, cpu.threads) == ("Example 9000", True, "powersave", 3)
    assert cpu.memory_total == psutil.virtual_memory().total
    assert 1 <= cpu.physical_cores <= cpu.logical_cores


def test_a_processor_that_is_named_by_its_board(tmp_path: Path) -> None:
    write(tmp_path / "proc/cpuinfo", "processor\t: 0\nBogoMIPS\t: 100\n\nModel\t\t: Example Board 4\n")
    assert cpu_model(tmp_path) == "Example Board 4"


def test_a_system_that_does_not_tell(tmp_path: Path) -> None:
    cpu = inspect_cpu(threads=1, root=tmp_path)
    assert (cpu.smt, cpu.governor) == (None, None)
    assert cpu.model


def test_gpus_by_nvml(monkeypatch: pytest.MonkeyPatch) -> None:
    module = FakePynvml()
    monkeypatch.setitem(sys.modules, "pynvml", module)
    first, second = inspect_gpus()
    assert (first.name, first.driver, first.processes, first.persistence) == ("Example GPU 0", "580.10", 2, False)
    assert (second.index, second.memory_free, second.processes, second.persistence) == (1, 79 * 2**30, None, True)
    assert module.opened == 0


def test_no_driver_means_no_gpus(monkeypatch: pytest.MonkeyPatch) -> None:
    refused = pynvml.NVMLError(pynvml.NVML_ERROR_DRIVER_NOT_LOADED)
    monkeypatch.setitem(sys.modules, "pynvml", FakePynvml(nvmlInit=refused))
    assert inspect_gpus() == []
