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
from longbench_cli.analyse.parallel_scaling import rank_curves
from longbench_cli.analyse.sessions import merged_points
from longbench_cli.present.findings import finding
from longbench_cli.present.points_table import points_table
from longbench_cli.present.rank_section import rank_section
from longbench_cli.present.rank_series import RankSeries, build_rank_series
from longbench_cli.present.rates import actual_tflops, dense_tflops, median_per_block
from longbench_cli.present.series import Series, build_series, format_workload, title_of
from longbench_cli.present.tables import Table, fits_table
from longbench_cli.printable import printable_json, printable_lines
from longbench_cli.record.schema import MeasuredPoint, RunHeader, dump_line

if TYPE_CHECKING:
    from longbench_cli.record.journal import Run


def to_markdown(runs: Sequence[Run]) -> str:
    """Findings, the fitted exponents and all points, as GitHub-flavoured Markdown."""
    series = build_series(runs)
    points = points_table(runs)
    lines = [f"### {escape_markdown(title_of(series))}", ""]
    lines += [f"- {escape_markdown(finding(one))}" for one in series]
    lines += ["", "#### Fitted exponents of N", "", *markdown_table(fits_table(series)), "", "#### Points", ""]
    if points.common:
        same = ", ".join(f"{title} {value}" for title, value in points.common)
        lines += [f"The same for all points: {escape_markdown(same)}.", ""]
    lines += markdown_table(points)
    ranks = rank_section(runs)
    if ranks:
        lines += ["", *(f"- {escape_markdown(line)}" for line in (*ranks.notes, *ranks.sentences))]
    for title, table in ranks.tables().items():
        lines += ["", f"#### {title}", "", *markdown_table(table)]
    lines += ["", *(f"- Measured {escape_markdown(_origin(run))}." for run in runs)]
    lines += [f"- Warning: {escape_markdown(warning)}" for run in runs for warning in run.warnings]
    return printable_lines("\n".join(lines) + "\n")


def _origin(run: Run) -> str:
    return f"{run.header.created} with longbench {run.header.version}, run {run.header.run_id}"


def markdown_table(table: Table) -> list[str]:
    """The lines of ``table`` in GitHub-flavoured Markdown."""
    rule = ["---:" if numeric else "---" for numeric in table.numeric]
    rows = [[escape_markdown(cell.text) for cell in row] for row in table.rows]
    return [f"| {' | '.join(cells)} |" for cells in ([*table.columns], rule, *rows)]


def escape_markdown(text: str) -> str:
    """One line that shows ``text`` as it is: no markup, no new table cell, no HTML."""
    flat = re.sub(r"\s+", " ", text)
    # An underscore or a tilde inside a word or number is not markup; escaped it would only be hard to read.
    return re.sub(r"([\\`*|<>\[\]]|(?<!\w)_|_(?!\w)|~(?=~))", r"\\\1", flat).replace("&", "&amp;")


def to_csv(runs: Sequence[Run]) -> str:
    """One row a line of the run file, sessions apart, units in the column names, full precision.

    An empty field is a value that is not known.
    """
    out = io.StringIO()
    scaled = _scaled(runs)
    rows = [
        _csv_row(run, point) | scaled.get((place, point.key), {})
        for place, run in enumerate(runs)
        for point in run.points
    ]
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
    "comm_algorithm", "comm_shares", "comm_received_bytes", "comm_received_bytes_most", "comm_full_ns",
    "comm_compute_ns", "comm_communication_ns", "comm_exposed_ns", "comm_overlap", "comm_straggler_spread",
    "comm_imbalance", "comm_imbalance_measured", "strong_speedup", "strong_efficiency", "weak_efficiency",
    "strong_work_efficiency", "weak_work_efficiency",
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
        row.update(latency.model_dump(exclude={"iterations_ns", "ci95_ns", "noise", "turns", "omitted"}))
        row.update(noise_ratio=latency.noise, iterations=latency.count)
        row["ci95_low_ns"], row["ci95_high_ns"] = latency.ci95_ns or (None, None)
    if isinstance(point, MeasuredPoint) and point.verdict:
        row.update(verdict=point.verdict.kind, verdict_reasons="; ".join(point.verdict.reasons))
    if isinstance(point, MeasuredPoint) and (told := point.communication):
        row.update({f"comm_{name}": value for name, value in told.model_dump(exclude={"bandwidth"}).items()})
    if memory := point.memory:
        row.update(memory.model_dump())
    if cost := point.cost:
        row.update(actual_flops=cost.flops, dense_equivalent_flops=cost.dense_flops)
        row.update(io_bytes=cost.io_bytes, comm_bytes=cost.comm_bytes)
    if found := point.verification:
        row.update({f"verification_{name}": value for name, value in found.model_dump().items()})
    return row


def _scaled(runs: Sequence[Run]) -> dict[tuple[int, str], dict[str, float | None]]:
    """How a point (place of its run, key) scales over ranks; sessions merged. One that all are compared with has 1."""
    found: dict[tuple[int, str], dict[str, float | None]] = {}
    for curve in rank_curves(runs):
        for at in curve.points:
            row = found.setdefault((curve.run, at.point.key), {})
            row[f"{curve.way}_efficiency"], row[f"{curve.way}_work_efficiency"] = at.efficiency, at.work_efficiency
            if at.speedup is not None:
                row["strong_speedup"] = at.speedup
    return found


def to_json(runs: Sequence[Run]) -> str:
    """``{"runs": [{"file", "run", "points", "merged", "warnings"}], "fits": [...], "rank_scaling": [...]}``.

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
        "rank_scaling": [_over_ranks(one, runs[one.curve.run]) for one in build_rank_series(runs)],
    }
    return printable_json(json.dumps(content, ensure_ascii=False, allow_nan=False, indent=1)) + "\n"


def _over_ranks(series: RankSeries, run: Run) -> dict[str, Any]:
    """A curve over ranks; ``problem`` is the case of the whole (strong) or of one rank (weak), on one rank."""
    return {
        "run_id": run.header.run_id,
        "label": series.label,
        "scaling": series.curve.way,
        "problem": series.curve.case.key,
        "execution": series.curve.execution,
        "points": [
            {
                "key": at.point.key,
                "ranks": at.ranks,
                "median_ns": at.point.latency.median_ns,
                "speedup": at.speedup,
                "efficiency": at.efficiency,
                "work_efficiency": at.work_efficiency,
            }
            for at in series.curve.points
        ],
    }


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
