"""What a point says when it is pointed at: everything known about it, in plotly's few HTML tags."""

from __future__ import annotations

import html

from longbench_cli.analyse.curves import AnyPoint
from longbench_cli.present.point_cells import exchange_words
from longbench_cli.present.rates import actual_tflops, dense_tflops, median_per_block
from longbench_cli.present.series import Series, format_options
from longbench_cli.present.trust import holds, precision_words
from longbench_cli.present.units import count, format_bytes, format_duration, format_interval, format_significant
from longbench_cli.record.schema import MeasuredPoint
from longbench_cli.sweep.axes import format_length

_LONGEST_LINE = 160


def hover_text(series: Series, point: AnyPoint) -> str:
    """Lines joined by ``<br>``; everything that came from a file is escaped."""
    case = point.case
    lines = [
        f"{series.label}, N = {format_length(case.seq_len)}",
        *_outcome(point),
        f"back end {case.backend}, {case.device}, {case.dtype}, {'causal' if case.causal else 'full'}",
        f"batch {case.batch}, heads {case.heads}, kv heads {case.kv_heads}, head dim {case.head_dim}",
        f"{count(case.world_size, 'rank')}, {point.execution}",
    ]
    if options := format_options(case.options):
        lines.append(options)
    first, *rest = (html.escape(_shorten(line), quote=False) for line in lines)
    return "<br>".join((f"<b>{first}</b>", *rest))


def _outcome(point: AnyPoint) -> list[str]:
    if point.latency is None:
        return [f"{point.status}: {point.reason}"]
    latency, lines = point.latency, []
    interval = f" (95%: {format_interval(*latency.ci95_ns, latency.median_ns)})" if latency.ci95_ns else ""
    lines.append(f"median {format_duration(latency.median_ns)}{interval}")
    if (each := median_per_block(point)) is not None:
        lines.append(f"{format_duration(each)} per block, {count(point.details['blocks'], 'block')}")
    lines.append(f"{precision_words(latency)} {holds(latency)}")
    worth = f", worth {latency.effective_iterations:.0f} independent ones" if latency.effective_iterations else ""
    lines.append(f"{count(latency.count, 'iteration')}{worth}, stopped by {latency.stopped_by}")
    if point.verdict is not None:
        lines += [point.verdict.kind, *point.verdict.reasons]
    actual, dense = actual_tflops(point), dense_tflops(point)
    if actual is not None and dense is not None:
        lines.append(f"{format_significant(actual)} TFLOP/s actual, {format_significant(dense)} dense-equivalent")
    if isinstance(point, MeasuredPoint) and (words := exchange_words(point)):
        lines.append(f"receives {words}" if point.cost.comm_bytes else words)
    if point.memory is not None and point.memory.peak_bytes is not None:
        lines.append(f"peak memory {format_bytes(point.memory.peak_bytes)}")
    if point.memory is not None and point.memory.nvml_peak_bytes is not None:
        lines.append(f"NVML peak {format_bytes(point.memory.nvml_peak_bytes)}")
    if found := point.verification:
        error = "" if found.max_error is None else f", max error {found.max_error:.2g} of {found.tolerance:.2g}"
        lines.append(f"verification {found.status}, {found.rows} rows{error}")
    return lines


def _shorten(line: str) -> str:
    flat = " ".join(line.split())
    return flat if len(flat) <= _LONGEST_LINE else f"{flat[: _LONGEST_LINE - 1]}…"
