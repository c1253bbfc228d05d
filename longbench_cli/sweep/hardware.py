"""What a device can do at best: read from ``profiles/hardware/*.toml``; whether it is present."""

from __future__ import annotations

import os
import tomllib
from functools import cache
from typing import Any

import psutil
from pydantic import BaseModel, ConfigDict, Field

from longbench_cli.nvml import NvmlError, gpu_of_torch
from longbench_cli.resources import data_dir
from longbench_cli.sweep.case import Device, Dtype

DEFAULT_GPU = "h100"
"""What a GPU is taken for when none is present, or one that no profile describes."""


class Hardware(BaseModel):
    """Peak rates of a device, and the share of them that attention is assumed to reach.

    Of a CPU the rates are of one core; of a GPU, of the whole.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str
    source: str = Field(description="where the numbers come from")
    match: str | None = Field(default=None, description="part of the name by which torch knows it")
    peak_flops: dict[Dtype, float] = Field(description="dense FLOP/s")
    forward_efficiency: dict[Dtype, float] = Field(description="assumed share of the peak, forward")
    backward_efficiency: dict[Dtype, float] = Field(description="assumed share of the peak, backward")
    memory_bandwidth: float = Field(gt=0, description="bytes/s, of the whole device")
    memory_bytes: int = Field(gt=0)
    overhead_seconds: float = Field(ge=0, description="of one iteration, whatever its size")


@cache
def load_hardware(name: str) -> Hardware:
    """The profile ``name`` of ``profiles/hardware``."""
    path = data_dir("profiles") / "hardware" / f"{name}.toml"
    return Hardware.model_validate(tomllib.loads(path.read_text(encoding="utf-8")))


def hardware_of(device: Device) -> Hardware:
    """The profile of this machine's device, or of :data:`DEFAULT_GPU` if it has no such GPU."""
    if device == "cpu":
        return load_hardware("cpu")
    name = gpu_name() or ""
    for path in sorted((data_dir("profiles") / "hardware").glob("*.toml")):
        profile = load_hardware(path.stem)
        if profile.match and profile.match.lower() in name.lower():
            return profile
    return load_hardware(DEFAULT_GPU)


@cache
def gpu_name() -> str | None:
    """The first GPU as torch names it; None if torch sees none. Imports torch."""
    torch = _torch()
    return str(torch.cuda.get_device_name(0)) if torch is not None and torch.cuda.is_available() else None


def detect_device() -> Device:
    """``cuda`` if torch sees a GPU, else ``cpu``. Imports torch."""
    torch = _torch()
    return "cuda" if torch is not None and torch.cuda.is_available() else "cpu"


def free_bytes(device: Device) -> int:
    """Memory that is free now, in bytes; of a GPU that is not present, all that its profile has."""
    if device == "cpu":
        return int(psutil.virtual_memory().available)
    if gpu_name() is None:
        return hardware_of(device).memory_bytes
    try:
        with gpu_of_torch() as gpu:
            return gpu.memory().free
    except NvmlError:  # torch can tell as well, but takes memory of the device for it
        import torch

        return int(torch.cuda.mem_get_info()[0])


def usable_cores() -> int:
    """Physical cores that this process may run on, at least 1."""
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else psutil.cpu_count() or 1
    return max(1, min(allowed, psutil.cpu_count(logical=False) or allowed))


def _torch() -> Any | None:
    """torch, or None where it does not import: a plan can be looked at without it."""
    try:
        import torch
    except (ImportError, OSError):  # OSError: a shared library that it needs is missing
        return None
    return torch
