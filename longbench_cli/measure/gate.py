"""The turnstile of a process that takes turns with others: it works only while the sweep lets it."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import IO, Any


class Gate:
    """Waits for turns. Without ``turns`` this process is alone, and never waits.

    Attributes:
        waited_ns: time spent waiting so far, in nanoseconds.
    """

    def __init__(
        self,
        say: Callable[[dict[str, Any]], None] = lambda _message: None,
        turns: IO[bytes] | None = None,
        now_ns: Callable[[], int] = time.perf_counter_ns,
    ) -> None:
        """``say`` tells the sweep that this process waits; each line of ``turns`` is one turn."""
        self.waited_ns = 0
        self._say, self._turns, self._now_ns = say, turns, now_ns

    def wait(self) -> None:
        """Sleep until it is this process's turn.

        Raises:
            SystemExit: there will be none, because the sweep is gone.
        """
        if self._turns is None:
            return
        begin = self._now_ns()
        self._say({"type": "waiting"})
        if not self._turns.readline():
            raise SystemExit("the sweep that gives turns is gone")
        self.waited_ns += self._now_ns() - begin
