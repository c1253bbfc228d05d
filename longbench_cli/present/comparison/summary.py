"""What is said above the points of a comparison: what was found, what was compared, how, and what to do."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence

from longbench_cli.analyse.comparison.types import KINDS, OK, Comparison, Kind, PointVerdict, SideInfo, exit_code
from longbench_cli.present.comparison.labels import labels_of
from longbench_cli.present.comparison.pairs import far_off, pairs_of
from longbench_cli.present.comparison.words import share, span
from longbench_cli.present.facts import COMMIT, Facts, machine_words
from longbench_cli.present.units import count

_NOUNS: Mapping[Kind, str] = {"regression": "regression", "improvement": "improvement"}
"""Kinds that have a plural; of the others there are "2 inconclusive"."""

_NAMED = 5
"""Names that one line lists."""

_ALLOWED = re.compile(r"allowed to differ: (?P<field>[^:]+): base (?P<base>.*), candidate (?P<candidate>.*)", re.DOTALL)
"""The step of a verdict that says so."""


def kinds_of(comparison: Comparison) -> dict[Kind, int]:
    """How many points have each verdict, worst first; every kind, those without a point too."""
    return {kind: len(comparison.of_kind(kind)) for kind in KINDS}


def counted(number: int, kind: Kind) -> str:
    """``2 regressions``, ``2 inconclusive``."""
    return count(number, _NOUNS[kind]) if kind in _NOUNS else f"{number} {kind}"


def flagged(comparison: Comparison) -> list[PointVerdict]:
    """The points that are not ok, worst first."""
    return sorted(
        (point for point in comparison.points if point.kind != "ok"), key=lambda point: KINDS.index(point.kind)
    )


def gathered(points: Sequence[PointVerdict]) -> list[list[PointVerdict]]:
    """The points in order; those that are not comparable for one and the same reason are together."""
    groups: dict[tuple[str, str], list[PointVerdict]] = {}
    for point in points:
        same = "" if point.kind == "not-comparable" else point.key
        groups.setdefault((same, point.reason), []).append(point)
    return list(groups.values())


def fails(point: PointVerdict, *, inconclusive_fails: bool) -> bool:
    """Whether the gate fails for this point."""
    return exit_code([point], inconclusive_fails=inconclusive_fails) != OK


def headline(comparison: Comparison) -> str:
    """``1 regression, 2 inconclusive, 57 ok of 60 points``; the words of one kind if all are alike.

    Of a slowdown that was put in: ``injected slowdown found in 5 of 6 points; missed: vanilla fwd 512``.
    """
    if injected := injected_of(comparison):
        found, missed = injected
        said = f"injected slowdown found in {len(found)} of {count(len(found) + len(missed), 'point')}"
        labels = labels_of(comparison.points)
        return said + (f"; missed: {listed([labels[point.key] for point in missed])}" if missed else "")
    kinds = [counted(number, kind) for kind, number in kinds_of(comparison).items() if number]
    total = count(len(comparison.points), "point")
    if len(kinds) == 1 and comparison.of_kind("ok"):
        return f"{total}, all ok" if len(comparison.points) > 1 else f"{total}, ok"
    return f"{', '.join(kinds)} of {total}" if kinds else total


def injected_of(comparison: Comparison) -> tuple[list[PointVerdict], list[PointVerdict]] | None:
    """The points whose injected slowdown was found, and the others that the base measured; None if none was put in."""
    if comparison.injected is None:
        return None
    slowed = [point for point in comparison.points if point.base.status == "ok"]
    found = [point for point in slowed if point.kind == "regression" and point.metric == "time"]
    return found, [point for point in slowed if point not in found]


def listed(names: Sequence[str]) -> str:
    """``a, b, c``; of many the first, and how many more."""
    more = len(names) - _NAMED
    return ", ".join(names) if more <= 0 else f"{', '.join(names[:_NAMED])} and {more} more"


def facts_of(comparison: Comparison) -> Facts:
    """Both sides, the machine and the way they were compared, as pairs of name and text."""
    gpu = any(point.case.device == "cuda" for point in comparison.points)
    machines = [machine_words(side.environment, gpu=gpu) for side in (comparison.base, comparison.candidate)]
    same = machines[0] == machines[1]
    machine = machines[0] if same else " against ".join(name or "unknown" for name in machines)
    allowed = "; ".join(_allowed(comparison))
    return [
        ("base", _side(comparison.base)),
        ("candidate", _side(comparison.candidate)),
        ("machine", machine or "unknown"),
        ("mode", _mode(comparison)),
        *([("allowed to differ", allowed)] if allowed else []),
    ]


def name_of(comparison: Comparison) -> str:
    """What a CI system calls it: an A/A gate, or one with a slowdown put in, must not be taken for a real one."""
    if comparison.injected is not None:
        return "longbench INJECTED"
    return "longbench A/A" if comparison.identical else "longbench"


def alarm(comparison: Comparison) -> str:
    """What changes the meaning of every number below, in capitals where it begins; mostly nothing."""
    if comparison.injected is not None:
        return (
            f"INJECTED: a slowdown of {share(comparison.injected)} was put into the candidate. This tests the gate, "
            "not the code: a regression is what should be found."
        )
    if comparison.identical:
        return (
            "A/A: both sides are the same code. What differs is an error of the instrument, and a regression or an "
            "improvement is a false alarm."
        )
    return ""


def advice(comparison: Comparison) -> list[str]:
    """What to do about points without a verdict: a line a kind of them."""
    said = []
    if unfinished := [point for point in comparison.points if point.wants]:
        said.append(f"Not final: {count(len(unfinished), 'point')} of which the rule wants more pairs: measure on.")
    if undecided := [point for point in comparison.of_kind("inconclusive") if not point.wants]:
        said.append(
            "Inconclusive: noise hides a change as large as the threshold. Measure longer (--max-time), or on a "
            f"quieter machine (longbench doctor shows how noisy it is).{_wild(comparison, undecided)}"
            if comparison.mode == "paired"
            else "Inconclusive: the sessions spread too far for the threshold. Measure more of them "
            "(longbench run --sessions 16), or compare in pairs (longbench gate)."
        )
    unlike = comparison.of_kind("not-comparable")
    if fields := list(dict.fromkeys(one.field for point in unlike for one in point.differences)):
        said.append(
            f"Not comparable: {', '.join(fields)} {'differs' if len(fields) == 1 else 'differ'}. Measure both sides "
            f"alike, or accept the difference with --allow {','.join(fields)}."
        )
    if any(not point.differences for point in unlike):
        said.append("Not comparable: what is missing is in the reason of each point.")
    return said


def _wild(comparison: Comparison, points: Sequence[PointVerdict]) -> str:
    """Names the pairs of these points that are far off the others."""
    labels = labels_of(comparison.points)
    names = [f"pair {place + 1} of {labels[point.key]}" for point in points for place in far_off(point)]
    return f" Far off the others: {listed(names)}." if names else ""


def _allowed(comparison: Comparison) -> Iterator[str]:
    """Each field that differs as it may, with the values of both sides: ``torch (2.13.0, 2.14.0)``."""
    fields: dict[str, dict[str, None]] = {}
    for step in (step for point in comparison.points for step in point.steps):
        if told := _ALLOWED.fullmatch(step):
            fields.setdefault(told["field"], {})[f"({told['base']}, {told['candidate']})"] = None
    for field, values in fields.items():
        yield f"{field} {listed(list(values))}"


def _side(side: SideInfo) -> str:
    git = side.environment.get("git")
    dirty = isinstance(git, dict) and git.get("dirty") is True and git.get("commit") == side.commit
    commit = f"commit {side.commit[:COMMIT]}{' with uncommitted changes' if dirty else ''}" if side.commit else ""
    return " · ".join(filter(None, (side.label, commit, f"longbench {side.version}", side.created)))


def _mode(comparison: Comparison) -> str:
    if comparison.mode == "paired":
        pairs = span([number for point in comparison.points if (number := pairs_of(point))])
        return f"paired, {pairs} {'pair' if pairs == '1' else 'pairs'} a point" if pairs else "paired"
    against = " against ".join(
        span([number for side in sides if (number := len(side.medians_ns))]) or "no"
        for sides in ([point.base for point in comparison.points], [point.candidate for point in comparison.points])
    )
    return f"stored runs, {against} sessions a point: weaker than pairs, which meet a drift of the machine alike"
