"""Whether all supervisors of a job are alive: each beats, and watches the beat of the next."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from types import TracebackType
from typing import Self

from longbench_cli.execute.post import JobLost, Post
from longbench_cli.execute.seat import Seat

BEAT_EVERY_S = 5.0
"""Seldom, because each beat disturbs what is measured beside it."""

LOST_AFTER_S = 30.0
"""A machine that does not let a thread beat for so long is as good as gone."""

LOST = "lost"


class Heart:
    """A thread beside a supervisor.

    In a ring, each watches one: a machine that goes takes several with it, and the one before it tells. So the
    cost for each is the same in a job of any size. Who has not beaten yet is not missed: how long supervisors may
    take to start is the leader's affair.

    Attributes:
        lost: what is gone, in one line; None while all are there.
    """

    def __init__(self, seat: Seat, post: Post, named: Callable[[int], str]) -> None:
        """``named`` says in words which supervisor a rank is."""
        self.lost: str | None = None
        self._seat, self._post, self._named = seat, post, named
        self._watched = (seat.rank + 1) % seat.size
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name="longbench-heart", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stopped.set()
        self._thread.join()

    def tell(self, line: str) -> None:
        """Have all know that a part of the job is gone; what was told first stands."""
        self._post.put_first(LOST, line)

    def look(self) -> str | None:
        """What is gone, as anybody told; None while all are there."""
        if self.lost is None:
            try:
                self.lost = self._post.take(LOST)
            except JobLost as lost:
                self.lost = str(lost)
        return self.lost

    def _run(self) -> None:
        seen, since = None, time.monotonic()
        while self.lost is None:
            try:
                self._post.put(f"beat/{self._seat.rank}", time.monotonic_ns())
                beat = self._post.take(f"beat/{self._watched}")
                if beat is None or beat != seen:
                    seen, since = beat, time.monotonic()
                elif time.monotonic() - since > LOST_AFTER_S:
                    self.tell(f"{self._named(self._watched)} is gone: no sign of it for {LOST_AFTER_S:g} s")
            except JobLost as lost:
                self.lost = str(lost)
            self.look()
            if self._stopped.wait(BEAT_EVERY_S):
                return
