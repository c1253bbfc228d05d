"""How large the last-level cache is, as Linux tells it under /sys."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

FALLBACK_BYTES = 64 * 2**20
"""Where the system does not tell: more than the last-level cache of most desktops."""

_UNITS = {"K": 2**10, "M": 2**20, "G": 2**30}


def last_level_bytes(processors: Iterable[int] | None = None, root: Path = Path("/")) -> int:
    """Bytes of all last-level caches that the processors share in; :data:`FALLBACK_BYTES` if unreadable.

    Args:
        processors: those that this process may run on, if None.
        root: where /sys is read.
    """
    found: dict[str, tuple[int, int]] = {}  # who shares a cache: its level and size
    for processor in _affinity() if processors is None else processors:
        folder = root / f"sys/devices/system/cpu/cpu{processor}/cache"
        try:
            level, size, sharers = max(map(_cache, folder.glob("index[0-9]*")))
        except (OSError, ValueError):  # no such folder, or nothing in it that is a size
            return FALLBACK_BYTES
        found[sharers] = level, size
    last = max((level for level, _ in found.values()), default=0)
    return sum(size for level, size in found.values() if level == last) or FALLBACK_BYTES


def _affinity() -> Iterable[int]:
    return os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else range(os.cpu_count() or 1)


def _cache(index: Path) -> tuple[int, int, str]:
    """Level, bytes and sharers; an instruction cache has level 0, as it holds no data."""
    level, size, sharers, kind = (
        (index / name).read_text(encoding="ascii").strip() for name in ("level", "size", "shared_cpu_list", "type")
    )
    count, unit = (size[:-1], _UNITS[size[-1]]) if size[-1:] in _UNITS else (size, 1)
    return 0 if kind == "Instruction" else int(level), int(count) * unit, sharers
