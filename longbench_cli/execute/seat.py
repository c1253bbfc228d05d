"""This process's place in a job of torchrun, from the environment that it was started with; no torch here."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass

from longbench_cli.errors import UsageError

ONE_RANK: tuple[str, ...] = (sys.executable, "-m", "longbench_cli.execute.one_rank")

_NUMBERS = ("RANK", "LOCAL_RANK", "LOCAL_WORLD_SIZE", "WORLD_SIZE", "MASTER_PORT")


@dataclass(frozen=True, slots=True)
class Seat:
    """One process of a job of several: a supervisor, which starts a process of its own for each point.

    Attributes:
        job: identity of the job, and of torchrun's attempt at it.
        local: number among the ``local_size`` processes of the same node.
        size: processes of the job.
        address, port: of the store that torchrun's agent hosts.
    """

    job: str
    rank: int
    local: int
    local_size: int
    size: int
    address: str
    port: int

    def environment(self, world_size: int, store_prefix: str) -> dict[str, str]:
        """That of this seat's rank of a point of ``world_size``, which the job's first seats share."""
        before = self.rank - self.local  # those of a node are numbered in a row
        return {
            "RANK": str(self.rank),
            "LOCAL_RANK": str(self.local),
            "WORLD_SIZE": str(world_size),
            "LOCAL_WORLD_SIZE": str(min(self.local_size, world_size - before)),
            "MASTER_ADDR": self.address,
            "MASTER_PORT": str(self.port),
            "LONGBENCH_STORE_PREFIX": store_prefix,
        }


def seat_of(environment: Mapping[str, str]) -> Seat | None:
    """None if torchrun did not start this process, or no other beside it.

    Raises:
        UsageError: the environment is torchrun's in part.
    """
    run_id = environment.get("TORCHELASTIC_RUN_ID")
    if run_id is None or environment.get("WORLD_SIZE") in (None, "1"):
        return None
    try:
        rank, local, local_size, size, port = (int(environment[name]) for name in _NUMBERS)
        address = environment["MASTER_ADDR"]
    except (KeyError, ValueError):
        raise UsageError(
            f"TORCHELASTIC_RUN_ID is set, but {', '.join(_NUMBERS)} and MASTER_ADDR are not all: start longbench "
            "with torchrun, or unset it"
        ) from None
    if environment.get("TORCHELASTIC_USE_AGENT_STORE") != "True":
        raise UsageError(
            "the processes of this job have no store of torchrun's agent to meet at: "
            "unset TORCH_DISABLE_SHARE_RDZV_TCP_STORE"
        )
    job = f"{run_id}/{environment.get('TORCHELASTIC_RESTART_COUNT', '0')}"
    return Seat(job, rank, local, local_size, size, address, port)
