"""One recorded point in words: the cells of its row, and its line in a log."""

from __future__ import annotations

from longbench_cli.present.units import count, format_bytes, format_duration, format_significant, tflops
from longbench_cli.record.schema import MeasuredPoint, UnmeasuredPoint
from longbench_cli.sweep.axes import format_length
from longbench_cli.sweep.case import Case

HEADERS = ("impl", "seq", "pass", "median", "TFLOP/s", "peak memory", "verified")


def cells(record: MeasuredPoint | UnmeasuredPoint) -> tuple[str, str, str, str, str, str, str]:
    """A row under :data:`HEADERS`; a point without a latency shows its status and reason instead."""
    case = record.case
    impl = case.impl if case.backend in ("none", "auto") else f"{case.impl} ({case.backend})"
    start = (impl, format_length(case.seq_len), case.pass_)
    if isinstance(record, UnmeasuredPoint):
        return (*start, record.status, "", "", record.reason)
    median_ns = record.latency.median_ns
    peak = record.memory.peak_bytes
    return (
        *start,
        f"{format_duration(median_ns)} {_interval(record)}",
        format_significant(tflops(record.cost.flops, median_ns)) if median_ns > 0 else "",
        format_bytes(peak) if peak is not None else "",
        f"{record.verification.status} ({count(record.verification.rows, 'row')})",
    )


def one_line(record: MeasuredPoint | UnmeasuredPoint) -> str:
    """The point as a line of a log."""
    _, _, _, median, tflops, peak, verified = cells(record)
    name = label(record.case)
    if isinstance(record, UnmeasuredPoint):
        return f"{name}: {record.status}: {record.reason}"
    parts = [median, f"{tflops} TFLOP/s", f"peak {peak}" if peak else "", f"verified: {verified}"]
    return f"{name}: {', '.join(part for part in parts if part)}"


def label(case: Case) -> str:
    """What a point measures, in a few words."""
    backend = "" if case.backend in ("none", "auto") else f" ({case.backend})"
    causal = " causal" if case.causal else ""
    batch = f" batch {case.batch}" if case.batch > 1 else ""
    return f"{case.impl}{backend} {format_length(case.seq_len)}{batch} {case.pass_}{causal}"


def duration(value: float) -> str:
    """A long time in words: ``3 min 20 s``."""
    whole = round(value)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"


def _interval(record: MeasuredPoint) -> str:
    """Half the width of the median's 95% interval, as a share of the median."""
    if record.latency.ci95_ns is None or record.latency.noise is None:
        return "(few runs)"
    return f"±{100 * record.latency.noise:.2g}%"
