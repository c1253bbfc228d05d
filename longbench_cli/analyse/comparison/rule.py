"""The rule of the gate: what the pairs of a duet say of one point, or how many more are wanted.

A pure function of d_1, d_2, ..., where d = ln(candidate / base) of one pair of fresh processes. It looks at the first 6
pairs, and where these do not settle it at the first 12; what it takes for a regression must be found again by 6 pairs
that it did not look at before. Decisions never depend on pairs after the one that they were made at.
docs/statistics.md has the reasons; ``python -m benchmarks.gate_simulation`` has the figures.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Final, Literal, NamedTuple

from longbench_cli.analyse.comparison.types import Effect

PAIRS: Final = 6
"""Pairs of a look, of an extension and of a confirmation."""

MOST_PAIRS: Final = 3 * PAIRS

SUSPECT_LEVEL: Final = 0.99
CONFIRM_LEVEL: Final = 0.95
NO_SLOWER_LEVEL: Final = 0.95

_LARGEST_LOG: Final = 700.0
"""Two pairs far apart bound nothing: the bound stays a number."""

Outcome = Literal["ok", "regression", "improvement", "inconclusive"]


class Look(NamedTuple):
    """What some pairs say together: estimate, mean, and the standard error of the mean."""

    values: tuple[float, ...]
    estimate: float
    mean: float
    error: float

    def bound(self, level: float) -> float:
        """What the true ln(candidate / base) is below with probability ``level``: the tighter of two such bounds.

        Student's for the mean, and for the median one of the values themselves, which a wild pair does not move.
        """
        student = self.mean + _student(len(self.values) - 1, level) * self.error
        rank = _rank(len(self.values), max(level, 1 - level))
        if rank == 0:
            return student
        if level > 0.5:
            return min(student, sorted(self.values)[-rank])
        return max(student, sorted(self.values)[rank - 1])

    def suspects(self, tau: float) -> int:
        """1: slower by tau or more, and surely slower at all. -1: faster, likewise. 0: neither."""
        return self._found(tau, SUSPECT_LEVEL)

    def repeats(self, sign: int, tau: float) -> bool:
        """Whether pairs that were not looked at before find the same."""
        return self._found(tau, CONFIRM_LEVEL) == sign

    def no_slower(self, tau: float) -> bool:
        return self.estimate < tau and self.bound(NO_SLOWER_LEVEL) < tau

    def _found(self, tau: float, level: float) -> int:
        if abs(self.estimate) < tau:
            return 0
        if self.estimate > 0:
            return int(self.bound(1 - level) > 0)
        return -int(self.bound(level) < 0)


class Step(NamedTuple):
    """One look: the number of its first pair, the levels of the bounds that count, and what came of it."""

    first: int
    look: Look
    lower: float
    upper: float
    said: str


@dataclass(frozen=True, slots=True)
class Decision:
    """What the rule says of one point.

    Attributes:
        kind: "inconclusive" as long as more pairs are wanted.
        wants: so many more pairs; 0 when it is final.
        values: d of the pairs of the look that decided, the first 6 or 12.
        confirmation: d of the fresh pairs that followed it, to confirm.
        trail: the looks, in order.
    """

    kind: Outcome
    wants: int
    values: tuple[float, ...]
    confirmation: tuple[float, ...]
    trail: tuple[Step, ...]

    @property
    def effect(self) -> Effect | None:
        """Of all pairs used, with those that confirmed; None below 2. The interval is stretched to hold the ratio."""
        used = (*self.values, *self.confirmation)
        if len(used) < 2:
            return None
        look = look_at(used)
        low, high = min(look.bound(0.025), look.estimate), max(look.bound(0.975), look.estimate)
        return Effect(
            ratio=_exp(look.estimate),
            interval=(_exp(low), _exp(high)),
            lower=_exp(look.bound(1 - SUSPECT_LEVEL)),
            upper=_exp(look.bound(NO_SLOWER_LEVEL)),
        )

    @property
    def steps(self) -> tuple[str, ...]:
        """How it came about, a line a look."""
        lines = [_line(step) for step in self.trail]
        if self.wants:
            lines.append(f"{self.wants} more pair{'' if self.wants == 1 else 's'} wanted")
        return tuple(lines)


def judge_pairs(d: Sequence[float], tau: float) -> Decision:
    """What the pairs say, in the order they were measured; tau > 0 is ln(1 + threshold).

    1. The first 6. Slower (estimate >= tau, one-sided 99% lower bound > 0) or faster (the mirror image): suspected.
       Else ok if estimate and one-sided 95% upper bound are below tau, unless the estimate is -tau or less: then 6 more
       may show an improvement, and nothing else.
    2. Suspected: pairs 7 to 12 alone must say the same, with a 95% bound. They do: decided.
    3. All 12, with the conditions of 1. Not suspected: ok, or inconclusive.
    4. Suspected: pairs 13 to 18 alone must say the same. They do not: ok if all 18 are as in 1, else inconclusive.

    The estimate is :func:`hodges_lehmann`, the bounds are those of :meth:`Look.bound`.
    """
    d = tuple(d)
    if len(d) < PAIRS:
        return Decision("inconclusive", PAIRS - len(d), d, (), ())
    first = look_at(d[:PAIRS])
    sign, settled = first.suspects(tau), first.no_slower(tau)
    if settled and first.estimate > -tau:
        return Decision("ok", 0, d[:PAIRS], (), (_step(1, first, 0, "no slower"),))
    trail = [_step(1, first, sign, _SUSPECTED[sign])]
    if len(d) < 2 * PAIRS:
        parts = (d[:PAIRS], d[PAIRS:]) if sign else (d, ())
        return Decision("inconclusive", 2 * PAIRS - len(d), *parts, tuple(trail))
    if sign:
        fresh = look_at(d[PAIRS : 2 * PAIRS])
        confirmed = fresh.repeats(sign, tau)
        trail.append(_step(PAIRS + 1, fresh, sign, _CONFIRMED[confirmed], CONFIRM_LEVEL))
        if confirmed:
            return Decision(_KINDS[sign], 0, d[:PAIRS], d[PAIRS : 2 * PAIRS], tuple(trail))
    return _decide_on_twelve(d, tau, trail, settled=settled)


def _decide_on_twelve(d: tuple[float, ...], tau: float, trail: list[Step], *, settled: bool) -> Decision:
    values = d[: 2 * PAIRS]
    both = look_at(values)
    sign = both.suspects(tau)
    if sign == 0 or (sign > 0 and settled):  # 6 pairs have ruled a regression out: later ones cannot bring it back
        return _final(both, tau, values, (), trail)
    trail.append(_step(1, both, sign, _SUSPECTED[sign]))
    if len(d) < MOST_PAIRS:
        return Decision("inconclusive", MOST_PAIRS - len(d), values, d[2 * PAIRS :], tuple(trail))
    confirmation = d[2 * PAIRS : MOST_PAIRS]
    fresh = look_at(confirmation)
    confirmed = fresh.repeats(sign, tau)
    trail.append(_step(2 * PAIRS + 1, fresh, sign, _CONFIRMED[confirmed], CONFIRM_LEVEL))
    if confirmed:
        return Decision(_KINDS[sign], 0, values, confirmation, tuple(trail))
    return _final(look_at(d[:MOST_PAIRS]), tau, values, confirmation, trail)


def _final(
    look: Look, tau: float, values: tuple[float, ...], confirmation: tuple[float, ...], trail: list[Step]
) -> Decision:
    """Neither slower nor faster: whether a regression is ruled out."""
    ok = look.no_slower(tau)
    trail.append(_step(1, look, 0, "no slower" if ok else "undecided"))
    return Decision("ok" if ok else "inconclusive", 0, values, confirmation, tuple(trail))


def look_at(d: Sequence[float]) -> Look:
    """At least 2 pairs, looked at together."""
    count = len(d)
    mean = math.fsum(d) / count
    variance = math.fsum([(value - mean) ** 2 for value in d]) / (count - 1)
    return Look(tuple(d), hodges_lehmann(d), mean, math.sqrt(variance / count))


def hodges_lehmann(d: Sequence[float]) -> float:
    """Median of the averages of all pairs of values, each value with itself too (Walsh averages); at least one value.

    Nearly as efficient as the mean of normal values, and one wild value of 6 hardly moves it (Hodges and Lehmann,
    Estimates of Location Based on Rank Tests, Annals of Mathematical Statistics 34, 1963).
    """
    sums = sorted([one + other for place, one in enumerate(d) for other in d[place:]])
    middle = len(sums) // 2
    return sums[middle] / 2 if len(sums) % 2 else (sums[middle - 1] + sums[middle]) / 4


def lower_bound(d: Sequence[float], level: float) -> float:
    """What the true value is above with probability ``level`` (:meth:`Look.bound`), n >= 2."""
    return look_at(d).bound(1 - level)


def upper_bound(d: Sequence[float], level: float) -> float:
    """What the true value is below with probability ``level`` (:meth:`Look.bound`), n >= 2."""
    return look_at(d).bound(level)


def smallest_detectable(d: Sequence[float], tau: float) -> float:
    """The slowdown, as a share, that the rule finds 9 times of 10 where pairs spread as these do (at least 2).

    With e = sd / sqrt(6), the standard error of one look: ln(1 + share) = max(tau + 1.2 e, 3.45 e). The rule depends on
    tau / e and slowdown / e alone; the constants are fitted to its simulation and err by less than 0.15 e.
    """
    look = look_at(d)
    spread = (look.bound(NO_SLOWER_LEVEL) - look.bound(1 - NO_SLOWER_LEVEL)) / 2  # a wild pair widens it little
    error = min(look.error, spread / _student(len(d) - 1, NO_SLOWER_LEVEL)) * math.sqrt(len(d) / PAIRS)
    return _exp(max(tau + 1.2 * error, 3.45 * error)) - 1


_KINDS: Final[dict[int, Outcome]] = {1: "regression", -1: "improvement"}
_SUSPECTED: Final = {1: "slower, to be confirmed", -1: "faster, to be confirmed", 0: "not settled"}
_CONFIRMED: Final = {True: "confirmed", False: "not confirmed"}


def _step(first: int, look: Look, sign: int, said: str, level: float = SUSPECT_LEVEL) -> Step:
    return Step(first, look, level, level if sign < 0 else NO_SLOWER_LEVEL, said)


def _line(step: Step) -> str:
    look = step.look
    return (
        f"pairs {step.first}-{step.first + len(look.values) - 1}: d = {' '.join(map(_percent, look.values))}; "
        f"estimate {_percent(look.estimate)}, {step.lower:.0%} lower bound {_percent(look.bound(1 - step.lower))}, "
        f"{step.upper:.0%} upper bound {_percent(look.bound(step.upper))}: {step.said}"
    )


def _percent(log: float) -> str:
    return f"{_exp(log) - 1:+.2%}"


def _exp(log: float) -> float:
    return math.exp(min(log, _LARGEST_LOG))


@lru_cache(maxsize=256)
def _rank(count: int, level: float) -> int:
    """The largest k whose x_(k) is below the median of ``count`` values with probability ``level``; 0 if there is none.

    P(x_(k) > median) = P(Binomial(n, 1/2) < k), whatever the distribution (Conover, Practical Nonparametric Statistics,
    3rd ed., section 3.2).
    """
    tail, rank = 0, 0
    while (tail := tail + math.comb(count, rank)) <= (1 - level) * 2**count * (1 + 1e-9):
        rank += 1
    return rank


@lru_cache(maxsize=256)
def _student(freedom: int, level: float) -> float:
    """The quantile of Student's distribution."""
    from scipy.special import stdtrit  # here, so that importing this module stays cheap

    return float(stdtrit(freedom, level))
