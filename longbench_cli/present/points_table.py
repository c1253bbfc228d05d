"""The table of all points: a column for whatever is not the same in all of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from longbench_cli.analyse.curves import AnyPoint
from longbench_cli.analyse.sessions import merged_points
from longbench_cli.present.rates import actual_tflops, dense_tflops, median_per_block
from longbench_cli.present.series import format_options, run_label
from longbench_cli.present.tables import NOTHING, Cell, Table, number, whole, word
from longbench_cli.present.trust import holds, precision_words
from longbench_cli.present.units import (
    count,
    format_bytes,
    format_duration,
    format_interval,
    format_significant,
    is_count,
)
from longbench_cli.record.schema import MeasuredPoint
from longbench_cli.sweep.axes import format_length

if TYPE_CHECKING:
    from longbench_cli.record.journal import Run


@dataclass(frozen=True, slots=True)
class _Column:
    title: str
    cell: Callable[[str, AnyPoint], Cell]
    numeric: bool = False
    always: bool = False
    blanks_vary: bool = True  # else a column of one value and blanks is said once for all points


def _median(_run: str, point: AnyPoint) -> Cell:
    return number(point.latency.median_ns if point.latency else None, format_duration)


def _interval(_run: str, point: AnyPoint) -> Cell:
    latency = point.latency
    if latency is None or latency.ci95_ns is None:
        return NOTHING
    return Cell(format_interval(*latency.ci95_ns, latency.median_ns), latency.noise)


def _precision(_run: str, point: AnyPoint) -> Cell:
    return Cell(precision_words(point.latency), point.latency.noise) if point.latency else NOTHING


def _holds(_run: str, point: AnyPoint) -> Cell:
    return word(holds(point.latency)) if point.latency else NOTHING


def _verdict(_run: str, point: AnyPoint) -> Cell:
    return word(point.verdict.kind) if isinstance(point, MeasuredPoint) and point.verdict else NOTHING


def _why(_run: str, point: AnyPoint) -> Cell:
    return word("; ".join(point.verdict.reasons)) if isinstance(point, MeasuredPoint) and point.verdict else NOTHING


def _per_block(_run: str, point: AnyPoint) -> Cell:
    return number(median_per_block(point), format_duration)


def _size(_run: str, point: AnyPoint) -> Cell:
    """What the options of a model, or its defaults, come to."""
    known = {name: point.details[name] for name in ("depth", "dim", "parameters") if name in point.details}
    if point.case.kind != "model" or not all(is_count(value) for value in known.values()):
        return NOTHING
    parts = [count(known["depth"], "layer")] if "depth" in known else []
    parts += [f"width {known['dim']}"] if "dim" in known else []
    if "parameters" in known:
        parts.append(f"{format_significant(known['parameters'] / 1e6)} million parameters")
    return Cell(", ".join(parts), known.get("parameters")) if parts else NOTHING


def _iterations(_run: str, point: AnyPoint) -> Cell:
    return whole(point.latency.count) if point.latency else NOTHING


def _actual(_run: str, point: AnyPoint) -> Cell:
    return number(actual_tflops(point), format_significant)


def _dense(_run: str, point: AnyPoint) -> Cell:
    return number(dense_tflops(point), format_significant)


def _peak(_run: str, point: AnyPoint) -> Cell:
    return number(point.memory.peak_bytes if point.memory else None, format_bytes)


def _nvml(_run: str, point: AnyPoint) -> Cell:
    return number(point.memory.nvml_peak_bytes if point.memory else None, format_bytes)


def _verified(_run: str, point: AnyPoint) -> Cell:
    found = point.verification
    if found is None:
        return NOTHING
    return word(found.status if found.status == "skipped" else f"{found.status}, {found.rows} rows")


def _error(_run: str, point: AnyPoint) -> Cell:
    found = point.verification
    if found is None or found.max_error is None:
        return NOTHING
    share = found.max_error / found.tolerance if found.tolerance else None
    return Cell(f"{found.max_error:.2g} / {found.tolerance:.2g}", share)


_COLUMNS = (
    _Column("run", lambda run, _point: word(run)),
    _Column("implementation", lambda _run, point: word(point.case.impl), always=True),
    _Column("kind", lambda _run, point: word(point.case.kind)),
    _Column("back end", lambda _run, point: word(point.case.backend), always=True),
    _Column("pass", lambda _run, point: word(point.case.pass_), always=True),
    _Column("N", lambda _run, point: Cell(format_length(point.case.seq_len), point.case.seq_len), True, True),
    _Column("batch", lambda _run, point: whole(point.case.batch), True),
    _Column("heads", lambda _run, point: whole(point.case.heads), True),
    _Column("kv heads", lambda _run, point: whole(point.case.kv_heads), True),
    _Column("head dim", lambda _run, point: whole(point.case.head_dim), True),
    _Column("dtype", lambda _run, point: word(point.case.dtype)),
    _Column("causal", lambda _run, point: word("yes" if point.case.causal else "no")),
    _Column("ranks", lambda _run, point: whole(point.case.world_size), True),
    _Column("device", lambda _run, point: word(point.case.device)),
    _Column("options", lambda _run, point: word(format_options(point.case.options))),
    _Column("model size", _size),
    _Column("status", lambda _run, point: word(point.status), always=True),
    _Column("median", _median, True, True),
    _Column("median per block", _per_block, True),
    _Column("precision", _precision, True, True),
    _Column("95% interval", _interval, True),
    _Column("interval holds", _holds, blanks_vary=False),
    _Column("iterations", _iterations, True, True),
    _Column("TFLOP/s (actual)", _actual, True, True),
    _Column("TFLOP/s (dense-equivalent)", _dense, True, True),
    _Column("peak memory", _peak, True),
    _Column("NVML peak", _nvml, True),
    _Column("verified", _verified, always=True),
    _Column("max error / tolerance", _error, True),
    _Column("verdict", _verdict, blanks_vary=False),
    _Column("why", _why),
    _Column("execution", lambda _run, point: word(point.execution)),
    _Column("reason", lambda _run, point: word(point.reason or "")),
)
_REASONS = ("reason", "why")


def points_table(runs: Sequence[Run]) -> Table:
    """Every point of ``runs``, one a row, sessions merged; what is the same in all of them goes to ``common``."""
    points = [merged_points(run) for run in runs]
    pairs = [(run_label(run, runs), point) for run, own in zip(runs, points, strict=True) for point in _by_curve(own)]
    cells = [tuple(column.cell(*pair) for pair in pairs) for column in _COLUMNS]
    kept: list[int] = []
    common: list[tuple[str, str]] = []
    for index, column in enumerate(_COLUMNS):
        if column.title == "options" and (given := _own_options(runs)) is not None:
            common += given
            continue
        values = {cell.text for cell in cells[index]} - (set() if column.blanks_vary else {""})
        if column.always or len(values) > 1 or (column.title in _REASONS and values - {""}):
            kept.append(index)
        elif values - {""} and column.title != "run":
            common.append((column.title, values.pop()))
    return Table(
        columns=tuple(_COLUMNS[index].title for index in kept),
        numeric=tuple(_COLUMNS[index].numeric for index in kept),
        rows=tuple(tuple(cells[index][row] for index in kept) for row in range(len(pairs))),
        common=tuple(common),
    )


def _own_options(runs: Sequence[Run]) -> list[tuple[str, str]] | None:
    """The options of each implementation that has some; None if one has different ones at different points."""
    found: dict[str, set[str]] = {}
    for point in (point for run in runs for point in run.points):
        found.setdefault(point.case.impl, set()).add(format_options(point.case.options))
    if any(len(options) > 1 for options in found.values()):
        return None
    return [(f"{impl} options", options.pop()) for impl, options in found.items() if options - {""}]


def _by_curve(points: Sequence[AnyPoint]) -> list[AnyPoint]:
    """A sweep measures in an order of its own; people read a curve from its shortest length up."""
    first_seen: dict[tuple[str, str], int] = {}

    def place(point: AnyPoint) -> tuple[int, int]:
        curve = point.case.model_copy(update={"backend": ""}).curve
        return first_seen.setdefault((curve, point.execution), len(first_seen)), point.case.seq_len

    return sorted(points, key=place)
