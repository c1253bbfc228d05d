"""``longbench run`` in a job of torchrun: rank 0 is the command, and all others follow it without a word."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

import typer

from longbench_cli.errors import UsageError

if TYPE_CHECKING:
    from longbench_cli.execute.nodes import Leader
    from longbench_cli.execute.ranks import Ranks

EXIT_UNUSABLE = 2


@contextmanager
def leading() -> Iterator[Leader | None]:
    """None on one machine. In a job, what leads it: this process is rank 0's, and its end ends the others.

    A process that follows does not return from here: it ends when that is over.

    Raises:
        UsageError: the job is not one that can be led.
    """
    from longbench_cli.execute.seat import seat_of

    seat = seat_of(os.environ)
    if seat is None:
        yield None
        return
    from longbench_cli.execute.follow import Follower, leave_by_signal
    from longbench_cli.execute.nodes import Leader, introduce
    from longbench_cli.execute.post import JobLost, StorePost

    try:
        post = StorePost(seat)
        if seat.rank:
            leave_by_signal()
            code, line = Follower(seat, post, introduce(seat), post.prefix).run()
            if line is not None:
                typer.echo(f"longbench: {line}", err=True)
            os._exit(code)  # rank 0 has been told: taking Python and torch down in order could outlast it
        leader = Leader(seat, post, introduce(seat), post.prefix)
        with leader.heart:
            yield from _led(leader)
    except JobLost as lost:
        raise UsageError(str(lost)) from lost


def _led(leader: Leader) -> Iterator[Leader]:
    from longbench_cli.execute.post import JobLost

    code = EXIT_UNUSABLE
    try:
        yield leader
        code = 0
    except typer.Exit as leaving:
        code = leaving.exit_code
        raise
    finally:
        with suppress(JobLost):  # then all have ended
            leader.end(code)


def ranks_of(leader: Leader | None) -> Callable[[int], Ranks | None]:
    """Who runs a point of so many ranks, None being one process: this machine, or the job."""
    from longbench_cli.execute.ranks import RanksHere

    if leader is None:
        return RanksHere.of
    from longbench_cli.execute.led import LedRanks

    return lambda world_size: None if world_size == 1 else LedRanks(leader, world_size)
