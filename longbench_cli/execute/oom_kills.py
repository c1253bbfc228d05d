"""How often the kernel's out-of-memory killer has struck: a SIGKILL that nobody sent needs an explanation."""

from __future__ import annotations

from pathlib import Path


def oom_kills(proc: Path = Path("/proc"), cgroups: Path = Path("/sys/fs/cgroup")) -> int:
    """A counter that rises with every kill: the larger of this machine's and this control group's."""
    counters = [proc / "vmstat"]
    for line in _lines(proc / "self" / "cgroup"):
        _, controllers, group = line.split(":", 2)
        if not controllers:  # version 2
            counters.append(cgroups / group.lstrip("/") / "memory.events")
        elif "memory" in controllers.split(","):
            counters.append(cgroups / "memory" / group.lstrip("/") / "memory.oom_control")
    return max(_counter(path) for path in counters)


def _counter(path: Path) -> int:
    for line in _lines(path):
        name, _, value = line.partition(" ")
        if name == "oom_kill" and value.isdigit():
            return int(value)
    return 0


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text(encoding="ascii", errors="replace").splitlines()
    except OSError:
        return []
