"""What a benchmark found, a row a claim."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

_LAYOUT = "{:<58} {:>10} {:>10} {:<7} {}"


@dataclass(frozen=True, slots=True)
class Row:
    """A claim, what was measured, and the goal it is held against.

    Attributes:
        claim: what was measured, and on what.
        measured: the figure, with its unit.
        goal: what it should be, with its unit.
        met: whether it is; None where there was nothing to compare.
        detail: spread, absolute times, or why there is no figure.
    """

    claim: str
    measured: str
    goal: str
    met: bool | None
    detail: str


def _print_now(line: str) -> None:
    print(line, flush=True)


def print_rows(rows: Iterable[Row], emit: Callable[[str], None] = _print_now) -> None:
    """Emit a table line by line, each row as soon as it is known."""
    emit(_LAYOUT.format("claim", "measured", "goal", "", "detail"))
    for row in rows:
        verdict = {True: "met", False: "missed", None: "-"}[row.met]
        emit(_LAYOUT.format(row.claim, row.measured, row.goal, verdict, row.detail))
