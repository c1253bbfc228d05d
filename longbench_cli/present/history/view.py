"""A history as people read it: what changed, a line each, and a row a series. Every output shows these."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

from longbench_cli.analyse.change_points import LEAST_RUNS
from longbench_cli.analyse.history import Change, Event, Observation, Series
from longbench_cli.present.comparison.labels import labels_of
from longbench_cli.present.comparison.words import change as percent_change
from longbench_cli.present.facts import COMMIT
from longbench_cli.present.tables import NOTHING, Cell, Table, number, whole, word
from longbench_cli.present.units import count, format_duration
from longbench_cli.record.loading import Run
from longbench_cli.record.slim import took_turns

_BARS = "▁▂▃▄▅▆▇█"
_FAILED = "×"
_LONGEST_TREND = 30
_LEAST_SPAN = math.log(1.1)
"""A trend that moves by less than this looks flat, as it is."""


@dataclass(frozen=True)
class HistoryView:
    """Series of ``runs``, and with which ``least_effect`` (a share) changes were looked for."""

    series: Sequence[Series]
    runs: Sequence[Run]
    least_effect: float

    @cached_property
    def names(self) -> tuple[str, ...]:
        """A name for each series; where fingerprints differ, with the fields that do."""
        labels, of_key = labels_of(self.series), Counter(one.key for one in self.series)
        fields = dict.fromkeys(name for one in self.series for name in one.fingerprint)
        varied = [name for name in fields if len({one.fingerprint.get(name) for one in self.series}) > 1]
        names = []
        for one in self.series:
            differing = [f"{name} {one.fingerprint[name]}" for name in varied if name in one.fingerprint]
            names.append(" · ".join((labels[one.key], *(differing if of_key[one.key] > 1 else ()))))
        return tuple(names)

    @property
    def changes(self) -> list[tuple[str, Change]]:
        """Steps of all series, the newest first, with the name of the series."""
        found = [(name, one) for name, series in zip(self.names, self.series, strict=True) for one in series.changes]
        return sorted(found, key=lambda item: item[1].first.when, reverse=True)

    @property
    def events(self) -> list[tuple[str, Event]]:
        """What else happened to all series, the newest first."""
        found = [(name, one) for name, series in zip(self.names, self.series, strict=True) for one in series.events]
        return sorted(found, key=lambda item: item[1].first.when, reverse=True)

    @property
    def headline(self) -> str:
        """``12 runs, 8 series: 1 slower, 1 faster, 1 other change``."""
        ratios = [one.ratio for _, one in self.changes]
        slower, faster = sum(ratio > 1 for ratio in ratios), sum(ratio < 1 for ratio in ratios)
        found = [
            f"{slower} slower" if slower else "",
            f"{faster} faster" if faster else "",
            count(len(self.events), "other change") if self.events else "",
        ]
        series = f"{len(self.series)} series"  # one series, two series
        return f"{count(len(self.runs), 'run')}, {series}: {', '.join(filter(None, found)) or 'no change'}"

    @property
    def lines(self) -> list[str]:
        """What changed, a line each: steps, then statuses and back ends; then what the runs are too few for."""
        said = [f"{name}: {change_words(one)}" for name, one in self.changes]
        said += [f"{name}: {event_words(one)}" for name, one in self.events]
        return [*said, *self.notes]

    @property
    def notes(self) -> list[str]:
        """What was looked for, and which series could not show it."""
        few = [one for one in self.series if sum(len(level.runs) for level in one.levels) < 2 * LEAST_RUNS]
        said = [
            f"{name}: a new series, not compared with the one before it: {', '.join(one.differs)}"
            for name, one in zip(self.names, self.series, strict=True)
            if one.differs
        ]
        if len(self.runs) == 1:
            said.append("One run: no trend. Add more with `longbench history add`.")
        elif few:
            said.append(
                f"{len(few)} of {len(self.series)} series have fewer than {2 * LEAST_RUNS} measured runs: no change "
                f"can be found there, which takes {LEAST_RUNS} runs before it and {LEAST_RUNS} after it."
            )
        if unexplained := sum(not _commit_differs(one) for _, one in self.changes):
            said.append(
                f"No commit is known to differ between the sides of {count(unexplained, 'change')}: the machine may "
                "have changed as well as the code. `longbench gate` compares in pairs, and tells."
            )
        return said

    def table(self) -> Table:
        """A row a series, with the widest cell last: what a narrow screen cuts off is the trend."""
        columns = ("series", "status", "level now", "newest", "last change", "runs", "trend")
        numeric = (False, False, True, True, False, True, False)
        rows = tuple(_row(name, one) for name, one in zip(self.names, self.series, strict=True))
        return Table(columns, numeric, rows)


def change_words(change: Change) -> str:
    """``+5.2% (95%: +4.1% to +6.3%), 1.23 ms to 1.29 ms, between RUN and RUN``."""
    low, high = (percent_change(end) for end in change.interval)
    return (
        f"{percent_change(change.ratio)} (95%: {low} to {high}), {format_duration(change.before.median_ns)} to "
        f"{format_duration(change.after.median_ns)}, between {run_words(change.last)} and {run_words(change.first)}"
    )


def event_words(event: Event) -> str:
    """``status ok to oom (needed 9 GiB), between RUN and RUN``."""
    reason = f" ({event.first.point.reason})" if event.what == "status" and event.first.point.reason else ""
    between = f"between {run_words(event.last)} and {run_words(event.first)}"
    return f"{event.what} {event.was} to {event.now}{reason}, {between}"


def run_words(run: Observation) -> str:
    """``3f2a9c1d0 (2026-11-02 03:04, night-12.jsonl)``: commit, time, file; without a commit the time comes first."""
    commit = commit_words(run)
    more = (run.run.path.name, _gate_words(run), "" if commit else "no commit recorded")
    return f"{short_words(run)} ({', '.join(filter(None, (time_words(run) if commit else '', *more)))})"


def short_words(run: Observation) -> str:
    """The commit, or the time of the run where none was recorded."""
    return commit_words(run) or time_words(run)


def time_words(run: Observation) -> str:
    """``2026-11-02 03:04``, UTC."""
    return f"{run.when:%Y-%m-%d %H:%M}"


def _gate_words(run: Observation) -> str:
    header = run.run.header
    if header.duet is not None and header.duet.identical:
        return "from an A/A gate"
    return "from a gate" if took_turns(header) else ""


def commit_words(run: Observation) -> str:
    """The commit, shortened, and whether files differed from it; nothing where none was recorded."""
    git = run.run.header.environment.get("git")
    dirty = isinstance(git, dict) and git.get("dirty") is True
    return f"{run.commit[:COMMIT]}{'+changes' if dirty else ''}" if run.commit else ""


def trend(runs: Sequence[Observation]) -> str:
    """A bar a run, the newest :data:`_LONGEST_TREND`, from the least time to the greatest; a cross for a failure."""
    shown = runs[-_LONGEST_TREND:]
    logs = [None if run.median_ns is None else math.log(run.median_ns) for run in shown]
    known = [value for value in logs if value is not None]
    if not known:
        return _FAILED * len(logs)
    span = max(max(known) - min(known), _LEAST_SPAN)
    low = (max(known) + min(known) - span) / 2
    top = len(_BARS) - 1
    return "".join(_FAILED if value is None else _BARS[round((value - low) / span * top)] for value in logs)


def _commit_differs(change: Change) -> bool:
    """Whether two commits are known, and are two."""
    return None not in (change.last.commit, change.first.commit) and change.last.commit != change.first.commit


def _row(name: str, series: Series) -> tuple[Cell, ...]:
    last, changed = series.runs[-1].point, series.changes[-1] if series.changes else None
    return (
        word(name),
        word(last.status),
        number(series.levels[-1].median_ns if series.levels else None, format_duration),
        number(series.newest, percent_change),
        Cell(f"{percent_change(changed.ratio)} at {short_words(changed.first)}", changed.ratio) if changed else NOTHING,
        whole(len(series.runs)),
        word(trend(series.runs)),
    )
