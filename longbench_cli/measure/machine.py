"""What is in this machine, as far as it bears on a measurement: processors, memory, GPUs, drivers."""

from __future__ import annotations

import platform
from dataclasses import dataclass
from pathlib import Path

import psutil

from longbench_cli import nvml


@dataclass(frozen=True, slots=True)
class Cpu:
    """The processors. Memory in bytes; ``None`` where the system does not say."""

    model: str
    physical_cores: int
    logical_cores: int
    usable_cores: int
    threads: int
    governor: str | None
    smt: bool | None
    load: float
    memory_total: int
    memory_available: int


@dataclass(frozen=True, slots=True)
class Gpu:
    """One GPU as its driver sees it. Memory in bytes."""

    index: int
    name: str
    driver: str
    memory_total: int
    memory_free: int
    processes: int | None
    persistence: bool | None


@dataclass(frozen=True, slots=True)
class Machine:
    """Processors, GPUs and the torch that drives them. ``torch_gpus``: GPUs this torch can use."""

    system: str
    python: str
    torch: str
    torch_cuda: str | None
    torch_gpus: int
    cpu: Cpu
    gpus: list[Gpu]


def inspect_machine() -> Machine:
    """Look at the machine; measures nothing."""
    import torch

    return Machine(
        system=platform.platform(),
        python=platform.python_version(),
        torch=torch.__version__,
        torch_cuda=torch.version.cuda,
        torch_gpus=torch.cuda.device_count() if torch.cuda.is_available() else 0,
        cpu=inspect_cpu(threads=torch.get_num_threads()),
        gpus=inspect_gpus(),
    )


def inspect_cpu(threads: int, root: Path = Path("/")) -> Cpu:
    """The processors; ``root`` is where /proc and /sys are read."""
    memory = psutil.virtual_memory()
    logical = psutil.cpu_count() or 1
    affinity = psutil.Process().cpu_affinity() if hasattr(psutil.Process, "cpu_affinity") else None
    smt = _text(root / "sys/devices/system/cpu/smt/active")
    return Cpu(
        model=cpu_model(root),
        physical_cores=psutil.cpu_count(logical=False) or logical,
        logical_cores=logical,
        usable_cores=len(affinity) if affinity else logical,
        threads=threads,
        governor=_text(root / "sys/devices/system/cpu/cpu0/cpufreq/scaling_governor"),
        smt=None if smt is None else smt == "1",
        load=psutil.getloadavg()[0],
        memory_total=memory.total,
        memory_available=memory.available,
    )


def cpu_model(root: Path = Path("/")) -> str:
    """The processor as /proc/cpuinfo names it (``Model`` on some ARM boards), else its architecture."""
    for line in (_text(root / "proc/cpuinfo") or "").splitlines():
        name, _, value = line.partition(":")
        if name.strip() in ("model name", "Model"):
            return value.strip()
    return platform.processor() or platform.machine()


def _text(path: Path) -> str | None:
    try:
        return path.read_text(encoding="utf-8").strip()
    except OSError:
        return None


def inspect_gpus() -> list[Gpu]:
    """NVIDIA GPUs by NVML; an empty list where there is no driver."""
    try:
        return read_gpus()
    except nvml.NvmlError:
        return []


def read_gpus() -> list[Gpu]:
    """NVIDIA GPUs by NVML.

    Raises:
        NvmlError: there is no driver, or it does not answer.
    """
    with nvml.Nvml() as library:
        driver = library.driver_version()
        return [_gpu(index, driver, gpu) for index, gpu in enumerate(library.gpus())]


def _gpu(index: int, driver: str, gpu: nvml.Gpu) -> Gpu:
    memory = gpu.memory()
    processes: int | None
    persistence: bool | None
    try:
        processes = len(gpu.processes())
    except nvml.NvmlError:  # not on every GPU, and not in every container
        processes = None
    try:
        persistence = gpu.persistence()
    except nvml.NvmlError:
        persistence = None
    return Gpu(
        index=index,
        name=gpu.name(),
        driver=driver,
        memory_total=memory.total,
        memory_free=memory.free,
        processes=processes,
        persistence=persistence,
    )
