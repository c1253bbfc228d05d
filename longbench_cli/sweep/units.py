"""Quantities as people read them."""

from __future__ import annotations


def format_seconds(seconds: float) -> str:
    """``1.25 ms``, ``60 s``, ``1.2 h``: three significant digits."""
    for limit, size, unit in ((1e-3, 1e-6, "us"), (1.0, 1e-3, "ms"), (120.0, 1.0, "s"), (7200.0, 60.0, "min")):
        if seconds < limit:
            return f"{_digits(seconds / size)} {unit}"
    hours = seconds / 3600
    return f"{_digits(hours)} h" if hours < 48 else f"{_digits(hours / 24)} days"


def format_bytes(count: float) -> str:
    """``512 B``, ``1.5 GiB``: powers of 1024, three significant digits."""
    return _scaled(count, 1024, ("B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"))


def format_flops(count: float) -> str:
    """``1.07 GFLOP``: powers of 1000, three significant digits."""
    return _scaled(count, 1000, tuple(f"{prefix}FLOP" for prefix in ("", "k", "M", "G", "T", "P", "E", "Z")))


def _scaled(value: float, base: int, units: tuple[str, ...]) -> str:
    for unit in units[:-1]:
        if value < base:
            return f"{_digits(value)} {unit}"
        value /= base
    return f"{_digits(value)} {units[-1]}"


def _digits(value: float) -> str:
    """Three significant digits, or all of those before the point."""
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"
