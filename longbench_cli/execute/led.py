"""A point whose ranks are on many machines, as the leader sees it: its own rank's worker, and what the others tell."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from longbench_cli.execute import seat
from longbench_cli.execute.fall import Fall, first_fall, named
from longbench_cli.execute.guarded import END_GRACE_S
from longbench_cli.execute.nodes import LOOK_EVERY_S, Leader
from longbench_cli.execute.outcome import Outcome, Status
from longbench_cli.execute.post import JobLost
from longbench_cli.execute.printed import last_words
from longbench_cli.execute.ranks import with_words
from longbench_cli.execute.states import RankState, last_of, read_states, whereabouts

REPORT_WITHIN_S = END_GRACE_S + 30.0
"""How long a supervisor may take to end its rank and tell of it."""


@dataclass(frozen=True, slots=True)
class Report:
    """How a rank ended, as its supervisor tells.

    Attributes:
        status, reason: as of an outcome.
        code: of its process; None if its supervisor ended it, or it had a word of its own.
        place: where among the ends of this point it came, from 1; 0 if it did not fall by itself.
    """

    rank: int
    host: str
    status: Status
    reason: str
    code: int | None
    place: int
    state: tuple[str, int, int, str]
    tail: list[str] = field(default_factory=list)

    @property
    def fell(self) -> bool:
        return self.place > 0


class LedRanks:
    """The ranks of one point, in the eyes of the worker that is rank 0's."""

    look_every_s = LOOK_EVERY_S

    def __init__(self, leader: Leader, world_size: int) -> None:
        self.command: Sequence[str] | None = seat.ONE_RANK
        self._leader, self._size = leader, world_size
        self._number: int | None = None
        self._folder: tempfile.TemporaryDirectory[str] | None = None
        self._looked = time.monotonic()
        self._ended_elsewhere = False
        self._reports: list[Report] | None = None

    def begin(self, request: Mapping[str, Any]) -> dict[str, Any]:
        """Have the other ranks started.

        Raises:
            JobLost: there are not all of them any more.
        """
        leader = self._leader
        if lost := leader.heart.look():
            raise JobLost(lost)
        self._folder = tempfile.TemporaryDirectory(prefix="longbench-", ignore_cleanup_errors=True)
        self._number = leader.ordered
        leader.ordered += 1
        leader.post.put(f"order/{self._number}", {"request": request, "ranks": self._size})
        return {"folder": self._folder.name, "environment": leader.environment(self._number, self._size)}

    def over(self) -> bool:
        if time.monotonic() - self._looked >= self.look_every_s:
            self._looked = time.monotonic()
            leader = self._leader
            self._ended_elsewhere = (
                leader.post.take(f"over/{self._number}") is not None or leader.heart.lost is not None
            )
        return self._ended_elsewhere

    def fell(self, outcome: Outcome, code: int | None) -> Outcome:
        """This machine's rank ended by itself; perhaps because another did."""
        own = self._own_report(outcome, code)
        return self._joint([own, *(report for report in self._gather() if report.fell)])

    def late(self, outcome: Outcome, code: int | None) -> Outcome:
        own = [] if code is None else [self._own_report(outcome, code)]
        reports = self._gather()
        fallen = [*own, *(report for report in reports if report.fell)]
        if self._ended_elsewhere:
            return self._joint(fallen) if fallen else outcome
        states = [RankState(0, *self._state()), *(RankState(report.rank, *report.state) for report in reports)]
        tails = {report.rank: report.tail for report in reports}
        slowest = last_of(states).rank
        tail = tails.get(slowest, outcome.stderr_tail)
        reason = f"{outcome.reason}; {whereabouts(states)}"
        return with_words(replace(outcome, reason=reason, stderr_tail=tail), last_words(tail))

    def close(self) -> None:
        """No rank of this point is left anywhere when this returns, if its supervisor is."""
        if self._folder is not None:
            if self._reports is None and self._leader.heart.lost is None:
                with suppress(JobLost):  # whoever asks for the next point will hear
                    self._end_all()
            self._folder.cleanup()
            self._folder = None

    def _joint(self, reports: list[Report]) -> Outcome:
        """What began it: a rank's own word, or else the first fall."""
        told = [report for report in reports if report.status != "crashed"]
        if told:
            first = min(told, key=lambda report: report.place)
            own_words = first.code is None
            reason = first.reason if own_words else f"{named(first.rank, self._size, first.host)}: {first.reason}"
            return Outcome(first.status, reason, None, first.tail)
        falls = [
            Fall(r.rank, r.code, r.place, last_words(r.tail), r.tail, r.host) for r in reports if r.code is not None
        ]
        if not falls:
            first = min(reports, key=lambda report: report.place)
            return Outcome("crashed", f"{named(first.rank, self._size, first.host)}: {first.reason}", None, first.tail)
        fall = first_fall(falls)
        return Outcome("crashed", fall.reason(self._size), None, fall.tail)

    def _gather(self) -> list[Report]:
        """What all other supervisors tell.

        Raises:
            JobLost: one of them does not.
        """
        self._end_all()
        lost = self._leader.heart.look()
        if lost is not None or self._reports is None:
            raise JobLost(lost or "not all ranks of a point came to an end")
        return self._reports

    def _end_all(self) -> None:
        leader, others = self._leader, range(1, self._size)
        leader.post.put_first(f"over/{self._number}", True)
        name = f"report/{self._number}"
        missing = leader.wait_for_all(name, others, REPORT_WITHIN_S)
        if missing and leader.heart.lost is None:
            leader.heart.tell(f"{leader.named(missing[0])} did not end its rank within {REPORT_WITHIN_S:g} s")
            leader.heart.look()
        if not missing:
            self._reports = [_report(leader.post.take(f"{name}/{rank}")) for rank in others]

    def _own_report(self, outcome: Outcome, code: int | None) -> Report:
        place = self._leader.post.count(f"falls/{self._number}")
        host, tail = self._leader.own.host, outcome.stderr_tail
        return Report(0, host, outcome.status, outcome.reason or "", code, place, self._state(), tail)

    def _state(self) -> tuple[str, int, int, str]:
        folder = self._folder
        state = read_states(Path(folder.name), 1)[0] if folder is not None else RankState(0)
        return state.stage, state.calls, state.stages, state.kind


def _report(told: Mapping[str, Any]) -> Report:
    return Report(**{**told, "state": tuple(told["state"])})
