"""A control group with little memory, so that the kernel kills what needs more: version 1 or 2, as root."""

from __future__ import annotations

import contextlib
import os
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_GROUPS = Path("/sys/fs/cgroup")
_VERSIONS = (
    # (where groups are made, limit of memory, what keeps it from swapping out instead)
    (_GROUPS, "memory.max", {"memory.swap.max": "0"}),
    (_GROUPS / "memory", "memory.limit_in_bytes", {"memory.swappiness": "0"}),
)


class NoGroup(Exception):
    """No such group can be made here, and why."""


@contextmanager
def memory_group(limit: int) -> Iterator[Path]:
    """The file to write a process's number to, which then has at most ``limit`` bytes more.

    Raises:
        NoGroup: control groups of memory are not there, or not for this user.
    """
    refusals = []
    for root, limiting, others in _VERSIONS:
        group = root / f"longbench-test-{uuid.uuid4().hex[:8]}"
        try:
            group.mkdir()
        except OSError as error:
            refusals.append(f"{root}: {error.strerror}")
            continue
        if not (group / limiting).exists():  # version 1 has a plain folder here, version 2 may lack the controller
            refusals.append(f"{root}: no control of memory")
            group.rmdir()
            continue
        try:
            (group / limiting).write_text(str(limit), encoding="ascii")
            for name, value in others.items():
                if (group / name).exists():
                    (group / name).write_text(value, encoding="ascii")
        except OSError as error:
            refusals.append(f"{group / limiting}: {error.strerror}")
            group.rmdir()
            continue
        try:
            yield group / "cgroup.procs"
        finally:
            _remove(group)
        return
    raise NoGroup("no memory control group can be made: " + "; ".join(refusals))


def _remove(group: Path) -> None:
    """A group goes when its last process has: those of the tests are killed by then."""
    with contextlib.suppress(OSError):
        for pid in (group / "cgroup.procs").read_text(encoding="ascii").split():
            os.kill(int(pid), 9)
    with contextlib.suppress(OSError):
        group.rmdir()
