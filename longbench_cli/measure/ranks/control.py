"""How ranks agree: small messages over a group that is never the one measured."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import Any, Protocol, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor

from attention_impls.api import Unsupported
from longbench_cli.measure.verify import Together, Wrong

T = TypeVar("T")


class Control(Protocol):
    """Every method is called by all ranks at once. Rank 0 leads."""

    @property
    def rank(self) -> int: ...
    @property
    def world_size(self) -> int: ...
    def barrier(self) -> None:
        """Return when all ranks are here."""
        ...

    def from_lead(self, number: int) -> int:
        """Rank 0's number; those of the others do not matter."""
        ...

    def numbers(self, mine: int) -> list[int]:
        """Each rank's."""
        ...

    def exchange(self, mine: Any) -> list[Any]:
        """Each rank's JSON value."""
        ...

    def mean(self, x: Tensor) -> None:
        """Make ``x``, on the CPU, the mean of all ranks'."""
        ...


class GlooControl:
    """Over a gloo group of all ranks, whatever device they measure: no message of it reaches a GPU."""

    def __init__(self, rank: int, world_size: int, group: dist.ProcessGroup) -> None:
        self.rank, self.world_size = rank, world_size
        self._group = group

    def barrier(self) -> None:
        dist.barrier(self._group)

    def from_lead(self, number: int) -> int:
        told = torch.tensor([number])
        dist.broadcast(told, 0, self._group)
        return int(told)

    def numbers(self, mine: int) -> list[int]:
        return [int(number) for number in self._all(torch.tensor([mine]))]

    def exchange(self, mine: Any) -> list[Any]:
        data = bytearray(json.dumps(mine), "utf-8")
        lengths = self.numbers(len(data))
        padded = torch.zeros(max(lengths), dtype=torch.uint8)
        padded[: len(data)] = torch.frombuffer(data, dtype=torch.uint8)
        texts = zip(self._all(padded), lengths, strict=True)
        return [json.loads(text[:length].numpy().tobytes()) for text, length in texts]

    def mean(self, x: Tensor) -> None:
        dist.all_reduce(x, group=self._group)
        x.div_(self.world_size)

    def _all(self, mine: Tensor) -> list[Tensor]:
        found = [torch.empty_like(mine) for _ in range(self.world_size)]
        dist.all_gather(found, mine, self._group)
        return found


def first_of(reasons: Sequence[str | None]) -> str | None:
    """The first rank's reason that has one, with its rank unless all have the same; None if there is none."""
    given = [(rank, reason) for rank, reason in enumerate(reasons) if reason is not None]
    if not given:
        return None
    rank, reason = given[0]
    return reason if len(given) == len(reasons) and len(set(reasons)) == 1 else f"rank {rank}: {reason}"


def agreed(control: Control, make: Callable[[], T]) -> T:
    """What ``make`` gives on this rank.

    Raises:
        Unsupported: on all ranks, if it was on any.
    """
    made: list[T] = []
    refused: str | None = None
    try:
        made.append(make())
    except Unsupported as error:
        refused = str(error)
    reason = first_of(control.exchange(refused))
    if reason is not None:
        raise Unsupported(reason)
    return made[0]


def together_by(control: Control) -> Together:
    """A check on all ranks: :class:`Wrong` is raised on every one if it was on any, and names the rank."""

    def together(check: Callable[[], T], /) -> T:
        found: list[T] = []
        wrong: tuple[str, float] | None = None
        try:
            found.append(check())
        except Wrong as error:
            wrong = str(error), error.error
        answers = control.exchange(wrong)
        reason = first_of([answer and answer[0] for answer in answers])
        if reason is not None:
            raise Wrong(reason, max(answer[1] for answer in answers if answer is not None))
        return found[0]

    return together
