"""Runs as Markdown (for a README), CSV (for a spreadsheet) and JSON (for a program)."""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from longbench_cli.analyse.curves import AnyPoint
from longbench_cli.analyse.sessions import merged_points
from longbench_cli.present.findings import finding
from longbench_cli.present.series import Series, build_series, format_workload, title_of
from longbench_cli.present.tables import Table, actual_tflops, dense_tflops, fits_table, median_per_block, points_table
from longbench_cli.printable import printable_json, printable_lines
from longbench_cli.record.schema import MeasuredPoint, RunHeader, dump_line

if TYPE_CHECKING:
    from longbench_cli.record.journal import Run


def to_markdown(runs: Sequence[Run]) -> str:
    """Findings, the fitted exponents and all points, as GitHub-flavoured Markdown."""
    series = build_series(runs)
    points = points_table(runs)
    lines = [f"### {_escape_markdown(title_of(series))}", ""]
    lines += [f"- {_escape_markdown(finding(one))}" for one in series]
    lines += ["", "#### Fitted exponents of N", "", *_markdown_table(fits_table(series)), "", "#### Points", ""]
    if points.common:
        same = ", ".join(f"{title} {value}" for title, value in points.common)
        lines += [f"The same for all points: {_escape_markdown(same)}.", ""]
    lines += _markdown_table(points)
    lines += ["", *(f"- Measured {_escape_markdown(_origin(run))}." for run in runs)]
    lines += [f"- Warning: {_escape_markdown(warning)}" for run in runs for warning in run.warnings]
    return printable_lines("\n".join(lines) + "\n")


def _origin(run: Run) -> str:
    return f"{run.header.created} with longbench {run.header.version}, run {run.header.run_id}"


def _markdown_table(table: Table) -> list[str]:
    rule = ["---:" if numeric else "---" for numeric in table.numeric]
    rows = [[_escape_markdown(cell.text) for cell in row] for row in table.rows]
    return [f"| {' | '.join(cells)} |" for cells in ([*table.columns], rule, *rows)]


def _escape_markdown(text: str) -> str:
    """One line that shows ``text`` as it is: no markup, no new table cell, no HTML."""
    flat = re.sub(r"\s+", " ", text)
    # An underscore or a tilde inside a word or number is not markup; escaped it would only be hard to read.
    return re.sub(r"([\\`*|<>\[\]]|(?<!\w)_|_(?!\w)|~(?=~))", r"\\\1", flat).replace("&", "&amp;")


def to_csv(runs: Sequence[Run]) -> str:
    """One row a line of the run file, sessions apart, units in the column names, full precision.

    An empty field is a value that is not known.
    """
    out = io.StringIO()
    rows = [_csv_row(run, point) for run in runs for point in run.points]
    writer = csv.DictWriter(out, fieldnames=_CSV_FIELDS, lineterminator="\n")
    writer.writeheader()
    writer.writerows({name: _inert(value) for name, value in row.items()} for row in rows)
    return printable_lines(out.getvalue())


_FORMULA = ("=", "+", "-", "@", "\t", "\r")


def _inert(value: Any) -> Any:
    """Text that a spreadsheet would take for a formula, marked as text: a run file may be anybody's."""
    return f"'{value}" if isinstance(value, str) and value.startswith(_FORMULA) else value


_CSV_FIELDS = (
    "run_id", "run_file", "created_utc", "key", "session", "impl", "kind", "backend", "pass", "seq_len_tokens",
    "batch", "heads", "kv_heads", "head_dim", "dtype", "causal", "world_size", "device", "options_json",
    "details_json", "status", "reason", "execution", "median_ns", "median_per_block_ns", "ci95_low_ns",
    "ci95_high_ns", "mean_ns", "p95_ns", "noise_ratio", "iterations", "effective_iterations", "interval",
    "sessions", "stopped_by", "verdict", "verdict_reasons", "actual_flops",
    "dense_equivalent_flops", "actual_tflop_per_s", "dense_equivalent_tflop_per_s", "io_bytes", "comm_bytes",
    "input_bytes", "peak_bytes", "nvml_peak_bytes", "reserved_peak_bytes", "nvml_process_peak_bytes",
    "verification_status", "verification_rows",
    "verification_max_error", "verification_tolerance",
)  # fmt: skip


def _csv_row(run: Run, point: AnyPoint) -> dict[str, Any]:
    case = point.case.model_dump(by_alias=True)
    row: dict[str, Any] = {
        "run_id": run.header.run_id,
        "run_file": run.path.name,
        "created_utc": run.header.created,
        "key": point.key,
        "session": point.session,
        "seq_len_tokens": case.pop("seq_len"),
        "options_json": json.dumps(case.pop("options"), sort_keys=True),
        "details_json": json.dumps(point.details, sort_keys=True),
        "status": point.status,
        "reason": point.reason,
        "median_per_block_ns": median_per_block(point),
        "execution": point.execution,
        "actual_tflop_per_s": actual_tflops(point),
        "dense_equivalent_tflop_per_s": dense_tflops(point),
        **case,
    }
    if latency := point.latency:
        row.update(latency.model_dump(exclude={"iterations_ns", "ci95_ns", "noise"}))
        row.update(noise_ratio=latency.noise, iterations=len(latency.iterations_ns))
        row["ci95_low_ns"], row["ci95_high_ns"] = latency.ci95_ns or (None, None)
    if isinstance(point, MeasuredPoint) and point.verdict:
        row.update(verdict=point.verdict.kind, verdict_reasons="; ".join(point.verdict.reasons))
    if memory := point.memory:
        row.update(memory.model_dump())
    if cost := point.cost:
        row.update(actual_flops=cost.flops, dense_equivalent_flops=cost.dense_flops)
        row.update(io_bytes=cost.io_bytes, comm_bytes=cost.comm_bytes)
    if found := point.verification:
        row.update({f"verification_{name}": value for name, value in found.model_dump().items()})
    return row


def to_json(runs: Sequence[Run]) -> str:
    """``{"runs": [{"file", "run", "points", "merged", "warnings"}], "fits": [...]}``.

    ``points`` are the records as they were written, sessions apart; ``merged`` has a record for each
    case that several sessions measured, with the interval between them. Fits are of merged points.
    """
    content = {
        "runs": [
            {
                "file": run.path.name,
                "run": _as_written(run.header),
                "points": [_as_written(point) for point in run.points],
                "merged": [
                    _as_written(point)
                    for point in merged_points(run)
                    if point.latency is not None and point.latency.interval == "between"
                ],
                "warnings": run.warnings,
            }
            for run in runs
        ],
        "fits": [_fit(one, runs[one.curve.run]) for one in build_series(runs)],
    }
    return printable_json(json.dumps(content, ensure_ascii=False, allow_nan=False, indent=1)) + "\n"


def _as_written(line: RunHeader | AnyPoint) -> Any:
    """What its line in a run file says: no NaN, for one, which JSON has no word for."""
    return json.loads(dump_line(line))


def _fit(series: Series, run: Run) -> dict[str, Any]:
    """A curve's fit; ``fit`` is null with fewer than 3 measured lengths. The coefficient is in nanoseconds."""
    case = series.curve.case
    return {
        "run_id": run.header.run_id,
        "label": series.label,
        "curve": case.curve,
        "impl": case.impl,
        "backend": case.backend,
        "pass": case.pass_,
        "execution": series.curve.execution,
        "constant": format_workload(series.curve),
        "work_exponent": series.work,
        "fit": asdict(series.fit) if series.fit else None,
        "local_exponents": [asdict(step) for step in series.local],
        "speedup": asdict(series.speedup) if series.speedup else None,
    }
