"""Joining the other ranks, by the environment that torchrun gives."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import timedelta

import torch
import torch.distributed as dist

from attention_impls.api import Unsupported
from attention_impls.distributed.comm import Groups, TorchGroups
from longbench_cli.measure.ranks.control import Control, GlooControl

PREFIX = "longbench"
PREFIX_NAME = "LONGBENCH_STORE_PREFIX"
"""Environment: jobs that share a store tell their keys apart by it."""

_JOINING = timedelta(minutes=5)
_FOREVER = timedelta(days=30)
"""A collective that hangs is ended with its process, by whoever watches the point."""


@dataclass(frozen=True, slots=True)
class Place:
    """Which rank this process is. ``local_rank`` and ``local_size`` count those on this machine."""

    rank: int
    world_size: int
    local_rank: int
    local_size: int

    @classmethod
    def of(cls, environment: Mapping[str, str]) -> Place:
        """As torchrun says. Raises KeyError if it did not start this process."""
        world_size = int(environment["WORLD_SIZE"])
        local_size = int(environment.get("LOCAL_WORLD_SIZE", world_size))
        return cls(int(environment["RANK"]), world_size, int(environment["LOCAL_RANK"]), local_size)


@dataclass(frozen=True, slots=True)
class Job:
    """The ranks of a point, joined.

    Attributes:
        place: of this one.
        control: what they agree over.
        groups: what is measured.
        line_up: waits until all are here: processes on a CPU, in stream order the devices on CUDA.
        host: the name of this machine.
        neighbours: process numbers of the other ranks on this machine.
    """

    place: Place
    control: Control
    groups: Groups
    line_up: Callable[[], object]
    host: str
    neighbours: tuple[int, ...]


def take_device(place: Place, device: str) -> str:
    """Make this rank's device the current one, and give its name.

    Raises:
        Unsupported: there are more ranks on this machine than GPUs.
    """
    if device == "cpu":
        return "cpu"
    gpus = torch.cuda.device_count()
    if place.local_rank >= gpus:
        raise Unsupported(
            f"rank {place.rank}: {place.local_size} ranks on this machine, but {gpus} GPUs: each rank needs its own"
        )
    torch.cuda.set_device(place.local_rank)
    return f"{place.local_rank}: {torch.cuda.get_device_name()}"


def join(place: Place, device: str, environment: Mapping[str, str]) -> Job:
    """Meet the other ranks in the store at MASTER_ADDR:MASTER_PORT, which is there already.

    The device of :func:`take_device` is current. Measured is NCCL on CUDA, gloo on a CPU.
    """
    there = dist.TCPStore(  # type: ignore[attr-defined]
        environment["MASTER_ADDR"],
        int(environment["MASTER_PORT"]),
        is_master=False,
        timeout=_JOINING,
        wait_for_workers=False,
    )
    store = dist.PrefixStore(environment.get(PREFIX_NAME, PREFIX), there)  # type: ignore[attr-defined]
    dist.init_process_group(
        "nccl" if device == "cuda" else "gloo",
        store=store,
        rank=place.rank,
        world_size=place.world_size,
        timeout=_FOREVER,
    )
    control = GlooControl(place.rank, place.world_size, dist.new_group(backend="gloo", timeout=_FOREVER))
    peers = control.exchange([socket.gethostname(), os.getpid()])
    host = peers[place.rank][0]
    neighbours = [pid for rank, (where, pid) in enumerate(peers) if where == host and rank != place.rank]
    line_up = _device_line() if device == "cuda" else control.barrier
    return Job(place, control, TorchGroups(_FOREVER), line_up, host, tuple(neighbours))


def _device_line() -> Callable[[], object]:
    """A sum over all devices, queued on the current stream: none is past it before all have come to it."""
    token = torch.zeros(1, device="cuda")
    return lambda: dist.all_reduce(token)
