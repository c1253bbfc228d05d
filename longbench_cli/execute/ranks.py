"""What a point of several ranks adds to a worker: a folder that they share, and words on who among them is to blame."""

from __future__ import annotations

import math
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Protocol

from longbench_cli.execute.outcome import Outcome
from longbench_cli.execute.printed import TAIL_LINES, last_lines, last_words
from longbench_cli.execute.states import last_of, read_states, whereabouts

LAUNCHER: tuple[str, ...] = (sys.executable, "-m", "longbench_cli.execute.launch")
RANK = "longbench_cli.measure.ranks.process"
"""The module that measures as one of several ranks."""

LOGS = "logs"
REQUEST = "request.json"

_STREAMS = ("stdout.log", "stderr.log")


class Ranks(Protocol):
    """Whom a worker stands for, beside its own process.

    Attributes:
        command: what is started; None for the worker that measures alone.
        look_every_s: most seconds between two calls of :meth:`over`.
    """

    command: Sequence[str] | None
    look_every_s: float

    def begin(self, request: Mapping[str, Any], /) -> dict[str, Any]:
        """Prepare; what ``request`` is to hold beside.

        Raises:
            OSError: there is no room for it.
        """
        ...

    def over(self) -> bool:
        """Whether the point ended where this worker does not see it."""
        ...

    def fell(self, outcome: Outcome, code: int | None, /) -> Outcome:
        """What to record of a worker that ended by itself, with ``code``, and reported nothing."""
        ...

    def late(self, outcome: Outcome, code: int | None, /) -> Outcome:
        """What to record of one that was ended: by its timeout, by the budget, or because it was :meth:`over`.

        ``code`` is None unless it ended by itself meanwhile.
        """
        ...

    def close(self) -> None:
        """The worker is gone. May be called again."""
        ...


class OneRank:
    """A point of one process: nothing is added but its last words."""

    command: Sequence[str] | None = None
    look_every_s = math.inf

    def begin(self, _request: Mapping[str, Any]) -> dict[str, Any]:
        return {}

    def over(self) -> bool:
        return False

    def fell(self, outcome: Outcome, _code: int | None) -> Outcome:
        return outcome

    def late(self, outcome: Outcome, _code: int | None) -> Outcome:
        return with_words(outcome, last_words(outcome.stderr_tail))

    def close(self) -> None:
        """There is nothing to be closed."""


class RanksHere:
    """The ranks of a point on this machine: :mod:`longbench_cli.execute.launch` starts them, and tells who fell."""

    look_every_s = math.inf

    def __init__(self, world_size: int, command: Sequence[str] = LAUNCHER) -> None:
        self.command: Sequence[str] | None = command
        self._world_size = world_size
        self._folder: tempfile.TemporaryDirectory[str] | None = None

    @classmethod
    def of(cls, world_size: int) -> RanksHere | None:
        """Those of a point of ``world_size``; None if one process is all of it."""
        return None if world_size == 1 else cls(world_size)

    def begin(self, _request: Mapping[str, Any]) -> dict[str, Any]:
        self._folder = tempfile.TemporaryDirectory(prefix="longbench-", ignore_cleanup_errors=True)
        return {"folder": self._folder.name}

    def over(self) -> bool:
        return False

    def fell(self, outcome: Outcome, _code: int | None) -> Outcome:
        """The launcher itself is gone, which else tells of its ranks."""
        return replace(outcome, reason=f"the launcher of its {self._world_size} ranks: {outcome.reason}")

    def late(self, outcome: Outcome, _code: int | None) -> Outcome:
        """Who was behind, and the last words of that rank."""
        if self._folder is None:
            return outcome
        folder = Path(self._folder.name)
        states = read_states(folder, self._world_size)
        tail = printed_by(folder, last_of(states).rank) or outcome.stderr_tail
        reason = f"{outcome.reason}; {whereabouts(states)}"
        return with_words(replace(outcome, reason=reason, stderr_tail=tail), last_words(tail))

    def close(self) -> None:
        if self._folder is not None:
            self._folder.cleanup()


def with_words(outcome: Outcome, words: str) -> Outcome:
    """``outcome`` with somebody's last words behind its reason."""
    return replace(outcome, reason=f"{outcome.reason}: {words}") if words else outcome


def logs_of(folder: Path, rank: int) -> list[Path]:
    """What a rank prints to, as torch's agent lays it out."""
    return [path for name in _STREAMS for path in (folder / LOGS).glob(f"*/attempt_0/{rank}/{name}")]


def printed_by(folder: Path, rank: int) -> list[str]:
    """The last lines of a rank: its standard error's, behind those of its standard output."""
    lines = []
    for path in logs_of(folder, rank):
        with path.open("rb") as file:
            lines += last_lines(file)
    return lines[-TAIL_LINES:]


def printed_at(folder: Path, rank: int) -> float:
    """When a rank last printed: a traceback is a rank's last act. Infinite if it has no log."""
    return max((path.stat().st_mtime for path in logs_of(folder, rank)), default=math.inf)
