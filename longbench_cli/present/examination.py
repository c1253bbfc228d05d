"""What ``longbench doctor`` found, as text and as JSON."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any

from longbench_cli.measure.capability import DeviceRates, Timer
from longbench_cli.measure.machine import Machine

_GIB = 2**30


@dataclass(frozen=True, slots=True)
class BackendState:
    """A kernel back end on a device, and why it cannot run there (None if it can)."""

    name: str
    device: str
    why_not: str | None


@dataclass(frozen=True, slots=True)
class Examination:
    """Everything the doctor knows about a machine. Times in ns, memory in bytes, rates a second."""

    version: str
    machine: Machine
    backends: list[BackendState]
    timer: Timer
    rates: list[DeviceRates]
    advice: list[str]

    def as_json(self) -> dict[str, Any]:
        """Plain values, for ``--json``."""
        return asdict(self)

    def as_lines(self) -> Iterator[str]:
        """Text for a reader, a section at a time."""
        machine = self.machine
        cuda = f"CUDA {machine.torch_cuda}" if machine.torch_cuda else "no CUDA"
        yield f"longbench {self.version}, Python {machine.python}, torch {machine.torch} ({cuda}), {machine.system}"
        for title, lines in (
            ("Devices", self._devices()),
            ("Back ends", self._backends()),
            ("Speed", self._speed()),
            ("Precision", self._precision()),
            ("What would improve it", self.advice or ["nothing found: this machine is ready to measure"]),
        ):
            yield ""
            yield title
            yield from (f"  {line}" for line in lines)

    def _devices(self) -> Iterator[str]:
        cpu = self.machine.cpu
        yield (
            f"cpu     {cpu.model}: {_count(cpu.physical_cores, 'physical core')}, "
            f"{cpu.usable_cores} of {cpu.logical_cores} logical usable, {_count(cpu.threads, 'torch thread')}"
        )
        yield f"        {_share(cpu.memory_available, cpu.memory_total)} memory free, load average {cpu.load:.2f}"
        governor = cpu.governor or "not told by the system"
        smt = {True: "on", False: "off", None: "not told by the system"}[cpu.smt]
        yield f"        frequency governor {governor}, SMT {smt}"
        for gpu in self.machine.gpus:
            state = "" if gpu.index < self.machine.torch_gpus else ", which this torch cannot use"
            yield (
                f"cuda:{gpu.index}  {gpu.name}, {_share(gpu.memory_free, gpu.memory_total)} memory free, "
                f"driver {gpu.driver}{state}"
            )
        if not self.machine.gpus:
            yield "cuda    no NVIDIA GPU or no driver"

    def _backends(self) -> Iterator[str]:
        width = max(len(state.name) for state in self.backends)
        for state in self.backends:
            yield f"{state.device:6}  {state.name:{width}}  {state.why_not or 'ready'}"

    def _speed(self) -> Iterator[str]:
        for rates in self.rates:
            products = ", ".join(f"{name} {_flops(rate)}" for name, rate in rates.matmul_flops.items())
            yield f"{rates.device:6}  matmul {products}; copy {rates.copy_bytes / 1e9:.1f} GB/s (read and write)"

    def _precision(self) -> Iterator[str]:
        yield f"timer   step {self.timer.resolution_ns:.0f} ns, a reading costs {self.timer.overhead_ns:.0f} ns"
        for rates in self.rates:
            noise = rates.noise
            yield (
                f"{rates.device:6}  noise floor {noise.drift:.2%} between medians, {noise.iqr:.2%} between single "
                f"repeats ({noise.repeats} of {noise.median_ns / 1e6:.1f} ms)"
            )


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"


def _share(free: int, total: int) -> str:
    return f"{free / _GIB:.1f} of {total / _GIB:.1f} GiB"


def _flops(rate: float) -> str:
    return f"{rate / 1e12:.1f} TFLOP/s" if rate >= 1e12 else f"{rate / 1e9:.1f} GFLOP/s"
