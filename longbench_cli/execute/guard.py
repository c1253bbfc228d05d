"""Stands between the sweep and a worker, so that no process of the worker outlives it, or the sweep.

    python -I -S guard.py LINK COMMAND...

LINK is one end of a pair of sockets; only the sweep holds the other. On it the guard says, a line each:
``pid N`` (the worker is started) or ``failed WHY``; ``code N`` (it ended; negative: by that signal);
``clear`` (nothing that it started is left). The worker's end, or the end of LINK, which is how the sweep
says that it is enough and how its death shows, makes the guard kill every process that descends from
the worker: as their subreaper (prctl(2)) it inherits those whose parents died, in whatever session they
hide. Should the guard itself be killed, the kernel kills the worker.

It must be there in milliseconds and asleep until it is needed: the standard library alone, and little of it.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import select
import signal
import sys
from typing import NoReturn

_PR_SET_PDEATHSIG, _PR_SET_CHILD_SUBREAPER = 1, 36
_IGNORED = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
"""The sweep decides when it is enough: its end is the end of LINK."""

_libc = ctypes.CDLL(None)


def main(link: int, command: list[str]) -> None:
    _libc.prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    for number in _IGNORED:
        signal.signal(number, signal.SIG_IGN)
    guard = os.getpid()
    worker = os.fork()
    if worker == 0:
        _become(command, guard, link)
    _close_all_but(link)
    _say(link, f"pid {worker}")
    pidfd = os.pidfd_open(worker)
    poll = select.poll()
    poll.register(pidfd, select.POLLIN)
    poll.register(link, select.POLLIN)
    if pidfd in {descriptor for descriptor, _ in poll.poll()}:
        _, status = os.waitpid(worker, 0)
        _say(link, f"code {os.waitstatus_to_exitcode(status)}")
    _kill_all()
    _say(link, "clear")


def _become(command: list[str], guard: int, link: int) -> NoReturn:
    """Turn into the worker, in a session of its own: a signal to its whole group spares the guard."""
    try:
        os.set_inheritable(link, False)
        _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
        if os.getppid() == guard:  # else it died before the line above
            os.setsid()
            for number in _IGNORED:
                signal.signal(number, signal.SIG_DFL)
            os.execvp(command[0], command)  # noqa: S606 - the sweep's own command, and no shell
    except OSError as error:
        _say(link, f"failed {command[0]}: {error.strerror}")
    finally:
        os._exit(127)


def _close_all_but(link: int) -> None:
    """The worker's pipes are its own: who reads them must see them end with it."""
    for name in os.listdir("/proc/self/fd"):  # noqa: PTH208 - pathlib takes as long to import as all of this
        if int(name) not in (1, 2, link):
            with contextlib.suppress(OSError):  # that of the listing
                os.close(int(name))


def _kill_all() -> None:
    """Kill until there is no child left, and so no descendant: the children of each that dies become ours.

    Only our own are killed: nobody else can reap them, so none of their numbers is anybody else's yet.
    """
    while _any_left():
        for pid in _children(os.getpid()):
            with contextlib.suppress(OSError):
                os.kill(pid, signal.SIGKILL)
        os.waitpid(-1, 0)


def _any_left() -> bool:
    """Reap the dead; whether a child lives."""
    try:
        while os.waitpid(-1, os.WNOHANG) != (0, 0):
            pass
    except ChildProcessError:
        return False
    return True


def _children(parent: int) -> list[int]:
    found = []
    for name in os.listdir("/proc"):  # noqa: PTH208
        if name.isdigit():
            try:
                with open(f"/proc/{name}/stat", "rb") as file:  # noqa: PTH123
                    fields = file.read().rpartition(b")")[2].split()
            except OSError:  # it is gone
                continue
            if int(fields[1]) == parent:
                found.append(int(name))
    return found


def _say(link: int, words: str) -> None:
    with contextlib.suppress(OSError):  # the sweep is gone
        os.write(link, f"{words}\n".encode())


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2:])
