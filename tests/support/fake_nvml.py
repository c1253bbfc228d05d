"""NVML without a driver: a GPU whose answers are scripted, and the pynvml module below the seam."""

from __future__ import annotations

import os
import types
from collections.abc import Iterator
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any

import pynvml

from longbench_cli.nvml import DeviceMemory, EccErrors, Gpu, NvmlError, Remapped

GIB = 2**30
ERRORS: list[type[Exception]] = sorted(
    (kind for kind in vars(pynvml).values() if isinstance(kind, type) and pynvml.NVMLError in kind.__bases__),
    key=lambda kind: kind.__name__,
)
"""Every error that pynvml can raise."""

CALM: dict[str, Any] = {
    "name": "Example GPU",
    "memory": DeviceMemory(total=80 * GIB, free=78 * GIB, used=2 * GIB),
    "persistence": True,
    "sm_clock_mhz": 1500.0,
    "memory_clock_mhz": 2600.0,
    "power_w": 300.0,
    "energy_j": 1000.0,
    "temperature_c": 50.0,
    "utilisation": (0.9, 0.4),
    "clock_reasons": frozenset[str](),
    "ecc": EccErrors(corrected=3, uncorrected=0),
    "remapped": Remapped(rows=1, pending=False),
    "pcie_rates": (1e6, 2e6),
    "nvlink_bytes": (0, 0),
    "processes": {os.getpid(): GIB},
}
"""What a GPU answers that nothing happens to."""


class FakeGpu:
    """``scripts``: a question's answers in order, the last one for ever; an NvmlError among them is raised."""

    def __init__(self, **scripts: list[Any]) -> None:
        assert scripts.keys() <= CALM.keys()
        self._scripts = {question: list(scripts.get(question, [answer])) for question, answer in CALM.items()}
        self.asked: list[str] = []

    def __getattr__(self, question: str) -> Any:
        script = self._scripts[question]

        def answer() -> Any:
            self.asked.append(question)
            found = script.pop(0) if len(script) > 1 else script[0]
            if isinstance(found, NvmlError):
                raise found
            return found

        return answer


@contextmanager
def no_driver() -> Iterator[Gpu]:
    """As a watch finds that there is none."""
    raise NvmlError("NVML: Driver Not Loaded")
    yield


class FakePynvml(types.ModuleType):
    """Stands in for the module pynvml: two GPUs, the second with no list of processes.

    ``answers``: a function's name to what it returns, or to a function of its arguments, or to the error
    that it raises. Constants and errors are the real ones.
    """

    def __init__(self, **answers: Any) -> None:
        super().__init__("pynvml")
        self.opened = 0
        self.known = {"GPU-one": 0, "MIG-two": 1}
        self.answers = {
            "nvmlSystemGetDriverVersion": "580.10",
            "nvmlDeviceGetCount": 2,
            "nvmlDeviceGetHandleByIndex": lambda index: index,
            "nvmlDeviceGetHandleByUUID": self._by_uuid,
            "nvmlDeviceGetName": lambda handle: f"Example GPU {handle}",
            "nvmlDeviceGetMemoryInfo": lambda handle: SimpleNamespace(
                total=80 * GIB, free=(80 - handle) * GIB, used=handle * GIB
            ),
            "nvmlDeviceGetPersistenceMode": lambda handle: handle,
            "nvmlDeviceGetClockInfo": lambda _handle, clock: {
                pynvml.NVML_CLOCK_SM: 1500,
                pynvml.NVML_CLOCK_MEM: 2600,
            }[clock],
            "nvmlDeviceGetPowerUsage": 300_500,
            "nvmlDeviceGetTotalEnergyConsumption": 1_234_567,
            "nvmlDeviceGetTemperature": 55,
            "nvmlDeviceGetUtilizationRates": SimpleNamespace(gpu=90, memory=40),
            "nvmlDeviceGetCurrentClocksEventReasons": 0,
            "nvmlDeviceGetCurrentClocksThrottleReasons": 0,
            "nvmlDeviceGetTotalEccErrors": lambda _handle, kind, _since: {
                pynvml.NVML_MEMORY_ERROR_TYPE_CORRECTED: 5,
                pynvml.NVML_MEMORY_ERROR_TYPE_UNCORRECTED: 1,
            }[kind],
            "nvmlDeviceGetRemappedRows": (2, 1, 1, 0),
            "nvmlDeviceGetPcieThroughput": lambda _handle, side: {
                pynvml.NVML_PCIE_UTIL_RX_BYTES: 10,
                pynvml.NVML_PCIE_UTIL_TX_BYTES: 20,
            }[side],
            "nvmlDeviceGetFieldValues": self._fields,
            "nvmlDeviceGetComputeRunningProcesses": self._processes,
            "nvmlDeviceGetGraphicsRunningProcesses": [],
        } | answers

    def __getattr__(self, name: str) -> Any:
        real = getattr(pynvml, name)
        return (lambda *args: self._answer(name, args)) if name.startswith("nvml") and callable(real) else real

    def _answer(self, name: str, args: tuple[Any, ...]) -> Any:
        if name in ("nvmlInit", "nvmlShutdown") and name not in self.answers:
            self.opened += 1 if name == "nvmlInit" else -1
            return None
        answer = self.answers[name]
        if isinstance(answer, Exception):
            raise answer
        return answer(*args) if callable(answer) else answer

    def _by_uuid(self, uuid: str) -> int:
        if uuid not in self.known:
            raise pynvml.NVMLError(pynvml.NVML_ERROR_NOT_FOUND)
        return self.known[uuid]

    def _processes(self, handle: int) -> list[SimpleNamespace]:
        if handle:
            raise pynvml.NVMLError(pynvml.NVML_ERROR_NOT_SUPPORTED)
        return [
            SimpleNamespace(pid=os.getpid(), usedGpuMemory=GIB),
            SimpleNamespace(pid=101, usedGpuMemory=None),
        ]

    def _fields(self, _handle: int, fields: list[tuple[int, int]]) -> list[SimpleNamespace]:
        kib = {
            pynvml.NVML_FI_DEV_NVLINK_THROUGHPUT_DATA_RX: 7,
            pynvml.NVML_FI_DEV_NVLINK_THROUGHPUT_DATA_TX: 8,
        }
        all_links = 2**32 - 1
        return [
            SimpleNamespace(
                nvmlReturn=pynvml.NVML_SUCCESS if scope == all_links else pynvml.NVML_ERROR_INVALID_ARGUMENT,
                value=SimpleNamespace(ullVal=kib[field]),
            )
            for field, scope in fields
        ]
