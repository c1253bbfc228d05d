"""How many times faster than full attention, at the longest length that both were measured at."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from longbench_cli.analyse.curves import Curve
from longbench_cli.record.schema import MeasuredPoint

BASELINE = "vanilla"


@dataclass(frozen=True, slots=True)
class Speedup:
    """Ratio of the baseline's median to this curve's, at one length.

    Attributes:
        seq_len: the length, tokens.
        ratio: above 1 is faster than the baseline.
        interval: the quotients of opposite ends of the two 95% intervals, which covers the ratio
            with at least 90%; None if either median has no interval.
    """

    seq_len: int
    ratio: float
    interval: tuple[float, float] | None

    @property
    def significant(self) -> bool:
        """Whether the interval leaves out 1; False without an interval."""
        return self.interval is not None and not self.interval[0] <= 1 <= self.interval[1]


def over_vanilla(curve: Curve, curves: Sequence[Curve]) -> Speedup | None:
    """Compare with the fastest vanilla point of the same run that did the same job; None if there is none."""
    if curve.case.impl == BASELINE:
        return None
    rivals = [
        point
        for other in curves
        if other.case.impl == BASELINE and other.run == curve.run and other.execution == curve.execution
        for point in other.measured
    ]
    for point in reversed(curve.measured):
        same_job = [rival for rival in rivals if _job(rival) == _job(point)]
        if same_job and point.latency.median_ns > 0:
            return _ratio(point, min(same_job, key=lambda rival: rival.latency.median_ns))
    return None


def _job(point: MeasuredPoint) -> object:
    """What was asked for, without how it was done."""
    return point.case.model_copy(update={"impl": "", "backend": "", "options": {}})


def _ratio(point: MeasuredPoint, baseline: MeasuredPoint) -> Speedup:
    ours, theirs = point.latency, baseline.latency
    interval = None
    if ours.ci95_ns is not None and theirs.ci95_ns is not None and ours.ci95_ns[0] > 0:
        interval = (theirs.ci95_ns[0] / ours.ci95_ns[1], theirs.ci95_ns[1] / ours.ci95_ns[0])
    return Speedup(point.case.seq_len, theirs.median_ns / ours.median_ns, interval)
