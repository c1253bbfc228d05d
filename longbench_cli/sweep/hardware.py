"""What a device can do at best: read from ``profiles/hardware/*.toml``; whether it is present."""

from __future__ import annotations

import os
import tomllib
from functools import cache
from pathlib import Path
from typing import Annotated, Any, get_args

import psutil
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from longbench_cli.errors import UsageError
from longbench_cli.nvml import NvmlError, gpu_of_torch
from longbench_cli.resources import data_dir
from longbench_cli.sweep.axes import one_of, shown
from longbench_cli.sweep.case import Device, Dtype

DEFAULT_GPU = "h100"
"""What a GPU is taken for when none is present, or one that no profile describes."""

_MOST_BYTES = 16 << 10
"""Longest file of a profile: tomllib's work on a key of n dotted parts grows as n^2."""


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class Link(_Strict):
    """What joins ranks: of one node, or of different ones."""

    source: str = Field(min_length=1, description="where the numbers come from")
    latency_seconds: float = Field(ge=0, le=1, description="of one step from a rank to the next")
    bandwidth: float = Field(gt=0, le=1e18, description="bytes/s that a rank receives, and sends at the same time")


class Network(_Strict):
    """How ranks reach each other."""

    ranks_per_node: int | None = Field(default=None, ge=1, le=10**6, description="most ranks of one node; null for all")
    call_seconds: float = Field(ge=0, le=1, description="of one collective, whatever its size")
    within: str = Field(description="the link between ranks of one node")
    between: str = Field(description="the link between nodes, one of it a rank")
    links: dict[str, Link]

    @model_validator(mode="after")
    def _known(self) -> Network:
        for name in (self.within, self.between):
            if name not in self.links:
                raise ValueError(f"link {name!r} is not among links ({', '.join(self.links) or 'none'})")
        return self


_Rates = dict[Dtype, Annotated[float, Field(gt=0, le=1e21)]]
_Shares = dict[Dtype, Annotated[float, Field(gt=0, le=1)]]


class Hardware(_Strict):
    """Peak rates of a device, and the share of them that attention is assumed to reach.

    Of a CPU the rates are of one core; of a GPU, of the whole.
    """

    name: str
    source: str = Field(description="where the numbers come from")
    match: str | None = Field(default=None, description="part of the name by which torch knows it")
    peak_flops: _Rates = Field(description="dense FLOP/s")
    forward_efficiency: _Shares = Field(description="assumed share of the peak, forward")
    backward_efficiency: _Shares = Field(description="assumed share of the peak, backward")
    memory_bandwidth: float = Field(gt=0, description="bytes/s, of the whole device")
    memory_bytes: int = Field(gt=0)
    overhead_seconds: float = Field(ge=0, description="of one iteration, whatever its size")
    network: Network

    @field_validator("peak_flops", "forward_efficiency", "backward_efficiency")
    @classmethod
    def _complete(cls, given: dict[Dtype, float]) -> dict[Dtype, float]:
        if missing := [name for name in get_args(Dtype) if name not in given]:
            raise ValueError(f"no {missing[0]}: give all of {', '.join(get_args(Dtype))}")
        return given

    @property
    def device(self) -> Device:
        """A profile of a processor has no name by which torch knows it."""
        return "cuda" if self.match else "cpu"


@cache
def load_hardware(name: str) -> Hardware:
    """The profile ``name`` of ``profiles/hardware``."""
    path = data_dir("profiles") / "hardware" / f"{name}.toml"
    return Hardware.model_validate(tomllib.loads(path.read_text(encoding="utf-8")))


def hardware_names() -> list[str]:
    """The hardware profiles that ship with longbench."""
    return sorted(path.stem for path in (data_dir("profiles") / "hardware").glob("*.toml"))


def find_hardware(name: str) -> Hardware:
    """The shipped profile ``name``, or the one in a file if it ends in ``.toml`` or has a folder in it.

    Raises:
        UsageError: it does not exist, cannot be read, or is no hardware profile.
    """
    if not name.endswith(".toml") and os.sep not in name:
        if name not in hardware_names():
            raise UsageError(f"--hardware {shown(name)}: unknown; {one_of(name, hardware_names())}, or a FILE.toml")
        return load_hardware(name)
    try:
        with Path(name).open("rb") as file:
            content = file.read(_MOST_BYTES + 1)
        if len(content) > _MOST_BYTES:
            raise UsageError(f"--hardware {name}: longer than {_MOST_BYTES:,} bytes; give a hardware profile")
        return Hardware.model_validate(tomllib.loads(content.decode("utf-8")))
    except OSError as error:
        raise UsageError(f"--hardware {name}: {error.strerror}; give a readable TOML file") from error
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = ".".join(map(str, first["loc"]))
        raise UsageError(
            f"--hardware {name}: {where}: {first['msg']}; profiles/hardware/h100.toml is an example"
        ) from error
    except (ValueError, RecursionError) as error:  # not UTF-8, not TOML, or a name that no file system takes
        raise UsageError(f"--hardware {name}: not valid TOML: {error}") from error


def hardware_for(gpu: str) -> Hardware | None:
    """The shipped profile of a GPU that is called so; None if none describes it."""
    profiles = map(load_hardware, hardware_names())
    return next((one for one in profiles if one.match and one.match.lower() in gpu.lower()), None)


def hardware_of(device: Device) -> Hardware:
    """The profile of this machine's device, or of :data:`DEFAULT_GPU` if it has no such GPU."""
    if device == "cpu":
        return load_hardware("cpu")
    return hardware_for(gpu_name() or "") or load_hardware(DEFAULT_GPU)


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
