"""The numbers of a verdict as people read them: a ratio as ``+2.1%``, its interval, its threshold."""

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import median

from longbench_cli.analyse.comparison.types import Effect, MemoryChange, Side
from longbench_cli.present.units import format_bytes, format_duration, format_fixed


def change(ratio: float) -> str:
    """``1.021`` as ``+2.1%``: above nothing is slower, or more."""
    if not math.isfinite(ratio):
        return "unknown"
    share = 100 * (ratio - 1)
    shown = format_fixed(share, 1 if abs(share) < 99.95 else 0)
    return f"{'' if shown.startswith('-') else '+'}{shown}%"


def interval(effect: Effect) -> str:
    """``+1.5% to +2.7%``."""
    return " to ".join(change(end) for end in effect.interval)


def share(value: float | None) -> str:
    """``0.03`` as ``3.0%``; nothing where it is not known."""
    return "" if value is None or not math.isfinite(value) else f"{100 * value:.1f}%"


def time_of(side: Side) -> str:
    """Median over the sessions of a side, or what came of it instead: ``12.3 ms``, ``oom``."""
    return format_duration(median(side.medians_ns)) if side.medians_ns else side.status


def memory_words(memory: MemoryChange | None) -> str:
    """``+12.5% (+24.0 MiB)``; nothing where it did not change, or by what rounds to nothing."""
    if memory is None:
        return ""
    more = memory.candidate_bytes - memory.base_bytes
    changed = change(memory.candidate_bytes / memory.base_bytes) if memory.base_bytes else "from nothing"
    if changed == "+0.0%" and memory.kind == "ok":
        return ""
    return f"{changed} ({'-' if more < 0 else '+'}{format_bytes(abs(more))})"


def span(counts: Sequence[int]) -> str:
    """``6``, or ``6 to 18``; nothing of nothing."""
    if not counts:
        return ""
    least, most = min(counts), max(counts)
    return str(least) if least == most else f"{least} to {most}"
