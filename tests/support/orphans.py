"""Processes that outlived what started them, found by a variable in the environment they were started with.

A parent's number says nothing of a process that was handed to another parent, and its group nothing of one
that left it. What ``execve`` was given stays in ``/proc/PID/environ`` and is inherited by whatever is forked.
"""

from __future__ import annotations

import contextlib
import os
import signal
import time
import uuid
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

MARKER = "LONGBENCH_TEST_MARKER"


@dataclass(frozen=True, slots=True)
class Process:
    pid: int
    command: str


def new_marker() -> dict[str, str]:
    """The variable that a test sets for the processes whose descendants it wants to find again."""
    return {MARKER: uuid.uuid4().hex}


def marked(marker: dict[str, str], but: Collection[int] = ()) -> list[Process]:
    """Everything alive that was started with ``marker``, however it was reparented; a zombie is not alive."""
    wanted = "=".join((MARKER, marker[MARKER])).encode()
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):  # it ended, or is somebody else's
            if int(folder.name) not in but and wanted in (folder / "environ").read_bytes().split(b"\0"):
                command = (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
                found.append(Process(int(folder.name), command.strip()))
    return found


def left_behind(marker: dict[str, str], but: Collection[int] = (), seconds: float = 30.0) -> list[Process]:
    """What is still alive after ``seconds``: a kill takes effect a little after it was sent. It is ended then."""
    deadline = time.monotonic() + seconds
    while (found := marked(marker, but)) and time.monotonic() < deadline:
        time.sleep(0.005)
    for process in found:
        with contextlib.suppress(ProcessLookupError):
            os.kill(process.pid, signal.SIGKILL)
    return found


def ancestors() -> set[int]:
    """This process and those above it."""
    pids, pid = set(), os.getpid()
    while pid > 0 and pid not in pids:
        pids.add(pid)
        status = Path(f"/proc/{pid}/status").read_text(encoding="utf-8", errors="replace")
        pid = int(status.partition("PPid:")[2].split(maxsplit=1)[0])
    return pids
