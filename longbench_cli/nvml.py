"""NVML, what NVIDIA's driver says of its GPUs: the only place that asks it.

Imports neither torch nor pynvml until something is asked.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Final, Protocol, Self

CLOCK_REASONS: Final = {
    0x001: "gpu_idle",
    0x002: "applications_clocks_setting",
    0x004: "sw_power_cap",
    0x008: "hw_slowdown",
    0x010: "sync_boost",
    0x020: "sw_thermal_slowdown",
    0x040: "hw_thermal_slowdown",
    0x080: "hw_power_brake_slowdown",
    0x100: "display_clock_setting",
    0x200: "board_limit",
    0x400: "reliability",
}
"""Bits of the clock event (once: throttle) reasons, as nvml.h names them."""

_ALL_LINKS = 0xFFFFFFFF
_KIB = 1024


class NvmlError(Exception):
    """NVML does not answer; the message says why, in one line."""


@dataclass(frozen=True, slots=True)
class DeviceMemory:
    """Bytes of the whole device."""

    total: int
    free: int
    used: int


@dataclass(frozen=True, slots=True)
class EccErrors:
    """Errors of its memory since the driver was loaded."""

    corrected: int
    uncorrected: int


@dataclass(frozen=True, slots=True)
class Remapped:
    """Rows of its memory that were replaced by spare ones, and whether some wait for a reset."""

    rows: int
    pending: bool


class Gpu(Protocol):
    """What is asked of one GPU. Each question may raise :class:`NvmlError`."""

    def name(self) -> str: ...
    def memory(self) -> DeviceMemory: ...
    def persistence(self) -> bool: ...
    def sm_clock_mhz(self) -> float: ...
    def memory_clock_mhz(self) -> float: ...
    def power_w(self) -> float: ...
    def energy_j(self) -> float:
        """Joules since the driver was loaded."""
        ...

    def temperature_c(self) -> float: ...
    def utilisation(self) -> tuple[float, float]:
        """Shares of a recent second or less in which a kernel ran, and in which memory was used."""
        ...

    def clock_reasons(self) -> frozenset[str]:
        """Why its clocks are what they are: names of :data:`CLOCK_REASONS`."""
        ...

    def ecc(self) -> EccErrors: ...
    def remapped(self) -> Remapped: ...
    def pcie_rates(self) -> tuple[float, float]:
        """Bytes a second received and sent just now; takes some 40 ms, most of them asleep."""
        ...

    def nvlink_bytes(self) -> tuple[int, int]:
        """Bytes received and sent over all links since the driver was loaded."""
        ...

    def processes(self) -> dict[int, int | None]:
        """Who has a context on it: process number to bytes held, None where they are not told."""
        ...


class Nvml:
    """The library, open: a context manager.

    Raises:
        NvmlError: pynvml does not import, or there is no driver.
    """

    def __init__(self) -> None:
        try:
            import pynvml
        except ImportError as error:
            raise NvmlError(f"pynvml does not import: {error}") from error
        self._pynvml = pynvml
        _ask(pynvml, "nvmlInit")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with suppress(NvmlError):
            _ask(self._pynvml, "nvmlShutdown")

    def driver_version(self) -> str:
        return str(_ask(self._pynvml, "nvmlSystemGetDriverVersion"))

    def gpus(self) -> list[Gpu]:
        """All GPUs in the order of their buses."""
        count = int(_ask(self._pynvml, "nvmlDeviceGetCount"))
        handles = [_ask(self._pynvml, "nvmlDeviceGetHandleByIndex", index) for index in range(count)]
        return [_PynvmlGpu(self._pynvml, handle) for handle in handles]

    def gpu(self, uuid: str) -> Gpu:
        """The GPU, or the part of one (MIG), that torch names by ``uuid``."""
        try:
            handle = _ask(self._pynvml, "nvmlDeviceGetHandleByUUID", f"GPU-{uuid}")
        except NvmlError:
            handle = _ask(self._pynvml, "nvmlDeviceGetHandleByUUID", f"MIG-{uuid}")
        return _PynvmlGpu(self._pynvml, handle)


@contextmanager
def gpu_of_torch() -> Iterator[Gpu]:
    """torch's current GPU, whatever CUDA_VISIBLE_DEVICES makes of their order; opens no CUDA context.

    Raises:
        NvmlError: torch has no GPU, or NVML does not know it.
    """
    import torch

    try:
        uuid = str(torch.cuda.get_device_properties().uuid)
    except (RuntimeError, AssertionError) as error:  # no driver; a torch without CUDA
        raise NvmlError(f"torch has no GPU: {_first_line(error)}") from error
    with Nvml() as nvml:
        yield nvml.gpu(uuid)


def _ask(pynvml: Any, function: str, *args: object) -> Any:
    try:
        return getattr(pynvml, function)(*args)
    except pynvml.NVMLError as error:
        raise NvmlError(f"NVML: {_first_line(error)}") from error


def _first_line(error: BaseException) -> str:
    text = str(error).strip()
    return text.splitlines()[0] if text else type(error).__name__


class _PynvmlGpu:
    """A device handle of pynvml."""

    def __init__(self, pynvml: Any, handle: Any) -> None:
        self._pynvml = pynvml
        self._handle = handle

    def _get(self, what: str, *args: object) -> Any:
        return _ask(self._pynvml, f"nvmlDeviceGet{what}", self._handle, *args)

    def name(self) -> str:
        return str(self._get("Name"))

    def memory(self) -> DeviceMemory:
        found = self._get("MemoryInfo")
        return DeviceMemory(total=int(found.total), free=int(found.free), used=int(found.used))

    def persistence(self) -> bool:
        return bool(self._get("PersistenceMode"))

    def sm_clock_mhz(self) -> float:
        return float(self._get("ClockInfo", self._pynvml.NVML_CLOCK_SM))

    def memory_clock_mhz(self) -> float:
        return float(self._get("ClockInfo", self._pynvml.NVML_CLOCK_MEM))

    def power_w(self) -> float:
        return float(self._get("PowerUsage")) / 1e3

    def energy_j(self) -> float:
        return float(self._get("TotalEnergyConsumption")) / 1e3

    def temperature_c(self) -> float:
        return float(self._get("Temperature", self._pynvml.NVML_TEMPERATURE_GPU))

    def utilisation(self) -> tuple[float, float]:
        found = self._get("UtilizationRates")
        return found.gpu / 100, found.memory / 100

    def clock_reasons(self) -> frozenset[str]:
        try:
            bits = int(self._get("CurrentClocksEventReasons"))
        except NvmlError:  # a driver before 535 has the old name alone
            bits = int(self._get("CurrentClocksThrottleReasons"))
        seen = [1 << place for place in range(bits.bit_length()) if bits >> place & 1]
        return frozenset(CLOCK_REASONS.get(bit, f"unknown_{bit:#x}") for bit in seen)

    def ecc(self) -> EccErrors:
        volatile = self._pynvml.NVML_VOLATILE_ECC
        corrected = self._get("TotalEccErrors", self._pynvml.NVML_MEMORY_ERROR_TYPE_CORRECTED, volatile)
        uncorrected = self._get("TotalEccErrors", self._pynvml.NVML_MEMORY_ERROR_TYPE_UNCORRECTED, volatile)
        return EccErrors(int(corrected), int(uncorrected))

    def remapped(self) -> Remapped:
        corrected, uncorrected, pending, _failed = self._get("RemappedRows")
        return Remapped(rows=int(corrected) + int(uncorrected), pending=bool(pending))

    def pcie_rates(self) -> tuple[float, float]:
        received = self._get("PcieThroughput", self._pynvml.NVML_PCIE_UTIL_RX_BYTES)
        sent = self._get("PcieThroughput", self._pynvml.NVML_PCIE_UTIL_TX_BYTES)
        return received * 1e3, sent * 1e3

    def nvlink_bytes(self) -> tuple[int, int]:
        fields = (
            self._pynvml.NVML_FI_DEV_NVLINK_THROUGHPUT_DATA_RX,
            self._pynvml.NVML_FI_DEV_NVLINK_THROUGHPUT_DATA_TX,
        )
        received, sent = self._get("FieldValues", [(field, _ALL_LINKS) for field in fields])
        for value in (received, sent):
            if value.nvmlReturn != self._pynvml.NVML_SUCCESS:
                raise NvmlError(f"NVML: {_first_line(self._pynvml.NVMLError(value.nvmlReturn))}")
        return int(received.value.ullVal) * _KIB, int(sent.value.ullVal) * _KIB

    def processes(self) -> dict[int, int | None]:
        listed = [*self._get("ComputeRunningProcesses"), *self._get("GraphicsRunningProcesses")]
        found: dict[int, int | None] = {}
        for process in listed:  # one that computes and draws is in both lists, with all its bytes
            found[int(process.pid)] = None if process.usedGpuMemory is None else int(process.usedGpuMemory)
        return found
