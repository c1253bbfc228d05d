"""Other processes of the machine, as /proc lists them: what they took of the processors, and their names."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from longbench_cli.measure.types import OtherProcess

MOST = 5
"""Processes that are named, at most."""

_LEAST_SHARE = 0.001
_WORKERS = {b"longbench_cli.measure.worker", b"longbench_cli.measure.ranks.process"}
_LAUNCHER = b"longbench_cli.execute.launch"
_PARENT, _USER, _SYSTEM, _STARTED = 1, 11, 12, 19  # fields of /proc/PID/stat after the name, from 0


@dataclass(frozen=True, slots=True)
class ProcessTime:
    """A process and the processor time that it has taken so far, its threads' together, in seconds."""

    pid: int
    name: str
    parent: int
    started: int
    seconds: float


def snapshot(root: Path) -> dict[int, ProcessTime]:
    """Every process there is now. Raises OSError where there is no /proc."""
    found = {}
    for folder in (root / "proc").iterdir():
        if folder.name.isdecimal():
            process = _read(folder)
            if process is not None:
                found[process.pid] = process
    return found


def _read(folder: Path) -> ProcessTime | None:
    """A process; None if it is gone by now."""
    try:
        text = (folder / "stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None
    begin, _, rest = text.rpartition(")")  # the name may hold brackets and spaces itself
    fields = rest.split()
    try:
        seconds = (int(fields[_USER]) + int(fields[_SYSTEM])) / os.sysconf("SC_CLK_TCK")
        parent, started = int(fields[_PARENT]), int(fields[_STARTED])
    except (ValueError, IndexError):  # torn: it ended meanwhile
        return None
    return ProcessTime(int(folder.name), begin.partition("(")[2], parent, started, seconds)


def name_of(root: Path, pid: int) -> str | None:
    """Its name; None if it is gone, or not to be seen from here."""
    process = _read(root / "proc" / str(pid))
    return process.name if process is not None else None


def seconds_of(root: Path, pids: Iterable[int]) -> float:
    """The processor time that they have taken so far, together; one that is gone counts no more."""
    return sum(process.seconds for pid in pids if (process := _read(root / "proc" / str(pid))) is not None)


def is_fellow(root: Path, pid: int) -> bool:
    """Whether it is another worker of this process's own sweep: they take turns, so it waits while this works.

    Each worker is started by a guard of its own, and that by the sweep; between the ranks of a point and their
    guard there may be a launcher.
    """
    sweep = _starter_of_guard(root, os.getpid())
    return bool(_words(root, pid) & _WORKERS) and sweep is not None and _starter_of_guard(root, pid) == sweep


def _starter_of_guard(root: Path, pid: int) -> int | None:
    """Its parent's parent, a launcher not counted; None if one of them is gone, or that is init."""
    process = _read(root / "proc" / str(pid))
    if process is not None and _LAUNCHER in _words(root, process.parent):
        process = _read(root / "proc" / str(process.parent))
    guard = _read(root / "proc" / str(process.parent)) if process is not None else None
    return guard.parent if guard is not None and guard.parent > 1 else None


def _words(root: Path, pid: int) -> set[bytes]:
    """Of its command line; none if it is gone."""
    try:
        return set((root / "proc" / str(pid) / "cmdline").read_bytes().split(b"\0"))
    except OSError:
        return set()


def busiest(
    before: Mapping[int, ProcessTime],
    after: Mapping[int, ProcessTime],
    seconds: float,
    affinity: Collection[int],
    root: Path,
    own: Collection[int] = (),
) -> list[OtherProcess]:
    """Who took most of the processor time of ``affinity`` in the ``seconds`` between two snapshots, most first.

    Not this process, nor its ``own`` others, nor fellow workers, nor one that may only run on other processors.
    """
    ours = {os.getpid(), *own}
    taken = {pid: process.seconds - _earlier(before, process) for pid, process in after.items() if pid not in ours}
    found: list[OtherProcess] = []
    for pid in sorted(taken, key=lambda pid: (-taken[pid], pid)):
        share = min(1.0, taken[pid] / (seconds * len(affinity)))
        if len(found) == MOST or share < _LEAST_SHARE:
            break
        if not is_fellow(root, pid) and may_meet(root, pid, affinity):
            found.append(OtherProcess(pid=pid, name=after[pid].name, cpu_share=share))
    return found


def _earlier(before: Mapping[int, ProcessTime], process: ProcessTime) -> float:
    """What it had taken before; nothing, if the number belonged to another one then."""
    old = before.get(process.pid)
    return old.seconds if old is not None and old.started == process.started else 0.0


def may_meet(root: Path, pid: int, affinity: Collection[int]) -> bool:
    """Whether it may run on a processor of ``affinity``, as far as can be told."""
    try:
        lines = (root / "proc" / str(pid) / "status").read_text(errors="replace").splitlines()
        for line in lines:
            name, _, allowed = line.partition(":")
            if name == "Cpus_allowed_list":
                ranges = [part.partition("-") for part in allowed.strip().split(",")]
                return any(int(low) <= cpu <= int(high or low) for low, _, high in ranges for cpu in affinity)
    except (OSError, ValueError):
        pass
    return True
