"""Peak memory of two sides. It hardly varies between processes, so no test is made of it."""

from __future__ import annotations

from typing import Final

from longbench_cli.analyse.comparison.types import MemoryChange

LEAST_SHARE: Final = 0.01
LEAST_BYTES: Final = 16 << 20
"""Below 16 MiB lie the allocator's rounding and its caches; 1% of what a point takes is not worth a failure."""


def memory_change(base: int | None, candidate: int | None) -> MemoryChange | None:
    """What became of the peak memory, in bytes: it changed if by more than 1% of the base's and more than 16 MiB.

    None where a side does not know its peak.
    """
    if base is None or candidate is None:
        return None
    change = candidate - base
    if abs(change) <= max(LEAST_BYTES, LEAST_SHARE * base):
        return MemoryChange(base, candidate, "ok")
    return MemoryChange(base, candidate, "regression" if change > 0 else "improvement")
