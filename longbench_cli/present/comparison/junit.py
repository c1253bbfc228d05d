"""A comparison as JUnit XML, which most CI systems show: a test a point."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Literal
from xml.sax.saxutils import escape, quoteattr

from longbench_cli.analyse.comparison.types import Comparison, PointVerdict
from longbench_cli.present.comparison.explained import explanation
from longbench_cli.present.comparison.labels import labels_of
from longbench_cli.present.comparison.summary import advice, alarm, facts_of, fails, headline, name_of
from longbench_cli.printable import printable, printable_lines

_Outcome = Literal["failure", "skipped", "passed"]


def to_junit(comparison: Comparison, *, inconclusive_fails: bool) -> str:
    """A test a point, with what is behind its verdict as its output.

    What fails the gate is a failure. What was not decided, as there was nothing to compare with or too much noise,
    is skipped, with the reason: it neither passed nor failed, and a CI system shows it as such. An improvement passes.
    """
    labels, name = labels_of(comparison.points), name_of(comparison)
    outcomes = [_outcome(point, inconclusive_fails=inconclusive_fails) for point in comparison.points]
    counts = Counter(outcomes)
    totals = f'tests="{len(outcomes)}" failures="{counts["failure"]}" errors="0" skipped="{counts["skipped"]}"'
    facts = [f"{title}: {text}" for title, text in facts_of(comparison)]
    said = [headline(comparison), *filter(None, [alarm(comparison)]), *facts, *comparison.warnings, *advice(comparison)]
    lines = [
        '<?xml version="1.0" encoding="UTF-8"?>',
        f'<testsuites name="{name}" {totals}>',
        f'<testsuite name="{name}" {totals}>',
        *(
            line
            for point, outcome in zip(comparison.points, outcomes, strict=True)
            for line in _test(point, labels[point.key], outcome)
        ),
        f"<system-out>{_text(said)}</system-out>",
        "</testsuite>",
        "</testsuites>",
    ]
    return "\n".join(lines) + "\n"


def _outcome(point: PointVerdict, *, inconclusive_fails: bool) -> _Outcome:
    if fails(point, inconclusive_fails=inconclusive_fails):
        return "failure"
    return "skipped" if point.kind in ("inconclusive", "new") else "passed"


def _test(point: PointVerdict, label: str, outcome: _Outcome) -> Iterator[str]:
    reason = _attribute(f"{point.kind}: {point.reason}")
    yield f"<testcase classname={_attribute(f'longbench.{point.case.impl}')} name={_attribute(label)}>"
    if outcome == "failure":
        yield f'<failure type="{point.kind}" message={reason}>{_text([point.reason])}</failure>'
    elif outcome == "skipped":
        yield f"<skipped message={reason}/>"
    yield f"<system-out>{_text(explanation(point, label))}</system-out>"
    yield "</testcase>"


def _attribute(text: str) -> str:
    """Quoted; XML has no way to write a control character, so each is shown as its escape."""
    return quoteattr(printable(text))


def _text(lines: Sequence[str]) -> str:
    return escape(printable_lines("\n".join(lines)))
