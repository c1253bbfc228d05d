"""A comparison as workflow commands of GitHub Actions: what is wrong, shown at the run and at the pull request.

The syntax, and what must be escaped in it, is that of actions/toolkit (packages/core/src/command.ts): in a message
``%`` and line ends; in a property ``:`` and ``,`` as well.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

from longbench_cli.analyse.comparison.types import Comparison, PointVerdict
from longbench_cli.present.comparison.labels import labels_of
from longbench_cli.present.comparison.summary import fails, flagged, gathered, name_of
from longbench_cli.present.units import count
from longbench_cli.printable import printable_lines

MOST = 10
"""Annotations of a level that GitHub shows of a step."""

Level = Literal["error", "warning", "notice"]


def to_annotations(comparison: Comparison, *, inconclusive_fails: bool) -> str:
    """A command a line: errors for what fails the gate, warnings for what is undecided, notices for what is faster.

    Empty where every point is ok or new. The last of more than :data:`MOST` says how many are left out.
    """
    labels, name = labels_of(comparison.points), name_of(comparison)
    found: dict[Level, list[PointVerdict]] = {"error": [], "warning": [], "notice": []}
    for point in flagged(comparison):
        if fails(point, inconclusive_fails=inconclusive_fails):
            found["error"].append(point)
        elif point.kind == "inconclusive":
            found["warning"].append(point)
        elif point.kind == "improvement":
            found["notice"].append(point)
    return "".join(f"{line}\n" for level, points in found.items() for line in _commands(level, points, labels, name))


def _commands(level: Level, points: list[PointVerdict], labels: dict[str, str], name: str) -> Iterator[str]:
    groups = gathered(points)
    shown = groups if len(groups) <= MOST else groups[: MOST - 1]
    for group in shown:
        named = labels[group[0].key] if len(group) == 1 else count(len(group), "point")
        yield f"::{level} title={_property(f'{name}: {group[0].kind}: {named}')}::{_message(group[0].reason)}"
    if left := sum(map(len, groups[len(shown) :])):
        yield f"::{level} title={_property(name)}::and {count(left, 'more point')}: see the summary of the step"


def _message(text: str) -> str:
    return printable_lines(text).replace("%", "%25").replace("\n", "%0A")


def _property(text: str) -> str:
    return _message(text).replace(":", "%3A").replace(",", "%2C")
