"""A supervisor that follows: it starts its rank of each point that it is told of, and tells how that ended."""

from __future__ import annotations

import signal
import tempfile
import threading
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from types import FrameType
from typing import Any

from longbench_cli.execute import seat
from longbench_cli.execute.isolate import Worker
from longbench_cli.execute.led import Report
from longbench_cli.execute.nodes import LOOK_EVERY_S, WAIT_STEP_S, Supervisor
from longbench_cli.execute.outcome import Outcome
from longbench_cli.execute.post import JobLost
from longbench_cli.execute.states import RankState, read_states
from longbench_cli.sweep.settings import LONGEST_TIME

EXIT_LOST = 1

_LET_RANK_0_END_FIRST_S = 1.0
"""Torchrun's agent shows the end of whoever of its own ends first with a code other than 0. Those of another agent
end before rank 0 does: with it goes the store, and an agent that has lost that ends its processes by a signal."""


class Follower(Supervisor):
    """Any supervisor but rank 0's."""

    def run(self) -> tuple[int, str | None]:
        """Follow until the end; the code to exit with, and what to tell the user: once a machine."""
        stop = threading.Event()
        serving: list[threading.Thread] = []
        self.greet()
        with self.heart as heart:
            try:
                code = self._follow(stop, serving)
            except JobLost as lost:
                return EXIT_LOST, str(lost) if self.seat.local == 0 else None
            except SystemExit:
                with suppress(JobLost):
                    heart.tell(f"{self.own} was told to end")
                raise
            finally:
                stop.set()
                for thread in serving:
                    thread.join()
        with suppress(JobLost):  # nobody waits for it any more
            self.post.put(f"bye/{self.seat.rank}", True)
        if code and self.seat.rank == self.seat.local:  # rank 0's agent is this one's too
            time.sleep(_LET_RANK_0_END_FIRST_S)
        return code, None

    def _follow(self, stop: threading.Event, serving: list[threading.Thread]) -> int:
        """Take part in one point after another; the code that the run ends with.

        Raises:
            JobLost: the next will never come.
        """
        number = 0
        while True:
            order = self._next_order(number)
            if "end" in order:
                return int(order["end"])
            if self.seat.rank < order["ranks"]:
                point = FollowedRank(self, number, order["ranks"], stop)
                serving.append(threading.Thread(target=point.serve, args=(order["request"],)))
                serving[-1].start()
            number += 1

    def _next_order(self, number: int) -> dict[str, Any]:
        """Wait for it, ever more patiently: somebody may be measuring."""
        pause = WAIT_STEP_S
        while self.heart.lost is None:
            order: dict[str, Any] | None = self.post.take(f"order/{number}")
            if order is not None:
                return order
            time.sleep(pause)
            pause = min(LOOK_EVERY_S, 1.2 * pause)
        raise JobLost(self.heart.lost)


def leave_by_signal() -> None:
    """Torchrun's agent ends what is left of its processes by SIGTERM, and passes Ctrl-C on."""

    def leave(number: int, _frame: FrameType | None) -> None:
        raise SystemExit(128 + number)

    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, leave)


class FollowedRank:
    """One rank of a point, in the eyes of its own worker."""

    look_every_s = LOOK_EVERY_S

    def __init__(self, supervisor: Supervisor, number: int, world_size: int, stop: threading.Event) -> None:
        """``stop``: the supervisor itself ends."""
        self.command: Sequence[str] | None = seat.ONE_RANK
        self._supervisor, self._number, self._size, self._stop = supervisor, number, world_size, stop
        self._folder: tempfile.TemporaryDirectory[str] | None = None
        self._code: int | None = None
        self._fell = True  # unless somebody says otherwise, it had a word of its own
        self._state = RankState(supervisor.seat.rank)

    def serve(self, request: Mapping[str, Any]) -> None:
        """Bring this rank to its end, and tell of it."""
        with suppress(JobLost):  # nobody is left to be told
            with Worker(  # rank 0 alone tells of progress
                dict(request), timeout_s=LONGEST_TIME, on_progress=lambda _progress: None, ranks=self
            ) as worker:
                worker.listen()
                outcome = worker.end()
            self._tell(outcome)

    def _tell(self, outcome: Outcome) -> None:
        post, rank, number = self._supervisor.post, self._supervisor.seat.rank, self._number
        place = post.count(f"falls/{number}") if self._fell else 0
        state = self._state
        report = Report(
            rank, self._supervisor.own.host, outcome.status, outcome.reason or "", self._code, place,
            (state.stage, state.calls, state.stages, state.kind), outcome.stderr_tail,
        )  # fmt: skip
        post.put(f"report/{number}/{rank}", asdict(report))
        if self._fell:
            post.put_first(f"over/{number}", True)

    def begin(self, _request: Mapping[str, Any]) -> dict[str, Any]:
        self._folder = tempfile.TemporaryDirectory(prefix="longbench-", ignore_cleanup_errors=True)
        environment = self._supervisor.environment(self._number, self._size)
        return {"folder": self._folder.name, "environment": environment}

    def over(self) -> bool:
        supervisor = self._supervisor
        if self._stop.is_set() or supervisor.heart.lost is not None:
            return True
        return supervisor.post.take(f"over/{self._number}") is not None

    def fell(self, outcome: Outcome, code: int | None) -> Outcome:
        """One that has done its part ends before rank 0 has told the result."""
        self._look(code, fell=code != 0)
        return outcome

    def late(self, outcome: Outcome, code: int | None) -> Outcome:
        self._look(code, fell=bool(code))
        return outcome

    def close(self) -> None:
        if self._folder is not None:
            self._folder.cleanup()

    def _look(self, code: int | None, *, fell: bool) -> None:
        self._code, self._fell = code, fell
        if self._folder is not None:
            rank = self._supervisor.seat.rank
            self._state = read_states(Path(self._folder.name), rank + 1)[rank]
