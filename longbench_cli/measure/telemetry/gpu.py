"""One GPU, asked through the NVML seam; what it does not answer is null, with the reason."""

from __future__ import annotations

import os
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from longbench_cli.measure.telemetry.answers import Answers
from longbench_cli.measure.telemetry.counters import Counter
from longbench_cli.measure.telemetry.processes import is_fellow, name_of
from longbench_cli.measure.types import OtherProcess
from longbench_cli.nvml import EccErrors, Gpu, Remapped

PCIE_EVERY_NS = 1_000_000_000
"""A question about PCIe keeps the driver busy for 40 ms, so it is put once a second."""

_DEVICE_PEAK, _OWN_PEAK, _OTHERS = "memory.nvml_peak_bytes", "memory.nvml_process_peak_bytes", "gpu.others"


@dataclass(frozen=True, slots=True)
class Health:
    """The memory's errors and replacements; None is what is not told."""

    ecc: EccErrors | None
    remapped: Remapped | None


class GpuReader:
    """Asks ``gpu``; remembers the most memory seen in use and every other process seen on it but its ``own``."""

    def __init__(
        self, gpu: Gpu, root: Path, answers: Answers, pid: int | None = None, own: Collection[int] = ()
    ) -> None:
        self._gpu = gpu
        self._root = root
        self._answers = answers
        self._pid = os.getpid() if pid is None else pid
        self._own = own
        self._peak = 0
        self._own_peak: int | None = None
        self._own_seen = False
        self._others: dict[int, OtherProcess | None] = {}
        self._pcie_at_ns: int | None = None

    def counters(self) -> dict[Counter, float]:
        """Joules and bytes that the device counts itself."""
        found: dict[Counter, float] = {}
        joules = self._answers.ask(Counter.GPU_J, self._gpu.energy_j)
        if joules is not None:
            found[Counter.GPU_J] = joules
        links = self._answers.ask(Counter.NVLINK_RX, self._gpu.nvlink_bytes, Counter.NVLINK_TX)
        if links is not None:
            found[Counter.NVLINK_RX], found[Counter.NVLINK_TX] = links
        return found

    def gauges(self) -> dict[str, Any]:
        """What holds at this moment: fields of :class:`Look`."""
        ask, gpu = self._answers.ask, self._gpu
        used, memory_used = ask("gpu.utilisation", gpu.utilisation, "gpu.memory_utilisation") or (None, None)
        return {
            "sm_clock_mhz": ask("gpu.sm_clock_mhz", gpu.sm_clock_mhz),
            "memory_clock_mhz": ask("gpu.memory_clock_mhz", gpu.memory_clock_mhz),
            "power_w": ask("gpu.power_w", gpu.power_w),
            "temperature_c": ask("gpu.temperature_c", gpu.temperature_c),
            "utilisation": used,
            "memory_utilisation": memory_used,
            "reasons": ask("gpu.throttled", gpu.clock_reasons),
        }

    def pcie(self, now_ns: int) -> tuple[float, float] | None:
        """Bytes a second received and sent; None also where it was asked less than a second ago."""
        if self._pcie_at_ns is not None and now_ns - self._pcie_at_ns < PCIE_EVERY_NS:
            return None
        self._pcie_at_ns = now_ns
        return self._answers.ask("gpu.pcie_rx_bytes", self._gpu.pcie_rates, "gpu.pcie_tx_bytes")

    def health(self) -> Health:
        """Errors so far."""
        return Health(
            self._answers.ask("gpu.ecc_corrected", self._gpu.ecc, "gpu.ecc_uncorrected"),
            self._answers.ask("gpu.remapped_rows", self._gpu.remapped, "gpu.remap_pending"),
        )

    def look_at_memory(self) -> None:
        """Who is on the device, and what is in use."""
        memory = self._answers.ask(_DEVICE_PEAK, self._gpu.memory)
        if memory is not None:
            self._peak = max(self._peak, memory.used)
        for pid, held in (self._answers.ask(_OTHERS, self._gpu.processes) or {}).items():
            if pid == self._pid:
                self._own_seen = True
                if held is not None:
                    self._own_peak = max(self._own_peak or 0, held)
            elif pid not in self._own:
                self._note(pid, held)

    def _note(self, pid: int, held: int | None) -> None:
        if pid not in self._others:
            fellow = is_fellow(self._root, pid)
            self._others[pid] = None if fellow else OtherProcess(pid=pid, name=name_of(self._root, pid))
        known = self._others[pid]
        if known is not None and held is not None and held > (known.gpu_bytes or 0):
            self._others[pid] = known.model_copy(update={"gpu_bytes": held})

    def finish(self) -> None:
        """Say why, where memory and processes have no answer."""
        answers = self._answers
        if _OTHERS not in answers.missing and not self._own_seen:
            answers.lost(
                _OTHERS, "NVML does not list this process: it numbers them otherwise, as outside of a container"
            )
        if _OTHERS in answers.missing:
            answers.lost(_OWN_PEAK, answers.missing[_OTHERS])
        elif self._own_peak is None:
            answers.lost(_OWN_PEAK, "NVML lists this process without its memory")

    @property
    def peak_bytes(self) -> int | None:
        """The most seen in use on the whole device."""
        return None if _DEVICE_PEAK in self._answers.missing else self._peak

    @property
    def own_peak_bytes(self) -> int | None:
        """The most seen held by this process."""
        return None if _OTHERS in self._answers.missing else self._own_peak

    @property
    def others(self) -> list[OtherProcess] | None:
        """Every other process that was seen, the one that held most first."""
        if _OTHERS in self._answers.missing:
            return None
        seen = [process for process in self._others.values() if process is not None]
        return sorted(seen, key=lambda process: (-(process.gpu_bytes or 0), process.pid))
