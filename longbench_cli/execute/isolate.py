"""Runs one point in a fresh process under a watchdog; whatever happens to it, the sweep goes on.

The parent sleeps in poll(2) on the worker's pipe and on its pidfd: a parent that wakes to look would
disturb what it measures.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import select
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from typing import IO, Any

from longbench_cli.execute.channel import Channel
from longbench_cli.execute.oom_kills import oom_kills
from longbench_cli.execute.outcome import Outcome, Progress
from longbench_cli.execute.printed import last_lines, last_words

WORKER: tuple[str, ...] = (sys.executable, "-m", "longbench_cli.measure.worker")
EXIT_GRACE_S = 10.0
"""How long a worker may take to end once its result is here; then it is killed, and the result kept."""

_PR_SET_PDEATHSIG = 1
_LONGEST_POLL_S = 1e6
_libc = ctypes.CDLL(None, use_errno=True)


def run_isolated(
    request: dict[str, Any],
    *,
    timeout_s: float,
    on_progress: Callable[[Progress], None],
    command: Sequence[str] = WORKER,
) -> Outcome:
    """Give ``request`` to a fresh worker as JSON on its stdin and wait for its result.

    The worker finds the number of the pipe for its answer (:mod:`longbench_cli.execute.channel`) in
    ``--result-fd``. It leads a session of its own: all of its processes are killed when it ends, when
    ``timeout_s`` seconds have passed, or when this function is interrupted.
    """
    kills_before = oom_kills()
    channel = Channel(on_progress)
    with tempfile.TemporaryFile() as stdin, tempfile.TemporaryFile() as printed:
        stdin.write(json.dumps(request).encode())
        stdin.seek(0)
        receive, send = os.pipe()
        try:
            try:
                worker = _start(command, send, stdin, printed)
            except (OSError, subprocess.SubprocessError) as error:
                return Outcome("crashed", f"the worker could not be started: {error}")
            finally:
                os.close(send)
            os.set_blocking(receive, False)
            try:
                in_time = _wait(worker.pid, receive, channel, timeout_s)
            finally:
                _end(worker)
        finally:
            os.close(receive)
        return _outcome(channel, worker.returncode, in_time, timeout_s, last_lines(printed), kills_before)


def _start(command: Sequence[str], send: int, stdin: IO[bytes], printed: IO[bytes]) -> subprocess.Popen[bytes]:
    parent = os.getpid()

    def die_with_parent() -> None:
        _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
        if os.getppid() != parent:  # it died before the line above
            os._exit(1)

    return subprocess.Popen(
        [*command, "--result-fd", str(send)],
        stdin=stdin,
        stdout=printed,
        stderr=printed,
        pass_fds=(send,),
        start_new_session=True,
        preexec_fn=die_with_parent,  # noqa: PLW1509 - longbench starts no threads of its own
        env={**os.environ, "PYTHONFAULTHANDLER": "1"},
    )


def _wait(pid: int, receive: int, channel: Channel, timeout_s: float) -> bool:
    """Listen until the worker ends; False if the time ran out first."""
    deadline = time.monotonic() + timeout_s
    pidfd = os.pidfd_open(pid)
    try:
        poll = select.poll()
        poll.register(receive, select.POLLIN)
        poll.register(pidfd, select.POLLIN)
        heard = False
        while (left := deadline - time.monotonic()) > 0:
            ready = {descriptor for descriptor, _ in poll.poll(min(left, _LONGEST_POLL_S) * 1000)}
            if receive in ready and not _drain(receive, channel):
                poll.unregister(receive)
            if pidfd in ready:
                _drain(receive, channel)
                channel.close()
                return True
            if channel.garbage is not None:
                return True
            if channel.result is not None and not heard:
                heard = True
                deadline = time.monotonic() + EXIT_GRACE_S
        return False
    finally:
        os.close(pidfd)


def _drain(receive: int, channel: Channel) -> bool:
    """Read what is there; False at the end of the pipe."""
    while True:
        try:
            data = os.read(receive, 1 << 16)
        except BlockingIOError:
            return True
        if not data:
            return False
        channel.feed(data)


def _end(worker: subprocess.Popen[bytes]) -> None:
    """Kill what is left of the worker's group. Not reaped yet, it still owns the group's number."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(worker.pid, signal.SIGKILL)
    worker.wait()


def _outcome(
    channel: Channel, code: int, in_time: bool, timeout_s: float, tail: list[str], kills_before: int
) -> Outcome:
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
    if not in_time:
        return Outcome("timeout", f"no result after {timeout_s:g} s: killed{said}", None, tail)
    if code == -signal.SIGKILL and oom_kills() > kills_before:
        return Outcome("oom", "the kernel's out-of-memory killer ended it", None, tail)
    if code < 0:
        return Outcome("crashed", f"killed by {_signal_name(-code)}{said}", None, tail)
    how = f"exited with code {code}" if code else "ended without a result"
    return Outcome("crashed", f"{how}{said}", None, tail)


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"
