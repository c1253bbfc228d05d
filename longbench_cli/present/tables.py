"""Tables as text: the Markdown and the HTML outputs draw the same cells; and the table of fits."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from longbench_cli.present.findings import growth
from longbench_cli.present.series import Series
from longbench_cli.present.units import format_fixed, format_range
from longbench_cli.sweep.axes import format_length


@dataclass(frozen=True, slots=True)
class Cell:
    """``text`` as shown; ``order`` is what a sortable table sorts by, None for nothing to compare."""

    text: str
    order: float | str | None


@dataclass(frozen=True, slots=True)
class Table:
    """Columns and rows. ``common`` names the columns left out because every row has the same value."""

    columns: tuple[str, ...]
    numeric: tuple[bool, ...]
    rows: tuple[tuple[Cell, ...], ...]
    common: tuple[tuple[str, str], ...] = ()


NOTHING = Cell("", None)
"""An empty cell."""


def word(value: str) -> Cell:
    """Text, or nothing where it is empty."""
    return Cell(value, value) if value else NOTHING


def number(value: float | None, show: Callable[[float], str]) -> Cell:
    """A number as ``show`` has it, or nothing."""
    return NOTHING if value is None else Cell(show(value), value)


def whole(value: int) -> Cell:
    """A whole number."""
    return Cell(str(value), value)


_FIT_COLUMNS = (
    ("curve", False),
    ("back end", False),
    ("exponent of N", True),
    ("95% interval", True),
    ("of the work", True),
    ("R²", True),
    ("N fitted", True),
    ("points", True),
    ("exponent from one length to the next", False),
)


def fits_table(series: Sequence[Series]) -> Table:
    """The fitted exponent of each curve; a curve without a fit says why in its last column."""
    return Table(
        columns=tuple(title for title, _ in _FIT_COLUMNS),
        numeric=tuple(numeric for _, numeric in _FIT_COLUMNS),
        rows=tuple(_fit_row(one) for one in series),
    )


def _fit_row(series: Series) -> tuple[Cell, ...]:
    fit = series.fit
    work = NOTHING if series.work is None else Cell(format_fixed(series.work, 3), series.work)
    steps = " · ".join(
        f"{format_length(step.shorter)}→{format_length(step.longer)} {format_fixed(step.exponent, 2)}"
        for step in series.local
    )
    name = (word(series.label), word(series.curve.case.backend))
    if fit is None:
        why = " · ".join(part for part in (growth(series), steps) if part)
        return (*name, Cell("no fit", None), NOTHING, work, NOTHING, NOTHING, NOTHING, word(why))
    return (
        *name,
        Cell(format_fixed(fit.exponent, 3), fit.exponent),
        Cell(f"{format_fixed(fit.low, 3)}–{format_fixed(fit.high, 3)}", fit.high - fit.low),
        work,
        Cell(f"{fit.r_squared:.4f}", fit.r_squared),
        Cell(format_range((fit.shortest, fit.longest)), fit.longest),
        whole(fit.points),
        word(steps),
    )
