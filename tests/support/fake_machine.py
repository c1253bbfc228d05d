"""Trees of /proc and /sys as telemetry reads them, below a folder of the test."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path

TICK = os.sysconf("SC_CLK_TCK")


def write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def write_times(root: Path, seconds: Mapping[int, Sequence[float]]) -> None:
    """/proc/stat: processor to its user, nice, system, idle, iowait, irq, softirq and steal seconds."""
    lines = ["cpu  0 0 0 0 0 0 0 0 0 0"]
    for number, times in seconds.items():
        lines.append(f"cpu{number} " + " ".join(str(round(time * TICK)) for time in times) + " 0 0")
    write(root / "proc/stat", "\n".join([*lines, "intr 5 0 0", "ctxt 7"]) + "\n")


def write_process(
    root: Path,
    pid: int,
    name: str,
    seconds: float = 0.0,
    *,
    parent: int = 1,
    started: int = 100,
    allowed: str = "0-1023",
    command: Sequence[str] = ("program",),
) -> None:
    """/proc/PID: its stat, status and cmdline; all of its time is user time."""
    fields = ["S", parent, pid, pid, 0, -1, 0, 0, 0, 0, 0, round(seconds * TICK), 0, 0, 0, 20, 0, 1, 0, started, 0, 0]
    write(root / f"proc/{pid}/stat", f"{pid} ({name}) " + " ".join(map(str, fields)) + "\n")
    write(root / f"proc/{pid}/status", f"Name:\t{name}\nCpus_allowed_list:\t{allowed}\n")
    write(root / f"proc/{pid}/cmdline", "\0".join(command) + "\0")


def write_rapl(root: Path, microjoules: Mapping[str, int], *, reach: int = 10**12, name: str = "package") -> None:
    """/sys/class/powercap: zone (``0``, or ``0:1`` for a part of it) to its counter."""
    for zone, counted in microjoules.items():
        folder = root / f"sys/class/powercap/intel-rapl:{zone}"
        write(folder / "energy_uj", f"{counted}\n")
        write(folder / "max_energy_range_uj", f"{reach}\n")
        write(folder / "name", f"{name}-{zone}\n")


def write_machine(root: Path) -> None:
    """A machine at rest: every processor of this test's affinity, this test's process and nobody else."""
    write_times(root, {number: [0] * 8 for number in os.sched_getaffinity(0)})
    for number in os.sched_getaffinity(0):
        folder = root / f"sys/devices/system/cpu/cpu{number}/cpufreq"
        write(folder / "scaling_cur_freq", "2000000\n")
        write(folder / "scaling_governor", "performance\n")
    write(root / "proc/self/status", "VmHWM:\t    2048 kB\n")
    write(root / "proc/self/clear_refs", "")
    write_rapl(root, {"0": 5_000_000})
    write_process(root, os.getpid(), "python", parent=os.getppid())
