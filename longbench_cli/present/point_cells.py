"""One recorded point in words: the cells of its row, and its line in a log."""

from __future__ import annotations

from longbench_cli.analyse.parallel_scaling import received_bytes
from longbench_cli.measure.judge import percent
from longbench_cli.present.series import Varied, format_varied
from longbench_cli.present.trust import precision_words, verdict_words
from longbench_cli.present.units import count, format_bytes, format_duration, format_significant, tflops
from longbench_cli.record.loading import RecordedPoint
from longbench_cli.record.schema import MeasuredPoint, UnmeasuredPoint
from longbench_cli.sweep.axes import format_length
from longbench_cli.sweep.case import Case

HEADERS = ("impl", "seq", "pass", "median", "TFLOP/s", "peak memory", "verified, verdict")


def cells(record: RecordedPoint, varied: Varied) -> tuple[str, str, str, str, str, str, str]:
    """A row under :data:`HEADERS`; a point without a latency shows its status and reason instead."""
    case = record.case
    start = (_name(case, varied), format_length(case.seq_len), case.pass_)
    if isinstance(record, UnmeasuredPoint):
        return (*start, record.status, "", "", record.reason)
    median_ns = record.latency.median_ns
    peak = record.memory.peak_bytes
    return (
        *start,
        f"{format_duration(median_ns)} {precision_words(record.latency)}",
        format_significant(tflops(record.cost.flops, median_ns)) if median_ns > 0 else "",
        format_bytes(peak) if peak is not None else "",
        "; ".join(part for part in (_verified(record), exchange_words(record), verdict_words(record.verdict)) if part),
    )


def one_line(record: RecordedPoint, varied: Varied) -> str:
    """The point as a line of a log."""
    _, _, _, median, tflops, peak, _ = cells(record, varied)
    name = label(record.case, varied)
    if isinstance(record, UnmeasuredPoint):
        return f"{name}: {record.status}: {record.reason}"
    parts = [
        median,
        f"{tflops} TFLOP/s" if tflops else "",
        f"peak {peak}" if peak else "",
        f"verified: {_verified(record)}",
    ]
    parts += [exchange_words(record), verdict_words(record.verdict)]
    return f"{name}: {', '.join(part for part in parts if part)}"


def label(case: Case, varied: Varied) -> str:
    """What a point measures, in a few words; of its options those that vary."""
    causal = " causal" if case.causal else ""
    batch = f" batch {case.batch}" if case.batch > 1 else ""
    return f"{_name(case, varied)} {format_length(case.seq_len)}{batch} {case.pass_}{causal}"


def exchange_words(record: MeasuredPoint) -> str:
    """``1.20 MiB a rank, 80% hidden``: what the rank that receives most receives; empty on one rank."""
    if not record.ranks:
        return ""
    most, told = max(received_bytes(record.ranks)), record.communication
    if not most:
        return "nothing exchanged"
    hidden = "" if told is None or told.overlap is None else f", {percent(told.overlap)} hidden"
    return f"{format_bytes(most)} a rank{hidden}"


def _verified(record: MeasuredPoint) -> str:
    return f"{record.verification.status} ({count(record.verification.rows, 'row')})"


def _name(case: Case, varied: Varied) -> str:
    backend = "" if case.backend in ("none", "auto") else f"({case.backend})"
    ranks = count(case.world_size, "rank") if case.world_size > 1 else ""
    return " ".join(part for part in (case.impl, backend, format_varied(case, varied), ranks) if part)


def duration(value: float) -> str:
    """A long time in words: ``3 min 20 s``."""
    whole = round(value)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"
