"""Predictions as tables: in a terminal, as Markdown, as JSON. Each number says that nobody has measured it."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from statistics import median
from typing import Any

from longbench_cli.analyse.prediction.estimate import Estimate
from longbench_cli.analyse.prediction.families import Family
from longbench_cli.analyse.prediction.forecast import Forecast
from longbench_cli.analyse.prediction.held_out import HeldOut, Score, score
from longbench_cli.analyse.prediction.memory import peak_of
from longbench_cli.present.export import escape_markdown, markdown_table
from longbench_cli.present.series import format_options
from longbench_cli.present.tables import Cell, Table
from longbench_cli.present.trust import doubts
from longbench_cli.present.units import count, format_bytes, format_duration, format_range
from longbench_cli.printable import printable_json, printable_lines
from longbench_cli.sweep.axes import format_length
from longbench_cli.sweep.case import Case

ROOFLINE = "roofline, nothing measured"


@dataclass(frozen=True, slots=True)
class Section:
    """What is said of one family, or of a hardware profile alone.

    Attributes:
        title: what is predicted, and for which machine.
        family: what was measured; None of a roofline.
        leave_one_out: relative errors of each measured point from the others; empty where there are too few.
        forecasts: the predictions.
        held_out: measured points that were held out; None where none was asked for, or the rest is too little.
        warnings: one line each.
    """

    title: str
    family: Family | None
    leave_one_out: tuple[float, ...]
    forecasts: tuple[Forecast, ...]
    held_out: tuple[HeldOut, ...] | None
    warnings: tuple[str, ...] = ()

    @property
    def sentences(self) -> list[str]:
        """What it rests on, and how good it has been."""
        said = [self.basis]
        if self.leave_one_out:
            errors = [abs(error) for error in self.leave_one_out]
            said.append(
                f"leave-one-out error of the fit: median {_share(median(errors))}, worst {_share(max(errors))} "
                f"({count(len(errors), 'point')})"
            )
        if self.held_out:
            said.append(score_words(score(self.held_out)))
        return [*said, *self.warnings]

    @property
    def basis(self) -> str:
        """What was measured."""
        if self.family is None:
            return f"{ROOFLINE}: data sheet and assumed efficiency, no interval"
        points = self.family.points
        ranks = sorted({point.case.world_size for point in points})
        executions = sorted({point.execution for point in points})
        lengths = format_range([point.case.seq_len for point in points])
        doubted = doubts(points)
        return (
            f"measured: {count(len(points), 'point')}{f' ({doubted})' if doubted else ''}, {lengths}, "
            f"{', '.join(map(str, ranks))} {'rank' if ranks == [1] else 'ranks'}, {' and '.join(executions)}, "
            f"on {self.family.machine.label} ({', '.join(self.family.runs)})"
        )


def score_words(found: Score) -> str:
    """``held out: 24 points, median error 6.5%, worst 16%; 100% in their 90% intervals; memory: ...``."""
    said = (
        f"held out: {count(found.count, 'point')}, median error {_share(found.median_error)}, "
        f"worst {_share(found.worst_error)}; {found.coverage:.0%} in their 90% intervals"
    )
    if found.memory_median_error is None or found.memory_coverage is None:
        return said
    return f"{said}; memory: median error {_share(found.memory_median_error)}, {found.memory_coverage:.0%}"


def total_score(sections: Sequence[Section]) -> Score | None:
    """Of all sections together; None where nothing was held out."""
    rows = [row for section in sections for row in section.held_out or ()]
    return score(rows) if rows else None


_SIZES: dict[str, Callable[[Case], str]] = {
    "implementation": lambda case: case.impl,
    "pass": lambda case: case.pass_,
    "dtype": lambda case: case.dtype,
    "head dim": lambda case: str(case.head_dim),
    "causal": lambda case: "yes" if case.causal else "no",
    "options": lambda case: format_options({**case.options, "parallel": None}),
    "batch": lambda case: format_length(case.batch),
    "heads": lambda case: str(case.heads),
    "kv heads": lambda case: str(case.kv_heads),
}
_WORDS = frozenset({"implementation", "pass", "dtype", "causal", "options", "parallel", "fits", "basis"})


def forecast_table(forecasts: Sequence[Forecast]) -> Table:
    """A row a forecast; sizes that are the same in all are left out."""
    varied = [name for name, show in _SIZES.items() if len({show(one.case) for one in forecasts}) > 1]
    if "options" in varied and "options" not in varied_within([one.case for one in forecasts]):
        varied.remove("options")  # those of two implementations differ by nature
    parallel = ("parallel",) if any(_algorithm(one.case) for one in forecasts) else ()
    predicted = "predicted" if any(one.basis == "predicted" for one in forecasts) else "roofline"
    interval = ("90% interval",) if predicted == "predicted" else ()
    columns = (
        *varied, "N", "gpus", *parallel, f"{predicted} time", *interval, f"{predicted} memory a rank", *interval,
        "of", "fits", "basis",
    )  # fmt: skip
    rows = []
    for one in forecasts:
        seconds, held = one.seconds, one.peak_bytes
        basis = "; ".join((ROOFLINE if one.basis == "roofline" else one.basis, *one.notes))
        rows.append(
            (
                *(Cell(_SIZES[name](one.case), _SIZES[name](one.case)) for name in varied),
                Cell(format_length(one.case.seq_len), one.case.seq_len),
                Cell(str(one.case.world_size), one.case.world_size),
                *(Cell(_algorithm(one.case), None) for _ in parallel),
                Cell(format_duration(seconds.value * 1e9) if seconds else "", seconds.value if seconds else None),
                *(Cell(_times(seconds), None) for _ in interval),
                Cell(format_bytes(held.value) if held else "", held.value if held else None),
                *(Cell(_sizes(held), None) for _ in interval),
                Cell(format_bytes(one.room_bytes), one.room_bytes),
                Cell("unsupported" if one.refused else one.fits, None),
                Cell(one.refused or basis, None),
            )
        )
    numeric = tuple(title not in _WORDS for title in columns)
    return Table(columns, numeric, tuple(rows))


def varied_within(cases: Sequence[Case]) -> dict[str, Callable[[Case], str]]:
    """Of the columns about a case, those in which cases of one implementation differ, and what they show."""
    impls = {case.impl for case in cases}
    return {
        name: show for name, show in _SIZES.items() if len({(case.impl, show(case)) for case in cases}) > len(impls)
    }


def _algorithm(case: Case) -> str:
    return str(case.options.get("parallel") or "")


def held_out_table(rows: Sequence[HeldOut]) -> Table:
    """A row a held-out point: predicted from the others, and measured."""
    columns = (
        "N", "gpus", "execution", "measured", "predicted", "error", "90% interval", "held",
        "memory measured", "memory predicted", "error", "held",
    )  # fmt: skip
    found = []
    for row in sorted(rows, key=lambda one: (one.point.case.world_size, one.point.case.seq_len)):
        case, memory_error, peak = row.point.case, row.memory_error, peak_of(row.point)
        found.append(
            (
                Cell(format_length(case.seq_len), case.seq_len),
                Cell(str(case.world_size), case.world_size),
                Cell(row.point.execution, None),
                Cell(format_duration(row.point.latency.median_ns), row.point.latency.median_ns),
                Cell(format_duration(row.seconds.value * 1e9), row.seconds.value),
                Cell(f"{row.error:+.1%}", row.error),
                Cell(_times(row.seconds), None),
                Cell("yes" if row.held else "no", None),
                Cell(format_bytes(peak) if peak else "", peak),
                Cell(format_bytes(row.peak_bytes.value) if row.peak_bytes else "", None),
                Cell("" if memory_error is None else f"{memory_error:+.1%}", memory_error),
                Cell("" if row.memory_held is None else "yes" if row.memory_held else "no", None),
            )
        )
    return Table(columns, tuple(title not in ("execution", "held") for title in columns), tuple(found))


def to_markdown(sections: Sequence[Section]) -> str:
    """Every section: what it rests on, its predictions, its held-out points."""
    lines = []
    for section in sections:
        lines += [f"### Predicted: {escape_markdown(section.title)}", ""]
        lines += [f"- {escape_markdown(sentence)}" for sentence in section.sentences]
        if section.forecasts:
            lines += ["", *markdown_table(forecast_table(section.forecasts))]
        if section.held_out:
            lines += [
                "",
                "Held out, and predicted from the rest:",
                "",
                *markdown_table(held_out_table(section.held_out)),
            ]
        lines.append("")
    if len(sections) > 1 and (total := total_score(sections)):
        lines += [f"All together: {score_words(total)}.", ""]
    return printable_lines("\n".join(lines))


def to_json(sections: Sequence[Section]) -> str:
    """``{"sections": [{"title", "basis", "machine", "leave_one_out", "forecasts", "held_out", "score"}], "score"}``.

    Times are seconds, memory bytes. ``predicted`` is true of every forecast: none of them was measured.
    """
    total = total_score(sections)
    content = {"sections": [_section(one) for one in sections], "score": asdict(total) if total else None}
    return printable_json(json.dumps(content, ensure_ascii=False, allow_nan=False, indent=1)) + "\n"


def _section(section: Section) -> dict[str, Any]:
    family, rows = section.family, section.held_out or ()
    return {
        "title": section.title,
        "basis": section.basis,
        "machine": asdict(family.machine) if family else None,
        "runs": family.runs if family else (),
        "warnings": section.warnings,
        "leave_one_out": section.leave_one_out,
        "forecasts": [_forecast(one) for one in section.forecasts],
        "held_out": [_held_out(row) for row in rows],
        "score": asdict(score(rows)) if rows else None,
    }


def _forecast(one: Forecast) -> dict[str, Any]:
    return {
        "predicted": True,
        "basis": ROOFLINE if one.basis == "roofline" else one.basis,
        "key": one.case.key,
        "case": one.case.model_dump(by_alias=True),
        "execution": one.execution,
        "seconds": one.seconds.value if one.seconds else None,
        "seconds_90": _ends(one.seconds),
        "peak_bytes": one.peak_bytes.value if one.peak_bytes else None,
        "peak_bytes_90": _ends(one.peak_bytes),
        "room_bytes": one.room_bytes,
        "fits": one.fits,
        "notes": one.notes,
        "refused": one.refused,
    }


def _held_out(row: HeldOut) -> dict[str, Any]:
    return {
        "key": row.point.key,
        "measured_seconds": row.point.latency.median_ns / 1e9,
        "seconds": row.seconds.value,
        "seconds_90": _ends(row.seconds),
        "error": row.error,
        "held": row.held,
        "measured_peak_bytes": peak_of(row.point),
        "peak_bytes": row.peak_bytes.value if row.peak_bytes else None,
        "peak_bytes_90": _ends(row.peak_bytes),
        "peak_held": row.memory_held,
    }


def _ends(found: Estimate | None) -> tuple[float, float] | None:
    return (found.low, found.high) if found and found.low < found.high else None


def _times(found: Estimate | None) -> str:
    return f"{format_duration(found.low * 1e9)} to {format_duration(found.high * 1e9)}" if found else ""


def _sizes(found: Estimate | None) -> str:
    if found is None or found.low == found.high:
        return ""
    return f"{format_bytes(found.low)} to {format_bytes(found.high)}"


def _share(value: float) -> str:
    return f"{value:.1%}" if value < 0.995 else f"{value:.0%}"
