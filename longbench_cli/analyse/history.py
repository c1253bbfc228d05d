"""Many runs as a series a key and fingerprint, where each moved to another level, and what else happened to it.

A run is one value: the median of its sessions (:mod:`longbench_cli.analyse.sessions`). Runs of different machines,
software or settings never share a series; what tells them apart is what a comparison goes by
(:func:`longbench_cli.analyse.comparison.comparable.fingerprint`), and resident or streamed.
"""

from __future__ import annotations

import itertools
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime

from longbench_cli.analyse.change_points import Stretch, stretches
from longbench_cli.analyse.comparison.comparable import fingerprint
from longbench_cli.analyse.sessions import merged_points
from longbench_cli.record.history import commit_of, moment_of
from longbench_cli.record.loading import RecordedPoint, Run
from longbench_cli.record.schema import MeasuredPoint
from longbench_cli.sweep.case import Case


@dataclass(frozen=True, slots=True)
class Observation:
    """What one run says of a series; ``point`` has the run's sessions merged."""

    run: Run
    when: datetime
    point: RecordedPoint

    @property
    def median_ns(self) -> float | None:
        """None where nothing was measured, or by a clock too coarse to see the pass."""
        return self.point.latency.median_ns or None if isinstance(self.point, MeasuredPoint) else None

    @property
    def commit(self) -> str | None:
        return commit_of(self.run.header)


@dataclass(frozen=True, slots=True)
class Level:
    """Measured runs in a row that stayed on one level; ``median_ns`` is it."""

    runs: tuple[Observation, ...]
    median_ns: float


@dataclass(frozen=True, slots=True)
class Change:
    """A step from one level to the next; ``ratio`` of the two, above 1 is slower, with its 95% interval."""

    before: Level
    after: Level
    ratio: float
    interval: tuple[float, float]

    @property
    def last(self) -> Observation:
        """The last run before it."""
        return self.before.runs[-1]

    @property
    def first(self) -> Observation:
        """The first run after it."""
        return self.after.runs[0]


@dataclass(frozen=True, slots=True)
class Event:
    """A run that came to another status than the one before, or ran on another back end: ``was``, then ``now``."""

    last: Observation
    first: Observation
    what: str
    was: str
    now: str


@dataclass(frozen=True, slots=True)
class Series:
    """A key on one fingerprint.

    Attributes:
        case: as it last ran.
        fingerprint: machine, software and settings, by field.
        differs: in what it differs from the series of this key before it, as ``field was -> now``; empty of a first.
        runs: oldest first; those of a run that did not start the point (pruned) are none.
    """

    key: str
    case: Case
    fingerprint: Mapping[str, str]
    differs: tuple[str, ...]
    runs: tuple[Observation, ...]
    levels: tuple[Level, ...]
    changes: tuple[Change, ...]
    events: tuple[Event, ...]

    @property
    def newest(self) -> float | None:
        """The newest measured value over the median of the others on its level; None without another."""
        values = [run.median_ns for run in self.levels[-1].runs if run.median_ns is not None] if self.levels else []
        return values[-1] / statistics.median(values[:-1]) if len(values) > 1 else None


def build_series(runs: Sequence[Run], least_effect: float) -> list[Series]:
    """The series of ``runs``, in the order in which keys and fingerprints first appear.

    Args:
        runs: oldest first.
        least_effect: the smallest step that counts, as a share.
    """
    groups: dict[str, list[_Group]] = {}
    for run in runs:
        for point in merged_points(run):
            if point.status != "pruned":  # nothing was started: this run says nothing of it
                _place(groups.setdefault(point.key, []), run, point)
    return [
        _series(group, earlier, least_effect)
        for of_key in groups.values()
        for earlier, group in zip([None, *of_key], of_key, strict=False)
    ]


def since(series: Sequence[Series], start: datetime) -> list[Series]:
    """What was run at ``start`` or later, and what happened then; levels and changes stay those of all runs."""
    kept = []
    for one in series:
        runs = tuple(run for run in one.runs if run.when >= start)
        if runs:
            changes = tuple(change for change in one.changes if change.first.when >= start)
            events = tuple(event for event in one.events if event.first.when >= start)
            kept.append(replace(one, runs=runs, changes=changes, events=events))
    return kept


@dataclass(slots=True)
class _Group:
    fingerprint: dict[str, str]
    runs: list[Observation] = field(default_factory=list)


def _place(groups: list[_Group], run: Run, point: RecordedPoint) -> None:
    """Add the point to its series. One that failed may not know how it would have run: it goes with what it agrees."""
    told = {name: value or "unknown" for name, value in fingerprint(run.header, point.case.device).items()}
    exact = told | {"execution": point.execution}
    if isinstance(point, MeasuredPoint):
        fits = [group for group in groups if group.fingerprint == exact]
    else:
        fits = [group for group in groups if all(group.fingerprint[name] == value for name, value in told.items())]
    if not fits:
        fits = [_Group(exact)]
        groups += fits
    observation = Observation(run, moment_of(run), point)
    max(fits, key=lambda group: group.runs[-1].when if group.runs else observation.when).runs.append(observation)


def _series(group: _Group, earlier: _Group | None, least_effect: float) -> Series:
    measured = [(run, run.median_ns) for run in group.runs if run.median_ns is not None]
    found = stretches([value for _, value in measured], least_effect)
    levels = [Level(tuple(run for run, _ in measured[one.start : one.stop]), one.level) for one in found]
    was = earlier.fingerprint if earlier else group.fingerprint
    return Series(
        key=group.runs[0].point.key,
        case=group.runs[-1].point.case,
        fingerprint=group.fingerprint,
        differs=tuple(f"{name} {was[name]} -> {now}" for name, now in group.fingerprint.items() if now != was[name]),
        runs=tuple(group.runs),
        levels=tuple(levels),
        changes=tuple(_changes(found, levels)),
        events=tuple(event for pair in itertools.pairwise(group.runs) for event in _events(*pair)),
    )


def _changes(found: Sequence[Stretch], levels: Sequence[Level]) -> list[Change]:
    return [
        Change(levels[place - 1], levels[place], one.ratio, one.interval)
        for place, one in enumerate(found)
        if one.ratio is not None and one.interval is not None
    ]


def _events(last: Observation, first: Observation) -> list[Event]:
    was, now = last.point, first.point
    if was.status != now.status:
        return [Event(last, first, "status", was.status, now.status)]
    if isinstance(now, MeasuredPoint) and was.case.backend != now.case.backend:
        return [Event(last, first, "back end", was.case.backend, now.case.backend)]
    return []
