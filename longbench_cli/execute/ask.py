"""Runs a program for its answer: with a time limit, nothing to read, and nothing of it left when it has answered."""

from __future__ import annotations

import os
import select
import signal
import subprocess
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from longbench_cli.printable import one_line


@dataclass(frozen=True, slots=True)
class Answer:
    """What a program said. ``code`` is its exit code, negative for a signal; None if it took too long."""

    code: int | None
    stdout: str
    stderr: str

    @property
    def last_line(self) -> str:
        """Of what it complained of, or else printed; printable."""
        lines = [line for text in (self.stdout, self.stderr) for line in text.splitlines() if line.strip()]
        return one_line(lines[-1]) if lines else "it said nothing"


Ask = Callable[[Sequence[str], Path, float], Answer]
"""``(words, cwd, seconds)``; raises OSError where the program cannot be started."""


def ask(words: Sequence[str], cwd: Path, seconds: float, environ: Mapping[str, str] | None = None) -> Answer:
    """Run ``words`` in the folder ``cwd``; ``environ`` is this process's own if None.

    Its whole process group is killed when ``seconds`` have passed, when it has ended, or on Ctrl-C. It writes to
    files and not to pipes: what a daemon that it left holds open cannot keep the answer from being read.

    Raises:
        OSError: it cannot be started.
    """
    with tempfile.TemporaryFile() as stdout, tempfile.TemporaryFile() as stderr:
        process = subprocess.Popen(
            list(words),
            cwd=cwd,
            env=environ,
            stdin=subprocess.DEVNULL,
            stdout=stdout,
            stderr=stderr,
            start_new_session=True,
        )
        ended = False
        try:
            ended = _ends_within(process.pid, seconds)
        finally:
            os.killpg(process.pid, signal.SIGKILL)  # it is not reaped yet, so the number is still its group's
            process.wait()
        stdout.seek(0)
        stderr.seek(0)
        printed, complained = (file.read().decode(errors="replace") for file in (stdout, stderr))
        return Answer(process.returncode if ended else None, printed, complained)


def _ends_within(pid: int, seconds: float) -> bool:
    descriptor = os.pidfd_open(pid)
    try:
        poll = select.poll()
        poll.register(descriptor, select.POLLIN)
        return bool(poll.poll(seconds * 1000))
    finally:
        os.close(descriptor)
