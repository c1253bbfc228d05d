"""Whatever is measured or shown, no network is reached: the commands work without one, and look for none."""

from __future__ import annotations

import functools
import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]

# Runs in every process that Python starts here, the workers included, before anything else does.
HOOK = """
import os, sys
def _watch(event, arguments):
    if not event.startswith("socket."):
        return
    if event in ("socket.connect", "socket.bind", "socket.sendto", "socket.sendmsg"):
        if not isinstance(arguments[1], tuple):  # a path: a socket of this machine
            return
    elif event not in ("socket.getaddrinfo", "socket.gethostbyname", "socket.gethostbyaddr", "socket.getnameinfo"):
        return
    with open(os.environ["NETWORK_LOG"], "a") as log:
        log.write(f"{event} {arguments!r}\\n")
sys.addaudithook(_watch)
with open(os.environ["NETWORK_LOG"] + ".watched", "a") as log:
    log.write(f"{sys.argv}\\n")
"""
WITHOUT_NETWORK = ("unshare", "--user", "--map-root-user", "--net")
SIZE = "--seq 128 --heads 1 --head-dim 16 --dtype fp32 --device cpu"
COMMANDS = (
    f"run --impl vanilla,dilated {SIZE} --threads 1 --max-time 0.01 -o run.jsonl",
    "report run.jsonl",
    "report run.jsonl --format md",
    "list impls",
    "list devices",
    "pattern dilated --seq 4k",
    "doctor",
)


@functools.cache
def can_be_cut_off() -> bool:
    """Whether a process here may be started in a network of its own, with nothing in it."""
    if shutil.which("unshare") is None:
        return False
    return subprocess.run([*WITHOUT_NETWORK, "true"], capture_output=True, check=False).returncode == 0


def start(words: Sequence[str], folder: Path, log: Path) -> subprocess.CompletedProcess[str]:
    (folder / "sitecustomize.py").write_text(HOOK, encoding="utf-8")
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join((str(folder), str(ROOT))), "NETWORK_LOG": str(log)}
    command = [*(WITHOUT_NETWORK if can_be_cut_off() else ()), sys.executable, *words]
    return subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, timeout=600, check=False
    )


@pytest.fixture(scope="module")
def session(tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, subprocess.CompletedProcess[str]], Path]:
    """Every command with networking off, where that is permitted, and what all their processes asked of it."""
    folder = tmp_path_factory.mktemp("offline")
    log = folder / "network.log"
    return {line: start(["-m", "longbench_cli", *line.split()], folder, log) for line in COMMANDS}, log


def test_everything_works_with_networking_off(
    session: tuple[dict[str, subprocess.CompletedProcess[str]], Path],
) -> None:
    if not can_be_cut_off():
        pytest.skip("no right to start a process in a network of its own here")
    for line, done in session[0].items():
        assert done.returncode == 0, f"longbench {line}: {done.stdout}{done.stderr}"
    assert (session[1].parent / "run.html").read_text(encoding="utf-8").startswith("<!doctype html>")


def test_no_process_looks_for_a_network(session: tuple[dict[str, subprocess.CompletedProcess[str]], Path]) -> None:
    done, log = session
    assert all(one.returncode == 0 for one in done.values())
    watched = Path(f"{log}.watched").read_text(encoding="utf-8")
    assert len(watched.splitlines()) > len(COMMANDS)  # workers too
    assert not log.exists(), log.read_text(encoding="utf-8")


def test_the_watch_would_see_it(tmp_path: Path) -> None:
    log = tmp_path / "network.log"
    code = (
        "import contextlib, socket\n"
        "with contextlib.suppress(OSError): socket.create_connection(('127.0.0.1', 9), timeout=1)\n"
        "with contextlib.suppress(OSError): socket.getaddrinfo('longbench.invalid', 80)\n"
        "left, right = socket.socketpair()\n"
    )
    start(["-c", code], tmp_path, log)
    seen = log.read_text(encoding="utf-8")
    assert "socket.connect" in seen
    assert "longbench.invalid" in seen
    assert "socketpair" not in seen
