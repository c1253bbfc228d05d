"""A comparison in a terminal: what was compared, a row a point, then why each that is not ok is not."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

from longbench_cli.analyse.comparison.types import Comparison, Kind
from longbench_cli.present.comparison.labels import labels_of
from longbench_cli.present.comparison.summary import advice, alarm, facts_of, flagged, gathered, headline
from longbench_cli.present.comparison.table import comparison_table
from longbench_cli.present.tables import Cell
from longbench_cli.present.terminal import render_for_terminal, rich_table
from longbench_cli.present.units import count
from longbench_cli.printable import printable

if TYPE_CHECKING:
    from rich.console import RenderableType

_STYLES: Mapping[Kind, str] = {
    "incorrect": "bold red",
    "regression": "bold red",
    "not-comparable": "yellow",
    "inconclusive": "yellow",
    "improvement": "green",
    "new": "cyan",
    "ok": "",
}


def to_terminal(comparison: Comparison, *, plain: bool) -> str:
    """The text, with colours for a terminal unless it is ``plain`` or nobody watches."""
    return render_for_terminal(_items(comparison), plain=plain)


def _items(comparison: Comparison) -> Iterator[RenderableType]:
    from rich.text import Text

    labels = labels_of(comparison.points)
    if said := alarm(comparison):
        yield Text(printable(said), style="bold reverse")
    facts = facts_of(comparison)
    width = max(len(name) for name, _ in facts)
    for name, text in facts:
        yield Text(f"{name:{width}}  {printable(text)}", style="dim")
    for warning in comparison.warnings:
        yield Text(f"{'warning':{width}}  {printable(warning)}", style="yellow")
    yield Text()
    yield rich_table(comparison_table(comparison.points, labels, why=False), _style)
    yield Text()
    found = flagged(comparison)
    for group in gathered(found):
        kind, reason = group[0].kind, group[0].reason
        named = labels[group[0].key] if len(group) == 1 else count(len(group), "point")
        yield Text(f"{kind}: {printable(f'{named}: {reason}')}", style=_STYLES[kind])
    for line in advice(comparison):
        yield Text(printable(line))
    if found:
        yield Text()
    yield Text(printable(headline(comparison)), style=" ".join(("bold", _STYLES[found[0].kind] if found else "green")))


def _style(row: Sequence[Cell]) -> str:
    return next((style for kind, style in _STYLES.items() if row[0].text == kind), "")
