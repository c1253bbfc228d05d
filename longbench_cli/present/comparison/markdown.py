"""A comparison as GitHub-flavoured Markdown, for a step summary or a comment: short, with the rest folded away."""

from __future__ import annotations

import html
from collections.abc import Iterator

from longbench_cli.analyse.comparison.types import Comparison
from longbench_cli.present.comparison.explained import explanation
from longbench_cli.present.comparison.labels import labels_of
from longbench_cli.present.comparison.summary import advice, alarm, facts_of, flagged, headline, name_of
from longbench_cli.present.comparison.table import NOTE, comparison_table
from longbench_cli.present.export import escape_markdown, markdown_table
from longbench_cli.present.units import count
from longbench_cli.printable import printable_lines

MOST_EXPLAINED = 40
"""Points whose verdict is explained, the worst: a step summary holds 1 MiB."""


def to_markdown(comparison: Comparison) -> str:
    """A summary line, a table of what is not ok and what to do about it; everything else is folded away."""
    return printable_lines("\n".join(_lines(comparison)) + "\n")


def _lines(comparison: Comparison) -> Iterator[str]:
    labels = labels_of(comparison.points)
    found = flagged(comparison)
    fine = [point for point in comparison.points if point.kind == "ok"]
    yield f"### {name_of(comparison)}: {escape_markdown(headline(comparison))}"
    yield ""
    if said := alarm(comparison):
        yield from ("> [!WARNING]", f"> **{escape_markdown(said)}**", "")
    for name, text in facts_of(comparison):
        yield f"- {name}: {escape_markdown(text)}"
    for line in (*comparison.warnings, *advice(comparison)):
        yield f"- **{escape_markdown(line)}**"
    if found:
        yield from ("", *markdown_table(comparison_table(found, labels)))
    if fine:
        yield from ("", f"<details><summary>{count(len(fine), 'point')} ok</summary>", "")
        yield from (*markdown_table(comparison_table(fine, labels)), "", "</details>")
    if found:
        shown = found[:MOST_EXPLAINED]
        which = "" if len(shown) == len(found) else f" ({len(shown)} of {len(found)})"
        yield from ("", f"<details><summary>Behind each verdict that is not ok{which}</summary>", "")
        for point in shown:
            yield f"<pre>{html.escape(chr(10).join(explanation(point, labels[point.key])), quote=False)}</pre>"
            yield ""
        if left := [labels[point.key] for point in found[MOST_EXPLAINED:]]:
            yield from (f"Not explained here: {escape_markdown(', '.join(left))}", "")
        yield "</details>"
    yield from ("", NOTE)
