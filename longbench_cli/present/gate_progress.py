"""What the user sees while a gate measures: a line a pair, and on a terminal the point that is being measured.

Nothing here wakes on a timer: what is shown changes when a point starts or a pair ends.
"""

from __future__ import annotations

import sys
from collections import Counter
from pathlib import Path
from typing import Protocol, TextIO

from longbench_cli.analyse.comparison.rule import MOST_PAIRS, PAIRS
from longbench_cli.analyse.comparison.types import KINDS, Comparison
from longbench_cli.execute.budget import START_UP_S, sampling_seconds
from longbench_cli.present.point_cells import duration, label
from longbench_cli.present.series import Varied, varied_options
from longbench_cli.present.units import count
from longbench_cli.printable import printable
from longbench_cli.sweep.plan import Plan, PlannedPoint

_PREPARED_S = 0.3
"""Inputs, verification and warm-up of a small point, in a process that has begun."""

_CLEAR = "\r\x1b[K"


class Pairs(Protocol):
    """A pair that is over: its number from 0, its points and seconds, and what all pairs say so far."""

    @property
    def number(self) -> int: ...

    @property
    def points(self) -> int: ...

    @property
    def seconds(self) -> float: ...

    @property
    def comparison(self) -> Comparison: ...


class GateProgress:
    """Writes to ``stream``; what is being measured only if that is a terminal."""

    def __init__(self, stream: TextIO | None, varied: Varied) -> None:
        self._stream, self._varied = stream, varied
        self._live = stream is not None and stream.isatty()

    def begin(self, plan: Plan, folder: Path) -> None:
        """The first pair is about to be started; its records go to ``folder``."""
        pairs = f"{count(len(plan.points), 'point')} in {PAIRS} pairs: about {duration(predicted_seconds(plan))}"
        self._write(f"{pairs}; what they do not settle takes up to {MOST_PAIRS}\nrun files: {printable(str(folder))}\n")

    def started(self, pair: int, point: PlannedPoint, place: int, points: int) -> None:
        """A point begins, the ``place``-th of the pair, from 1."""
        if self._live:
            self._write(f"{_CLEAR}pair {pair + 1}: {place}/{points} {printable(label(point.case, self._varied))}")

    def finished(self, pair: Pairs) -> None:
        """A pair is over."""
        self.close()
        took = f"pair {pair.number + 1}: {count(pair.points, 'point')} in {duration(pair.seconds)}"
        self._write(f"{took}; {so_far(pair.comparison)}\n")

    def close(self) -> None:
        """Take away what is only shown while it is so."""
        if self._live:
            self._write(_CLEAR)

    def _write(self, text: str) -> None:
        if self._stream is not None:
            self._stream.write(text)
            self._stream.flush()


def progress_of(plan: Plan, *, quiet: bool) -> GateProgress:
    """Tells stderr of a gate of ``plan``; nobody if ``quiet``."""
    return GateProgress(None if quiet else sys.stderr, varied_options(point.case for point in plan.points))


def predicted_seconds(plan: Plan) -> float:
    """Of the first pairs, whose settings are those of ``plan``: a start each, and every point on both sides."""
    start = max((START_UP_S[point.case.kind] for point in plan.points), default=0.0)
    points = sum(_PREPARED_S + sampling_seconds(plan.settings, point.predicted_seconds) for point in plan.points)
    return PAIRS * (start + 2 * points)


def so_far(comparison: Comparison) -> str:
    """How many points are decided and how, and how many want more pairs, and how many of them."""
    decided = Counter(point.kind for point in comparison.points if not point.wants)
    words = [f"{decided[kind]} {kind}" for kind in KINDS if decided[kind]]
    open_points = [point.wants for point in comparison.points if point.wants]
    if open_points:
        words.append(f"{len(open_points)} undecided, {count(max(open_points), 'pair')} more at most for now")
    return ", ".join(words)
