"""Everything behind one verdict, as lines of text: for ``--explain``, JUnit, Markdown and the page alike."""

from __future__ import annotations

import math
from collections.abc import Iterator
from statistics import stdev

from longbench_cli.analyse.comparison.types import Comparison, PointVerdict, Side
from longbench_cli.present.comparison.labels import key_of, labels_of
from longbench_cli.present.comparison.pairs import changes_of, confirmations_of, far_off
from longbench_cli.present.comparison.summary import alarm, facts_of
from longbench_cli.present.comparison.words import change, interval, share, time_of
from longbench_cli.present.units import count, format_bytes, format_duration
from longbench_cli.printable import printable

_NAME = 12
"""Width of the names of facts."""

_NOTES = 4
"""Notes on a side that are shown; the JSON has all."""


def explain(comparison: Comparison, point: str) -> str:
    """What was compared, and everything behind the verdict of one point.

    Args:
        comparison: it holds the point.
        point: its key, its label, some words of its label, or any part of either that no other point has.

    Raises:
        UsageError: no point is called so, or several are.
    """
    labels = labels_of(comparison.points)
    key = key_of(labels, point)
    found = next(one for one in comparison.points if one.key == key)
    facts = facts_of(comparison)
    width = max(_NAME, *(len(name) + 2 for name, _ in facts))
    above = [*filter(None, [alarm(comparison)]), *(f"{name:{width}}{text}" for name, text in facts)]
    return "\n".join([*map(printable, above), "", *explanation(found, labels[found.key])]) + "\n"


def explanation(point: PointVerdict, label: str) -> list[str]:
    """Printable lines, the first of which is the verdict."""
    return [printable(line) for line in _lines(point, label)]


def _lines(point: PointVerdict, label: str) -> Iterator[str]:
    yield f"{point.kind}: {label}"
    yield f"  {point.reason}"
    yield ""
    yield _fact("key", point.key)
    yield _fact("decided by", point.metric)
    yield _fact("base", _side(point.base))
    yield _fact("candidate", _side(point.candidate))
    if point.effect:
        effect = point.effect
        yield _fact("change", f"{change(effect.ratio)}, 95% interval {interval(effect)}")
        yield _fact("", f"at least {change(effect.lower)} (one-sided 99%), at most {change(effect.upper)} (95%)")
    if point.threshold:
        yield _fact("threshold", f"{share(point.threshold.share)}: {point.threshold.why}")
    if detectable := share(point.detectable):
        yield _fact("detectable", f"a slowdown of {detectable} would be found 9 times of 10 with noise as seen")
    if point.memory:
        both = f"{format_bytes(point.memory.base_bytes)} to {format_bytes(point.memory.candidate_bytes)}"
        changed = change(point.memory.candidate_bytes / point.memory.base_bytes) if point.memory.base_bytes else "new"
        yield _fact("memory", f"{both} ({changed}): {point.memory.kind}")
    if point.wants:
        yield _fact("not final", f"the rule wants {count(point.wants, 'more pair')}")
    if point.steps:
        yield ""
        yield from (f"{number:3}. {step}" for number, step in enumerate(point.steps, 1))
    if point.base.medians_ns or point.candidate.medians_ns:
        yield ""
        yield from _processes(point)
    yield from _notes("base", point.base)
    yield from _notes("candidate", point.candidate)


def _notes(name: str, side: Side) -> Iterator[str]:
    yield from (f"note on the {name}: {note}" for note in side.notes[:_NOTES])
    if (more := len(side.notes) - _NOTES) > 0:
        yield f"... and {count(more, 'more note')} on the {name}"


def _fact(name: str, text: str) -> str:
    return f"{name:{_NAME}}{text}"


def _side(side: Side) -> str:
    said = [side.status]
    if side.reason:
        said[0] += f": {side.reason}"
    if side.backend:
        said.append(f"back end {side.backend}")
    if side.medians_ns:
        number = len(side.medians_ns)
        said.append(time_of(side) + (f" (median of {number} processes)" if number > 1 else ""))
    if side.peak_bytes is not None:
        said.append(f"peak memory {format_bytes(side.peak_bytes)}")
    return ", ".join(said)


def _processes(point: PointVerdict) -> Iterator[str]:
    """The median of each process of both sides, pair by pair with the change of each, or side by side."""
    base, candidate = point.base.medians_ns, point.candidate.medians_ns
    changes = [change(math.exp(d)) for d in changes_of(point)]
    far = far_off(point)
    if changes and len(base) == len(candidate):
        confirmations = confirmations_of(point)
        yield f"{'pair':>7}  {'base':>12}  {'candidate':>12}  {'change':>7}"
        for index, times in enumerate(zip(base, candidate, strict=True)):
            said = changes[index] if index < len(changes) else "not used"
            marks = ["to confirm"] if any(index in places for places in confirmations) else []
            marks += ["far off the others"] if index in far else []
            row = f"{index + 1:7}  {'  '.join(f'{format_duration(time):>12}' for time in times)}  {said:>7}"
            yield "  ".join(filter(None, (row, ", ".join(marks))))
        yield "base and candidate: median of the process; change: median over its turns"
    else:  # some process has no time, so that they do not pair off
        for name, medians in (("base", base), ("candidate", candidate)):
            if medians:
                yield _fact(name, ", ".join(map(format_duration, medians)))
        if changes:
            yield _fact("changes", ", ".join(changes))
            yield from (f"change {index + 1} ({changes[index]}) is far off the others" for index in far)
    if len(point.values) > 1:
        yield f"spread (sd) of the change from pair to pair: {share(stdev(point.values))}"
