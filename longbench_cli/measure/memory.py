"""Peak memory of one call: torch's own count on CUDA, the resident set on the CPU."""

from __future__ import annotations

import gc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

_CLEAR_REFS = Path("/proc/self/clear_refs")
_STATUS = Path("/proc/self/status")
_RESET_PEAK = "5"


def peak_bytes(device: str, baseline_bytes: int | None, work: Callable[[], Any]) -> int | None:
    """Bytes held at the highest point of one call, inputs included; None where it cannot be told.

    On CUDA the caching allocator's peak; on the CPU the growth of the process's peak resident set
    over ``baseline_bytes`` (from :func:`resident_bytes` before the inputs were drawn).
    """
    gc.collect()
    if device == "cuda":
        torch.cuda.reset_peak_memory_stats()
        work()
        torch.cuda.synchronize()
        return torch.cuda.max_memory_allocated()
    resettable = _reset_resident_peak()
    work()
    peak = _status_bytes("VmHWM")
    if not resettable or peak is None or baseline_bytes is None:
        return None
    return max(0, peak - baseline_bytes)


def resident_bytes() -> int | None:
    """The resident set of this process, where the kernel tells."""
    return _status_bytes("VmRSS")


def _reset_resident_peak() -> bool:
    try:
        _CLEAR_REFS.write_text(_RESET_PEAK)
    except OSError:  # not Linux, or /proc is read-only
        return False
    return True


def _status_bytes(field: str) -> int | None:
    try:
        lines = _STATUS.read_text().splitlines()
    except OSError:
        return None
    for line in lines:
        if line.startswith(field + ":"):
            return int(line.split()[1]) * 1024
    return None
