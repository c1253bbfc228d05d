"""How processes end, and which of a point's ranks began it: those that a fallen one leaves waiting fall after it."""

from __future__ import annotations

import signal
from collections.abc import Sequence
from dataclasses import dataclass, field

KILLED_BY_KERNEL = "the kernel's out-of-memory killer ended it"


@dataclass(frozen=True, slots=True)
class Fall:
    """The end of a rank that reported nothing.

    Attributes:
        code: its exit code; negative: by that signal.
        at: when, or where among the others' ends: smaller is earlier.
        words: its last.
        tail: the last lines that it printed.
        host: where it ran; None if all ran on one machine.
        starved: the kernel killed it for want of memory.
    """

    rank: int
    code: int
    at: float
    words: str = ""
    tail: list[str] = field(default_factory=list)
    host: str | None = None
    starved: bool = False

    def reason(self, world_size: int) -> str:
        """``rank 2 of 4: killed by SIGKILL: its last words``."""
        how = KILLED_BY_KERNEL if self.starved else how_it_ended(self.code)
        said = f": {self.words}" if self.words else ""
        return f"{named(self.rank, world_size, self.host)}: {how}{said}"


def named(rank: int, world_size: int, host: str | None = None) -> str:
    """``rank 2 of 4``, and where it ran."""
    return f"rank {rank} of {world_size}" + (f" on {host}" if host else "")


def first_fall(falls: Sequence[Fall]) -> Fall:
    """The one that the others followed from.

    A signal strikes out of the blue, while a rank that has lost another raises; but SIGTERM is how the rest
    is told to end.
    """
    return min(falls, key=lambda fall: (fall.code in (0, -signal.SIGTERM), fall.code > 0, fall.at, fall.rank))


def how_it_ended(code: int | None) -> str:
    """In words; None: nobody knows."""
    if code is None:
        return "its guard was killed, and it with the guard"
    if code < 0:
        return f"killed by {_signal_name(-code)}"
    return f"exited with code {code}" if code else "ended without a result"


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"
