"""Peak memory of one call: torch's own count on CUDA, the resident set on the CPU."""

from __future__ import annotations

import ctypes
import gc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import torch

PROC = Path("/proc")
_RESET_PEAK = "5"
_libc = ctypes.CDLL(None)


def peak_bytes(device: str, baseline_bytes: int | None, work: Callable[[], Any]) -> int | None:
    """Bytes held at the highest point of one call, inputs included; None where it cannot be told.

    The peak, of torch's allocator on CUDA and of the process's resident set on the CPU, over
    ``baseline_bytes`` (from :func:`held_bytes` before the inputs were drawn).
    """
    gc.collect()
    if device == "cuda":
        torch.cuda.reset_peak_memory_stats()
        work()
        torch.cuda.synchronize()
        peak: int | None = torch.cuda.max_memory_allocated()
    else:
        resettable = _told(reset_resident_peak) is not None
        work()
        peak = _told(resident_peak_bytes) if resettable else None
    return None if peak is None or baseline_bytes is None else max(0, peak - baseline_bytes)


def free_bytes(device: str) -> int:
    """What is free now: on the current GPU, with what torch holds there unused, or of the machine's memory."""
    if device == "cuda":
        on_device: int = torch.cuda.mem_get_info()[0]
        unused: int = torch.cuda.memory_reserved() - torch.cuda.memory_allocated()
        return on_device + unused
    available: int = psutil.virtual_memory().available
    return available


def free_all() -> None:
    """Give back what nothing refers to any more, torch's cache on a GPU included."""
    gc.collect()
    if torch.cuda.is_initialized():
        torch.cuda.empty_cache()


def reserved_peak_bytes(device: str) -> int | None:
    """Peak of what torch's caching allocator has held on the GPU since :func:`peak_bytes`; None on a CPU."""
    if device != "cuda":
        return None
    reserved: int = torch.cuda.max_memory_reserved()
    return reserved


def held_bytes(device: str) -> int | None:
    """What is held already: torch's tensors on CUDA, the process's resident set on the CPU, where it can be told.

    Memory that was freed but not given back would hide as much of what is allocated later, so it goes first.
    """
    if device == "cpu":
        gc.collect()
        if hasattr(_libc, "malloc_trim"):  # glibc
            _libc.malloc_trim(0)
    return torch.cuda.memory_allocated() if device == "cuda" else _told(_resident_bytes)


def reset_resident_peak(proc: Path = PROC) -> int:
    """Let the peak of this process's resident set begin anew. Raises OSError where the system has no such thing."""
    return (proc / "self/clear_refs").write_text(_RESET_PEAK)


def resident_peak_bytes(proc: Path = PROC) -> int:
    """Peak of this process's resident set since then. Raises OSError or ValueError where it is not told."""
    return _status_bytes("VmHWM", proc)


def _resident_bytes() -> int:
    return _status_bytes("VmRSS", PROC)


def _status_bytes(field: str, proc: Path) -> int:
    for line in (proc / "self/status").read_text().splitlines():
        if line.startswith(field + ":"):
            return int(line.split()[1]) * 1024
    raise ValueError(f"{proc}/self/status has no {field}")


def _told(ask: Callable[[], int]) -> int | None:
    try:
        return ask()
    except (OSError, ValueError):  # not Linux, or /proc is read-only
        return None
