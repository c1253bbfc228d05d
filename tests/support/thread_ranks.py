"""Ranks as threads: what they agree over, and what they sum, without processes."""

from __future__ import annotations

import copy
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, TypeVar

import torch
from torch import Tensor

T = TypeVar("T")


@dataclass
class _Table:
    """Where all ranks of a world lay something down, and pick up what the others did."""

    world_size: int
    barrier: threading.Barrier = field(init=False)
    laid: list[Any] = field(init=False)

    def __post_init__(self) -> None:
        self.barrier = threading.Barrier(self.world_size, timeout=60)
        self.laid = [None] * self.world_size

    def swap(self, rank: int, mine: Any) -> list[Any]:
        self.laid[rank] = copy.deepcopy(mine)
        self.barrier.wait()
        found = list(self.laid)
        self.barrier.wait()
        return found


@dataclass
class ThreadControl:
    """A :class:`~longbench_cli.measure.ranks.control.Control`, and the all-reduce of a communicator."""

    rank: int
    world_size: int
    table: _Table

    def barrier(self) -> None:
        self.table.barrier.wait()

    def from_lead(self, number: int) -> int:
        return int(self.table.swap(self.rank, number)[0])

    def numbers(self, mine: int) -> list[int]:
        return self.table.swap(self.rank, mine)

    def exchange(self, mine: Any) -> list[Any]:
        return self.table.swap(self.rank, mine)

    def mean(self, x: Tensor) -> None:
        x.copy_(torch.stack(self.table.swap(self.rank, x)).mean(0))

    def all_reduce(self, terms: Tensor) -> Any:
        class Done:
            def wait(self) -> Tensor:
                return found

        found = torch.stack(self.table.swap(self.rank, terms)).sum(0)
        return Done()


def on_ranks(world_size: int, run: Callable[[ThreadControl], T]) -> list[T]:
    """What ``run`` gives on each rank; the first error of a rank is raised once all have ended."""
    table = _Table(world_size)

    def guarded(rank: int) -> T:
        try:
            return run(ThreadControl(rank, world_size, table))
        except BaseException:
            table.barrier.abort()
            raise

    with ThreadPoolExecutor(world_size) as pool:
        futures = [pool.submit(guarded, rank) for rank in range(world_size)]
    errors = [error for future in futures if (error := future.exception()) is not None]
    own = [error for error in errors if not isinstance(error, threading.BrokenBarrierError)]
    if errors:
        raise (own or errors)[0]
    return [future.result() for future in futures]
