"""How many times faster than with full attention, at the longest length that both were measured at."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from longbench_cli.analyse.curves import Curve
from longbench_cli.record.schema import MeasuredPoint

BASELINES = {"op": "vanilla", "model": "transformer"}
"""What each kind is compared with: the implementation whose attention is full."""

_FULL = "vanilla"

_HOW = frozenset({"impl", "backend", "options"})
"""Fields of a case that say how something is computed, not what."""

_AROUND = frozenset({"preset", "depth", "ff_mult", "vocab", "feed_forward", "qk_norm", "parallel_block"})
"""Options of a model that are not its attention's."""


@dataclass(frozen=True, slots=True)
class Speedup:
    """Ratio of the baseline's median to this curve's, at one length.

    Attributes:
        baseline: the implementation that was the baseline.
        seq_len: the length, tokens.
        ratio: above 1 is faster than the baseline.
        interval: the quotients of opposite ends of the two 95% intervals, which covers the ratio
            with at least 90%; None if either median has no interval.
    """

    baseline: str
    seq_len: int
    ratio: float
    interval: tuple[float, float] | None

    @property
    def significant(self) -> bool:
        """Whether the interval leaves out 1; False without an interval."""
        return self.interval is not None and not self.interval[0] <= 1 <= self.interval[1]


def over_full_attention(curves: Sequence[Curve]) -> list[Speedup | None]:
    """Compare each curve with the fastest point of full attention of the same run that did the same job.

    None for a curve of full attention itself, and where there is no such point.
    """
    rivals: dict[Hashable, list[MeasuredPoint]] = {}
    for curve in filter(_is_baseline, curves):
        for point in curve.measured:
            rivals.setdefault(_place(curve, point), []).append(point)
    return [None if _is_baseline(curve) else _speedup(curve, rivals) for curve in curves]


def _speedup(curve: Curve, rivals: Mapping[Hashable, Sequence[MeasuredPoint]]) -> Speedup | None:
    for point in reversed(curve.measured):
        same_job = [rival for rival in rivals.get(_place(curve, point), ()) if _same_size(rival, point)]
        if same_job and point.latency.median_ns > 0:
            return _ratio(point, min(same_job, key=lambda rival: rival.latency.median_ns))
    return None


def _is_baseline(curve: Curve) -> bool:
    case = curve.case
    return case.impl == BASELINES[case.kind] and case.options.get("attention", _FULL) == _FULL


def _place(curve: Curve, point: MeasuredPoint) -> Hashable:
    """What two points agree in that were asked for the same, however it was done: looked up, since runs are long."""
    asked = tuple(value for name, value in point.case if name not in _HOW)
    return (curve.run, curve.execution, asked)


def _same_size(one: MeasuredPoint, other: MeasuredPoint) -> bool:
    """Whether models are of one size and make."""
    options, others = _settled(one), _settled(other)
    return all(options[name] == others[name] for name in options.keys() & others.keys())


def _settled(point: MeasuredPoint) -> dict[str, Any]:
    """The options around its attention, as what they came to where that is recorded: a depth left out is a number."""
    return {name: point.details.get(name, value) for name, value in point.case.options.items() if name in _AROUND}


def _ratio(point: MeasuredPoint, baseline: MeasuredPoint) -> Speedup:
    ours, theirs = point.latency, baseline.latency
    interval = None
    if ours.ci95_ns is not None and theirs.ci95_ns is not None and ours.ci95_ns[0] > 0:
        interval = (theirs.ci95_ns[0] / ours.ci95_ns[1], theirs.ci95_ns[1] / ours.ci95_ns[0])
    return Speedup(baseline.case.impl, point.case.seq_len, theirs.median_ns / ours.median_ns, interval)
