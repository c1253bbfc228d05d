"""Runs one point in a fresh process under a watchdog; whatever happens to it, the sweep goes on.

The parent sleeps in poll(2) on what the worker and its guard say: a parent that wakes to look would
disturb what it measures.
"""

from __future__ import annotations

import json
import math
import os
import select
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Self

from longbench_cli.execute.budget import OVER
from longbench_cli.execute.channel import Channel
from longbench_cli.execute.fall import KILLED_BY_KERNEL, how_it_ended
from longbench_cli.execute.guarded import Guarded
from longbench_cli.execute.oom_kills import oom_kills
from longbench_cli.execute.outcome import Outcome, Progress
from longbench_cli.execute.printed import last_lines, last_words
from longbench_cli.execute.ranks import OneRank, Ranks

WORKER: tuple[str, ...] = (sys.executable, "-m", "longbench_cli.measure.worker")
EXIT_GRACE_S = 10.0
"""How long a worker may take to end once its result is here; then it is killed, and the result kept."""

_LONGEST_POLL_S = 1e6
_READ_BYTES = 1 << 16
_LAST_READS = 64
"""What is left in the pipe of a worker that ended: more than the largest pipe holds is none of its words."""


def run_isolated(
    request: dict[str, Any],
    *,
    timeout_s: float,
    on_progress: Callable[[Progress], None],
    on_end: Callable[[Outcome], None] = lambda _outcome: None,
    limit_s: float = math.inf,
    command: Sequence[str] | None = None,
    ranks: Ranks | None = None,
) -> Outcome:
    """Give ``request`` to a fresh worker and wait for its result, which goes to ``on_end`` too, at once.

    All of its processes are killed when it ends, when ``timeout_s`` or ``limit_s`` (what is left of the
    budget) seconds have passed, or when this function is interrupted.
    """
    end = time.monotonic() + limit_s
    with Worker(request, timeout_s=timeout_s, on_progress=on_progress, command=command, ranks=ranks) as worker:
        worker.listen(end)
        return worker.end(on_end)


class Worker:
    """One worker from its request to its outcome.

    It gets the request as a line of JSON on its stdin and answers on a pipe whose number it finds in
    ``--result-fd`` (:mod:`longbench_cli.execute.channel`). One that takes turns gets a line more for each
    turn, and says when it waits for it; any other finds the end of its stdin after the request.
    """

    def __init__(
        self,
        request: dict[str, Any],
        *,
        timeout_s: float,
        on_progress: Callable[[Progress], None],
        turns: bool = False,
        command: Sequence[str] | None = None,
        ranks: Ranks | None = None,
        cwd: Path | None = None,
    ) -> None:
        """Start it, in the folder ``cwd``. ``timeout_s`` counts only while :meth:`listen` does.

        ``ranks`` are those of a point of several; ``command`` is theirs if None, or :data:`WORKER`.
        """
        self._channel = Channel(on_progress)
        self._timeout_s = self._left_s = timeout_s
        self._turns = turns
        self._ranks = ranks or OneRank()
        self._unsent = b""
        self._late: Outcome | None = None
        self._kills_before = oom_kills()
        self._files = ExitStack()
        self._printed: IO[bytes] | None = None
        self._deaf = False
        self._guarded: Guarded | None = None
        self._unstarted: str | None = None
        self._cwd = cwd
        try:
            self._start(request | ({"turns": True} if turns else {}), command or self._ranks.command or WORKER)
        except (OSError, subprocess.SubprocessError) as error:
            self._unstarted = str(error)

    def _start(self, request: dict[str, Any], command: Sequence[str]) -> None:
        self._unsent = json.dumps(request | self._ranks.begin(request)).encode() + b"\n"
        self._printed = self._files.enter_context(tempfile.TemporaryFile())  # noqa: SIM115
        with ExitStack() as theirs:
            self._receive, send = os.pipe()
            self._files.callback(os.close, self._receive)
            theirs.callback(os.close, send)
            stdin, self._send = os.pipe()
            theirs.callback(os.close, stdin)
            self._stdin = self._files.enter_context(ExitStack())
            self._stdin.callback(os.close, self._send)
            os.set_blocking(self._receive, False)
            os.set_blocking(self._send, False)
            words = [*command, "--result-fd", str(send)]
            self._guarded = Guarded(words, stdin, self._printed, (send,), self._cwd)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def give_turn(self) -> None:
        """Let it go on; :meth:`listen` sends the word."""
        self._unsent += b"turn\n"
        self._channel.waiting = False

    @property
    def answered(self) -> bool:
        """Whether its result is here."""
        return self._channel.result is not None

    @property
    def alive(self) -> bool:
        """Whether its process has not ended, as far as its guard has said."""
        return self._guarded is not None and self._guarded.hear() and self._guarded.code is None

    def ask_again(self, request: dict[str, Any], timeout_s: float) -> None:
        """Ask one that takes turns, and has answered, for another point; its timeout begins anew."""
        self._unsent += json.dumps(request | {"turns": True}).encode() + b"\n"
        self._timeout_s = self._left_s = timeout_s
        self._kills_before = oom_kills()
        self._channel.renew()

    def answer(self) -> Outcome:
        """The result of one that has answered, which lives on."""
        return self._outcome(None, self._tail())

    def listen(self, end: float = math.inf) -> bool:
        """Wait for what it does: True if it waits for its turn, False if it is over (see :meth:`end`).

        It is over when its result is here, when it ends, says what is not understood, or was listened to for
        its timeout; and at ``end`` by time.monotonic, when the budget is spent.
        """
        if self._guarded is None:
            return False
        begin = time.monotonic()
        deadline = begin + self._left_s
        try:
            while (left := min(deadline, end) - time.monotonic()) > 0:
                if self._hear(self._guarded, min(left, self._ranks.look_every_s)):
                    return False
                if self._channel.garbage is not None or self._channel.result is not None:
                    return False
                if self._channel.waiting:
                    return True
                if self._ranks.over():
                    self._late = Outcome("crashed", "ended with another rank of its point")
                    return False
            self._late = self._too_late(budget=end < deadline)
            return False
        finally:
            self._left_s -= time.monotonic() - begin

    def _hear(self, guarded: Guarded, left_s: float) -> bool:
        """Sleep until something is said, and take it; whether the worker has ended."""
        poll = select.poll()
        poll.register(guarded, select.POLLIN)
        if not self._deaf:
            poll.register(self._receive, select.POLLIN)
        if self._unsent:
            poll.register(self._send, select.POLLOUT)
        ready = {descriptor for descriptor, _ in poll.poll(min(left_s, _LONGEST_POLL_S) * 1000)}
        if self._unsent and self._send in ready:
            self._tell()
        if self._receive in ready:
            self._deaf = not self._read()
        if guarded.fileno() not in ready or guarded.hear():
            return False
        for _ in range(_LAST_READS):
            if self._deaf or not self._read():
                break
        self._channel.close()
        return True

    def _tell(self) -> None:
        try:
            self._unsent = self._unsent[os.write(self._send, self._unsent) :]
        except BrokenPipeError:  # it does not listen, or is gone: its own words or its guard will tell
            self._unsent = b""
        if not self._unsent and not self._turns:
            self._stdin.close()

    def _read(self) -> bool:
        """Read once, so that no flood keeps the watchdog from its clock; False at the end of the pipe."""
        try:
            data = os.read(self._receive, _READ_BYTES)
        except BlockingIOError:
            return True
        self._channel.feed(data)
        return bool(data)

    def end(self, on_end: Callable[[Outcome], None] = lambda _outcome: None) -> Outcome:
        """Tell what came of it, and kill what is left of it.

        A result is told first, for its worker may take its time to go, and the sweep may be ended meanwhile;
        it may take :data:`EXIT_GRACE_S`. Anything else is known only when it is gone.
        """
        if self._channel.result is None:
            outcome = self._end()
            on_end(outcome)
            return outcome
        outcome = self._outcome(None, self._tail())
        on_end(outcome)
        self._unsent = b""
        self._stdin.close()  # one that takes turns may wait to be asked for another point: there is none
        deadline = time.monotonic() + EXIT_GRACE_S
        while self._guarded is not None and (left := deadline - time.monotonic()) > 0:
            if self._hear(self._guarded, left):
                break
        self.close()
        return outcome

    def _end(self) -> Outcome:
        code, failure = None, self._unstarted
        if self._guarded is not None:
            self._guarded.end()
            code, failure = self._guarded.code, self._guarded.failure
            self._guarded = None
        tail = self._tail()
        outcome = self._outcome(code, tail)
        if failure is not None:
            outcome = Outcome("crashed", f"the worker could not be started: {failure}", None, tail)
        elif outcome is self._late:
            outcome = self._ranks.late(replace(outcome, stderr_tail=tail), code)
        else:
            outcome = self._ranks.fell(outcome, code)
        self.close()
        return outcome

    def _tail(self) -> list[str]:
        return last_lines(self._printed) if self._printed is not None else []

    def close(self) -> None:
        """End it, and whatever it started; what it did not report is lost. May be called again."""
        if self._guarded is not None:
            self._guarded.end()
            self._guarded = None
        self._ranks.close()
        self._files.close()

    def _too_late(self, *, budget: bool) -> Outcome:
        if budget:
            return Outcome("pruned", OVER)
        return Outcome("timeout", f"no result after {self._timeout_s:g} s: killed")

    def _outcome(self, code: int | None, tail: list[str]) -> Outcome:
        channel = self._channel
        words = last_words(tail)
        said = f": {words}" if words else ""
        if channel.result is not None:
            result = dict(channel.result)
            status, reason = result.pop("status"), result.pop("reason", None)
            if status != "ok":
                reason = str(reason or f"the worker gave no reason{said}")
            return Outcome(status, None if status == "ok" else reason, result, tail)
        if channel.garbage is not None:
            return Outcome("crashed", f"the worker's answer was not understood: {channel.garbage!r}", None, tail)
        if self._late is not None:
            return self._late
        if code == -signal.SIGKILL and oom_kills() > self._kills_before:
            return Outcome("oom", KILLED_BY_KERNEL, None, tail)
        return Outcome("crashed", f"{how_it_ended(code)}{said}", None, tail)
