"""How many times faster than with full attention, at the longest length that both were measured at."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from longbench_cli.analyse.curves import Curve
from longbench_cli.record.schema import MeasuredPoint

BASELINES = {"op": "vanilla", "model": "transformer"}
"""What each kind is compared with: the implementation whose attention is full."""

_FULL = "vanilla"

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


def over_full_attention(curve: Curve, curves: Sequence[Curve]) -> Speedup | None:
    """Compare with the fastest point of full attention of the same run that did the same job; None without one."""
    if _is_baseline(curve):
        return None
    rivals = [
        point
        for other in curves
        if _is_baseline(other) and other.run == curve.run and other.execution == curve.execution
        for point in other.measured
    ]
    for point in reversed(curve.measured):
        same_job = [rival for rival in rivals if _same_job(rival, point)]
        if same_job and point.latency.median_ns > 0:
            return _ratio(point, min(same_job, key=lambda rival: rival.latency.median_ns))
    return None


def _is_baseline(curve: Curve) -> bool:
    case = curve.case
    return case.impl == BASELINES[case.kind] and case.options.get("attention", _FULL) == _FULL


def _same_job(one: MeasuredPoint, other: MeasuredPoint) -> bool:
    """Whether the same was asked for, however it was done; models must be of one size and make."""
    plain = {"impl": "", "backend": "", "options": {}}
    if one.case.model_copy(update=plain) != other.case.model_copy(update=plain):
        return False
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
