"""Real processes in tests: what a stand-in for a worker says, and whether anybody is left."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import psutil

SEND = """
import ctypes, json, os, signal, subprocess, sys, threading, time
fd = int(sys.argv[sys.argv.index("--result-fd") + 1])
def send(**message):
    os.write(fd, json.dumps(message).encode() + b"\\n")
def ok(**more):
    send(type="result", status="ok", reason=None, latency={"median_ns": 2e9}, **more)
"""

DAEMON = '''
def daemon():
    """The number of a process in a session of its own, whose parent has ended."""
    reader, writer = os.pipe()
    if os.fork() == 0:
        os.setsid()
        if os.fork() == 0:
            os.write(writer, str(os.getpid()).encode())
            time.sleep(3600)
        os._exit(0)
    os.wait()
    return int(os.read(reader, 20))
'''


def is_gone(pid: int) -> bool:
    """Dead, reaped or not: nobody may be there to reap a grandchild."""
    try:
        return bool(psutil.Process(pid).status() == psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return True


def marked(mark: str) -> list[int]:
    """Processes with ``mark`` in their command line. A zombie has none."""
    found = []
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            try:
                words = (folder / "cmdline").read_bytes()
            except OSError:
                continue
            if mark.encode() in words:
                found.append(int(folder.name))
    return found


def wait_until(condition: Callable[[], bool], seconds: float = 60.0, every: float = 0.01) -> bool:
    """Whether ``condition`` was true once; one that is dear to ask is asked less often."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(every)
    return True
