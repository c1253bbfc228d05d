"""The sweep's end of a guard (:mod:`longbench_cli.execute.guard`): starts a command that can leave no orphan."""

from __future__ import annotations

import contextlib
import os
import select
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import IO

END_GRACE_S = 60.0
"""How long a guard may take to kill what it guards: a process that holds much memory dies slowly."""

_GUARD = Path(__file__).with_name("guard.py")


class Guarded:
    """A command under its guard. ``fileno`` is readable when there is something to :meth:`hear`."""

    def __init__(
        self, command: Sequence[str], stdin: int, printed: IO[bytes], pass_fds: Sequence[int], cwd: Path | None = None
    ) -> None:
        """Start it, in the folder ``cwd`` or this one.

        Raises:
            OSError, subprocess.SubprocessError: not even the guard could be started.
        """
        self._said = b""
        self._link, theirs = socket.socketpair()
        self._link.setblocking(False)
        try:
            with theirs:
                self._guard = subprocess.Popen(
                    [sys.executable, "-I", "-S", str(_GUARD), str(theirs.fileno()), *command],
                    stdin=stdin,
                    stdout=printed,
                    stderr=printed,
                    pass_fds=(theirs.fileno(), *pass_fds),
                    start_new_session=True,
                    cwd=cwd,
                    env={**os.environ, "PYTHONFAULTHANDLER": "1"},
                )
        except BaseException:
            self._link.close()
            raise

    def fileno(self) -> int:
        return self._link.fileno()

    def hear(self) -> bool:
        """Take what the guard says; False once it has ended, and everything that it guarded."""
        while True:
            try:
                data = self._link.recv(1 << 12)
            except BlockingIOError:
                return True
            if not data:
                return False
            self._said += data

    @property
    def code(self) -> int | None:
        """Exit code of the command, negative for a signal; None unless it ended by itself."""
        word = self._words().get("code")
        return None if word is None else int(word)

    @property
    def failure(self) -> str | None:
        """Why the command could not be started; None if it could."""
        return self._words().get("failed")

    def end(self) -> None:
        """Kill the command and whatever it started; they are gone when this returns."""
        with contextlib.suppress(OSError):
            self._link.shutdown(socket.SHUT_WR)
        poll = select.poll()
        poll.register(self._link, select.POLLIN)
        deadline = time.monotonic() + END_GRACE_S
        while self.hear() and (left := deadline - time.monotonic()) > 0:
            poll.poll(left * 1000)
        self._guard.kill()  # it has ended, or never will
        self._guard.wait()
        self._link.close()
        words = self._words()
        if "clear" not in words and "pid" in words:  # it was killed: what stayed in the worker's group can be found
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(int(words["pid"]), signal.SIGKILL)

    def _words(self) -> dict[str, str]:
        lines = self._said.decode(errors="replace").splitlines()
        return {word: rest for word, _, rest in (line.partition(" ") for line in lines)}
