"""One run on the many processes of a torchrun job: rank 0 leads, the others follow, and each watches over its rank.

What is left at the store, by name:

    hello/RANK        who a supervisor is: host, versions, GPUs
    order/N           the point number N, and how many ranks share it; or that the run is over, and its exit code
    over/N            the point is over: a rank fell, or rank 0's supervisor has what it wanted
    report/N/RANK     how a rank ended
    bye/RANK          that supervisor has heard that the run is over
    lost, beat/RANK   :mod:`longbench_cli.execute.heart`
"""

from __future__ import annotations

import platform
import socket
import time
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from importlib.metadata import version
from typing import Any

from longbench_cli import __version__
from longbench_cli.errors import UsageError
from longbench_cli.execute.heart import Heart
from longbench_cli.execute.post import JobLost, Post
from longbench_cli.execute.seat import Seat

LOOK_EVERY_S = 1.0
"""How often a supervisor asks whether a point that it watches over is over elsewhere: seldom, for it is measured."""

WAIT_STEP_S = 0.05
"""The same, while nothing is measured."""

JOIN_WITHIN_S = 300.0
"""How long supervisors may take to start: torchrun has started them all at once."""

BYE_WITHIN_S = 10.0


@dataclass(frozen=True, slots=True)
class Introduction:
    """Who a supervisor is.

    Attributes:
        versions: of what must be the same everywhere, by name.
        gpus: that torch can use there.
        local_size: supervisors on that machine.
    """

    rank: int
    host: str
    versions: dict[str, str]
    gpus: int
    local_size: int

    def __str__(self) -> str:
        return f"rank {self.rank} on {self.host}"


def introduce(seat: Seat) -> Introduction:
    """This process."""
    import torch

    versions = {"longbench": __version__, "torch": version("torch"), "python": platform.python_version()}
    gpus = torch.cuda.device_count() if torch.cuda.is_available() else 0
    return Introduction(seat.rank, socket.gethostname(), versions, gpus, seat.local_size)


class Supervisor:
    """What all supervisors of a job have: a place, the store, and a heart."""

    def __init__(self, seat: Seat, post: Post, own: Introduction, store_prefix: str) -> None:
        self.seat, self.post, self.own, self.store_prefix = seat, post, own, store_prefix
        self.heart = Heart(seat, post, self.named)

    def greet(self) -> None:
        self.post.put(f"hello/{self.seat.rank}", asdict(self.own))

    def introduction(self, rank: int) -> Introduction | None:
        """Who ``rank`` is; None if it has not joined."""
        told: dict[str, Any] | None = self.post.take(f"hello/{rank}")
        return None if told is None else Introduction(**told)

    def named(self, rank: int) -> str:
        return str(self.introduction(rank) or f"rank {rank}")

    def environment(self, number: int, world_size: int) -> dict[str, str]:
        """That of this supervisor's rank of point ``number``: its ranks meet under a prefix of their own."""
        return self.seat.environment(world_size, f"{self.store_prefix}/point/{number}")


class Leader(Supervisor):
    """Rank 0's supervisor, which is the command itself: it plans, records and prints.

    Attributes:
        ordered: points given to the job so far.
    """

    def __init__(self, seat: Seat, post: Post, own: Introduction, store_prefix: str) -> None:
        super().__init__(seat, post, own, store_prefix)
        self.ordered = 0
        self.crew: list[Introduction] = [own]

    def muster(self) -> None:
        """Wait until all have joined.

        Raises:
            UsageError: one does not come, or is of another version.
            JobLost: one was ended meanwhile, or the store is gone.
        """
        self.greet()
        others = range(1, self.seat.size)
        missing = self.wait_for_all("hello", others, JOIN_WITHIN_S)
        if self.heart.lost is not None:
            raise JobLost(self.heart.lost)
        if missing:
            raise UsageError(
                f"{len(missing)} of the job's {self.seat.size} processes did not come within {JOIN_WITHIN_S:g} s "
                f"({', '.join(f'rank {rank}' for rank in missing[:3])}): look at torchrun's output on their machines"
            )
        self.crew = [self.own, *(one for rank in others if (one := self.introduction(rank)) is not None)]
        self._refuse_other_versions()

    def _refuse_other_versions(self) -> None:
        for other in self.crew[1:]:
            differ = [
                f"{name} {other.versions.get(name)} there and {own} here"
                for name, own in self.own.versions.items()
                if other.versions.get(name) != own
            ]
            if differ:
                raise UsageError(
                    f"{other} is not of the versions of {self.own}: {', '.join(differ)}: "
                    "all machines of a job need the same"
                )

    def refuse(self, ranks: int, *, cuda: bool) -> None:
        """Refuse a plan of points of ``ranks`` at most.

        Raises:
            UsageError: the job has fewer, or a machine fewer GPUs than ranks.
        """
        if ranks > self.seat.size:
            raise UsageError(
                f"--gpus {ranks}: this job has {self.seat.size} ranks: ask for fewer, or start more with torchrun "
                "(--nnodes times --nproc-per-node)"
            )
        for one in self.crew:
            if cuda and one.gpus < one.local_size:
                fewer = f"start torchrun there with --nproc-per-node {one.gpus}, or " if one.gpus else ""
                raise UsageError(
                    f"{one.host} has {one.local_size} of this job's ranks, and GPUs for {one.gpus}: "
                    f"{fewer}measure with --device cpu"
                )

    def end(self, code: int) -> None:
        """The run is over: all others end with ``code`` too, so that torchrun says the same everywhere."""
        self.post.put(f"order/{self.ordered}", {"end": code})
        self.wait_for_all("bye", range(1, self.seat.size), BYE_WITHIN_S)

    def wait_for_all(self, name: str, ranks: Iterable[int], seconds: float) -> list[int]:
        """Wait until ``NAME/RANK`` was left for all ``ranks``; for which that was in vain, or no longer of use."""
        deadline = time.monotonic() + seconds
        missing = list(ranks)
        while missing := [rank for rank in missing if self.post.take(f"{name}/{rank}") is None]:
            if time.monotonic() > deadline or self.heart.look() is not None:
                break
            time.sleep(WAIT_STEP_S)
        return missing
