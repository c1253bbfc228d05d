"""What follows from a point's time: TFLOP/s, actual and dense-equivalent, and the time of a block."""

from __future__ import annotations

from longbench_cli.analyse.curves import AnyPoint
from longbench_cli.present.units import is_count, tflops
from longbench_cli.record.schema import MeasuredPoint


def actual_tflops(point: AnyPoint) -> float | None:
    """TFLOP/s of the work that was really done; None for a point without a latency."""
    return _rate(point.cost.flops, point) if isinstance(point, MeasuredPoint) else None


def dense_tflops(point: AnyPoint) -> float | None:
    """TFLOP/s as if full attention had done it in that time; None for a point without a latency."""
    return _rate(point.cost.dense_flops, point) if isinstance(point, MeasuredPoint) else None


def median_per_block(point: AnyPoint) -> float | None:
    """Nanoseconds of the median over the blocks of a sequence; None for a point without one or the other."""
    blocks = point.details.get("blocks")
    if not isinstance(point, MeasuredPoint) or not is_count(blocks) or blocks < 1:
        return None
    return point.latency.median_ns / blocks


def _rate(flops: int, point: MeasuredPoint) -> float | None:
    """None too where the clock was too coarse to see the pass."""
    return tflops(flops, point.latency.median_ns) if point.latency.median_ns > 0 else None
