"""How bytes grow with N and with P, read off the numbers: constant, a power, or so much more at each doubling.

Three laws are tried on the points from a 64th of the greatest up (all, if those are fewer than 3), since what
an algorithm does on a few short segments is not its law::

    constant     y = c                within: max |y / c - 1|, c half-way between the least and the greatest
    power        ln y = a + b ln x    by least squares
    logarithmic  y = a + s log2 x     by least squares, s > 0

Against P each is also tried with the share that a rank does not hold itself, (P - 1) / P, as a factor, and the
logarithmic one with P, which is what all ranks receive where one receives the logarithm. The nearest law is
taken, a constant already if it is within 1%; if even the nearest is beyond 10%, or if a value is 0, no law is
named.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from statistics import linear_regression
from typing import Literal

from longbench_cli.analyse.comm import Exchanged, Exchanges

Law = Literal["nothing", "constant", "power", "logarithmic", "linearithmic", "none"]
Receiver = Literal["a rank", "all ranks"]
Axis = Literal["N", "P"]

UPPER_SPAN = 64
LEAST_POINTS = 3
CONSTANT_WITHIN = 0.01
LAW_WITHIN = 0.10


@dataclass(frozen=True, slots=True)
class Growth:
    """One law.

    Attributes:
        others: whether the law is of y P / (P - 1): all that follows but ``low`` and ``high`` is then of that.
        exponent: of the power law, whichever law is taken; None where a value is 0.
        size: bytes: the constant, or what the logarithmic law adds at each doubling, the linearithmic one
            (y = x (a + s log2 x)) to each rank; None of other laws.
        within: greatest relative distance of a value from the law; of no law, from the power; None where a value is 0.
        low, high: least and greatest value.
        first, last: the range of the axis that was looked at.
    """

    law: Law
    others: bool
    exponent: float | None
    size: float | None
    within: float | None
    low: float
    high: float
    first: int
    last: int
    points: int


@dataclass(frozen=True, slots=True)
class GrowthLine:
    """The growth of what ``receiver`` receives along ``axis``, the other axis at ``held``."""

    receiver: Receiver
    axis: Axis
    held: int
    growth: Growth


def growth_of(xs: Sequence[int], ys: Sequence[float], axis: Axis) -> Growth | None:
    """The law of ``ys`` over ``xs``, which are lengths, or ranks from 2 up; None with fewer than 3 different xs.

    Raises:
        ValueError: different numbers of both, an x too small or a y below 0.
    """
    least = 2 if axis == "P" else 1
    pairs = sorted(zip(xs, ys, strict=True))
    if any(x < least or y < 0 for x, y in pairs):
        raise ValueError(f"growth needs positions from {least} and values from 0 up")
    if len(dict(pairs)) < LEAST_POINTS:
        return None
    upper = [pair for pair in pairs if pair[0] * UPPER_SPAN >= pairs[-1][0]]
    chosen = upper if len(dict(upper)) >= LEAST_POINTS else pairs
    values = [y for _, y in chosen]
    low, high = min(values), max(values)
    blank = Growth("nothing", False, None, None, None, low, high, chosen[0][0], chosen[-1][0], len(chosen))
    if low == 0:
        return replace(blank, law="none") if high else blank
    logs = [math.log2(x) for x, _ in chosen]
    laws = _laws(blank, logs, values)
    if axis == "P":
        laws += _laws(replace(blank, others=True), logs, [y * x / (x - 1) for x, y in chosen])
        each = _laws(blank, logs, [y / x for x, y in chosen])
        laws += [_linearithmic(law) for law in each if law.law == "logarithmic"]
    level = min((law for law in laws if law.law == "constant"), key=_distance)
    best = level if _distance(level) <= CONSTANT_WITHIN else min(laws, key=_distance)
    if _distance(best) <= LAW_WITHIN:
        return best
    power = min((law for law in laws if law.law == "power"), key=_distance)
    return replace(power, law="none")


def growth_lines(exchanges: Exchanges) -> list[GrowthLine]:
    """A rank's bytes against N at each P and against P at each N, and those of all ranks against P.

    Of weak scaling the N of a line against P is that of a rank (:meth:`Exchanges.held`).
    """
    points = exchanges.exchanged
    lines = []
    for ranks in sorted({point.case.world_size for point in points}):
        line = [point for point in points if point.case.world_size == ranks]
        lines.append(_line("a rank", "N", ranks, line))
    receivers: tuple[Receiver, ...] = ("a rank", "all ranks")
    for receiver in receivers:
        for held in sorted({exchanges.held(point.case) for point in points}):
            line = [point for point in points if exchanges.held(point.case) == held]
            lines.append(_line(receiver, "P", held, line))
    return [line for line in lines if line is not None]


def _line(receiver: Receiver, axis: Axis, held: int, points: Sequence[Exchanged]) -> GrowthLine | None:
    xs = [point.case.seq_len if axis == "N" else point.case.world_size for point in points]
    growth = growth_of(xs, [point.most if receiver == "a rank" else point.total for point in points], axis)
    return None if growth is None else GrowthLine(receiver, axis, held, growth)


def _laws(blank: Growth, logs: list[float], ys: list[float]) -> list[Growth]:
    """``blank`` with each law; ``logs`` are to base 2."""
    power = linear_regression(logs, [math.log2(y) for y in ys])
    line = linear_regression(logs, ys)
    level = (min(ys) + max(ys)) / 2
    of = replace(blank, exponent=power.slope)
    found = [
        replace(of, law="constant", size=level, within=_within(ys, [level] * len(ys))),
        replace(of, law="power", within=_within(ys, [2 ** (power.intercept + power.slope * x) for x in logs])),
    ]
    if line.slope > 0:
        within = _within(ys, [line.intercept + line.slope * x for x in logs])
        found.append(replace(of, law="logarithmic", size=line.slope, within=within))
    return found


def _linearithmic(a_rank: Growth) -> Growth:
    """The law of all ranks together where each receives by ``a_rank``, as near to it."""
    return replace(a_rank, law="linearithmic", exponent=None if a_rank.exponent is None else a_rank.exponent + 1)


def _within(ys: Sequence[float], law: Sequence[float]) -> float:
    return max(abs(y / at - 1) if at > 0 else math.inf for y, at in zip(ys, law, strict=True))


def _distance(growth: Growth) -> float:
    """Distances that only rounding tells apart are alike, so that the first law, the simplest, is taken."""
    return math.inf if growth.within is None else round(growth.within, 9)
