"""How far a number is to be trusted, in words: its precision, what its interval holds between, its verdict."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from longbench_cli.measure.judge import SEVERITY, percent
from longbench_cli.measure.types import Latency, Verdict
from longbench_cli.present.units import count
from longbench_cli.record.loading import RecordedPoint
from longbench_cli.record.schema import MeasuredPoint


def precision_words(latency: Latency) -> str:
    """``±0.8%``: half the 95% interval; ``±1.2% (range of 3)``: half the spread where there is none; ``(1 run)``."""
    runs = latency.count
    if latency.noise is None:
        return f"({count(runs, 'run')})"
    return f"±{percent(latency.noise)}" + (f" (range of {runs})" if latency.ci95_ns is None else "")


def holds(latency: Latency) -> str:
    """What the interval, or the spread, holds between: iterations of a process, or processes."""
    return "within 1 process" if latency.interval == "within" else f"between {count(latency.sessions, 'session')}"


def verdict_words(verdict: Verdict | None) -> str:
    """``noisy: why; and why``; nothing for a point of an older file."""
    if verdict is None:
        return ""
    return ": ".join(part for part in (verdict.kind, "; ".join(verdict.reasons)) if part)


def is_doubtful(point: RecordedPoint) -> bool:
    """Whether a point has a verdict and it is not "trusted"."""
    return isinstance(point, MeasuredPoint) and point.verdict is not None and point.verdict.kind != "trusted"


def doubts(points: Iterable[RecordedPoint]) -> str:
    """``3 of 12 points noisy, 1 contended``; empty if every point is trusted or was not judged."""
    measured = [point for point in points if isinstance(point, MeasuredPoint)]
    kinds = kinds_of(measured)
    if not kinds:
        return ""
    (kind, number), *rest = kinds
    return ", ".join(
        (f"{number} of {count(len(measured), 'point')} {kind}", *(f"{other} {name}" for name, other in rest))
    )


def kinds_of(points: Iterable[RecordedPoint]) -> list[tuple[str, int]]:
    """How many points have each verdict but "trusted", worst first."""
    found = Counter(point.verdict.kind for point in points if isinstance(point, MeasuredPoint) and point.verdict)
    return [(kind, found[kind]) for kind in SEVERITY if kind != "trusted" and kind in found]
