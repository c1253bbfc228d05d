"""Numbers as people read them: token counts, durations, bytes, rates. Used by every output."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeGuard

from longbench_cli.sweep.axes import format_length

_DURATIONS = ((1e9, "s"), (1e6, "ms"), (1e3, "µs"), (1.0, "ns"))
_LARGEST = 10**200
_BYTES = ((1 << 40, "TiB"), (1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB"))


def format_range(lengths: Sequence[int]) -> str:
    """``8k–64k``, or ``8k`` if there is only one length."""
    shortest, longest = format_length(min(lengths)), format_length(max(lengths))
    return shortest if shortest == longest else f"{shortest}–{longest}"


def format_significant(value: float, digits: int = 3) -> str:
    """``value`` to ``digits`` significant digits, without an exponent where that stays short."""
    if value == 0:
        return "0"
    if not 1e-4 <= abs(value) < 1e7:
        return f"{value:.{digits - 1}e}"
    if abs(value) >= 10**digits:
        return f"{value:.0f}"
    shown = f"{value:.{digits}g}"
    if "e" in shown:  # 999.7 to 3 digits
        return f"{float(shown):.0f}"
    missing = digits - len(shown.lstrip("-").replace(".", "").lstrip("0"))
    if missing <= 0:
        return shown
    return shown + ("" if "." in shown else ".") + "0" * missing


def format_fixed(value: float, digits: int) -> str:
    """``value`` to ``digits`` decimals, and never ``-0.00``."""
    return f"{round(value, digits) + 0.0:.{digits}f}"


def duration_unit(nanoseconds: float) -> tuple[float, str]:
    """The unit to show a duration in: nanoseconds in one, and its name."""
    return next((unit for unit in _DURATIONS if nanoseconds >= unit[0]), _DURATIONS[-1])


def format_duration(nanoseconds: float) -> str:
    """``1234567`` as ``1.235 ms``."""
    scale, unit = duration_unit(nanoseconds)
    return f"{format_significant(nanoseconds / scale, 4)} {unit}"


def format_interval(low_ns: float, high_ns: float, median_ns: float) -> str:
    """``1.230–1.240 ms``, in the unit that the median is shown in."""
    scale, unit = duration_unit(median_ns)
    return f"{format_significant(low_ns / scale, 4)}–{format_significant(high_ns / scale, 4)} {unit}"


def format_bytes(count: float) -> str:
    """``1572864`` as ``1.50 MiB`` (powers of two)."""
    for size, unit in _BYTES:
        if count >= size:
            return f"{format_significant(count / size)} {unit}"
    return f"{count:.0f} B"


def format_rate(bytes_per_s: float) -> str:
    """``12500000000`` as ``12.5 GB/s``: powers of ten, as networks and nccl-tests count."""
    for size, unit in ((1e12, "TB/s"), (1e9, "GB/s"), (1e6, "MB/s"), (1e3, "kB/s")):
        if bytes_per_s >= size:
            return f"{format_significant(bytes_per_s / size)} {unit}"
    return f"{bytes_per_s:.0f} B/s"


def is_count(value: object) -> TypeGuard[int]:
    """Whether what a file holds is a number of things, of a size that can be reckoned with."""
    return type(value) is int and 0 <= value <= _LARGEST


def format_ratio(ratio: float) -> str:
    """``12.34`` as ``12×``: two or three digits are all that a ratio of medians can carry."""
    return f"{format_significant(ratio, 3 if ratio < 1.2 or ratio >= 100 else 2)}×"


def tflops(flops: int, nanoseconds: float) -> float:
    """TFLOP/s: 10^12 floating-point operations a second."""
    return flops / nanoseconds / 1e3


def count(number: int, noun: str) -> str:
    """``1 point``, ``2 points``."""
    return f"{number} {noun}{'' if number == 1 else 's'}"
