"""The cost model of time: what the slowest rank computes, what ranks exchange, and how much of that is hidden."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

from longbench_cli.analyse.prediction.drift import (
    Drift,
    Mixture,
    Place,
    Sample,
    errors_of_predicting,
    learn_drift,
)
from longbench_cli.analyse.prediction.estimate import Estimate, Scaled, estimate, together
from longbench_cli.analyse.prediction.families import PARALLEL
from longbench_cli.analyse.prediction.law import Law, fit_law
from longbench_cli.analyse.prediction.network import Collectives, collectives_of
from longbench_cli.analyse.prediction.work import Layout, RankWork, place_of, recorded_work
from longbench_cli.record.schema import MeasuredPoint
from longbench_cli.sweep.case import Case
from longbench_cli.sweep.hardware import Network

LEAST_LENGTHS = 2
"""Of one length nothing can be said about another."""

OWN_NOISE = 0.01
"""Root mean square of what a median moves between processes of one machine (docs/statistics.md), as a share."""

FEW_NOISE = 0.02
"""As a share, of a point with one iteration, whose own noise nobody knows."""

COLLECTIVE_SD = 0.1
"""As :data:`~longbench_cli.analyse.prediction.drift.PRIOR_SD`, of collectives."""

PROFILE_SD = math.log(2) / 1.645
"""A data sheet says what cannot be passed, not what is reached: 90% within a factor of 2, which is assumed."""

CROWDED_SD = math.log(4 / 3) / 1.96
"""Of the logarithm of what more ranks than cores cost the first time, which is never a gain: 95% up to a third slower.

Assumed: a task that comes back to its core finds its cache cold, which costs from microseconds to more than 1 ms (Li,
Ding and Shen, Quantifying the cost of context switch, ExpCS 2007) of slices of 3 ms (Linux, kernel/sched/fair.c).
"""

_LEAST = 1e-9
"""Seconds that collectives take at least: their costs may be fitted as none beside others'."""

_Z95 = 1.959964


@dataclass(frozen=True, slots=True)
class TimeModel:
    """Seconds of an iteration.

    Attributes:
        compute: seconds a call, a FLOP and a byte of a rank that has a node for itself.
        compute_drift: about it, in sequence length, ranks, and sequences times heads.
        collectives, collective_drift: the same of what ranks exchange; no drift where none was measured.
        overlaps: of each measured point of several ranks, its algorithm and the share of its collectives that it hid
            behind its computing.
        crowded: whether a measured node had more ranks than cores.
        points: how many it was fitted to.
    """

    compute: Law
    compute_drift: Drift
    collectives: Collectives
    collective_drift: Drift | None
    overlaps: tuple[tuple[str, float], ...]
    crowded: bool
    points: int

    def predict(self, case: Case, work: RankWork) -> Estimate:
        """The time of ``case``, of which ``work`` is the slowest rank's part."""
        place = place_of(case)
        computing = Scaled(self.compute.at(work.features), self.compute_drift.at(place, OWN_NOISE))
        exchanging = self.collectives.seconds(work.traffic, work.layout)
        crowded_sd = CROWDED_SD if self.never_so_crowded(work.layout) else 0.0
        if exchanging <= 0 and not crowded_sd:
            return estimate(computing.seconds, computing.about)
        drift = self.collective_drift
        noise = OWN_NOISE if drift and self.collectives.measured(work.traffic, work.layout) else PROFILE_SD
        about = drift.at(place, noise) if drift else Mixture((0.0,), (noise,), (1.0,))
        return together(computing, Scaled(exchanging, about), self.hidden(case), crowded_sd)

    def never_so_crowded(self, layout: Layout) -> bool:
        """Whether ranks outnumber cores there, of which no measured point tells."""
        return layout.crowd > 1 and not self.crowded

    def hidden(self, case: Case) -> list[float]:
        """The shares that measured points of the same algorithm hid."""
        return [share for algorithm, share in self.overlaps if algorithm == _algorithm(case)]


def fit_time(points: Sequence[MeasuredPoint], cores: int | None, network: Network) -> TimeModel:
    """The model of ``points``, of one family and in its order.

    Of several ranks whose communication could not be told apart nobody knows what they computed: those are left out.

    Raises:
        ValueError: fewer than :data:`LEAST_LENGTHS` lengths.
    """
    points = [point for point in points if point.case.world_size == 1 or point.communication]
    if not can_fit(points):
        raise ValueError(f"{LEAST_LENGTHS} lengths at least are needed to tell how time grows with length")
    seen = [_Seen.of(point, cores) for point in points]
    law = _compute_law(seen)
    drift = learn_drift(_left_over(seen, law), errors_of_predicting(*_axes(seen), lambda k: _refit(seen, k)))
    several = [one for one in seen if one.exchanging > 0]
    collectives = collectives_of(points, cores, network)
    return TimeModel(
        compute=law,
        compute_drift=drift,
        collectives=collectives,
        collective_drift=_collective_drift(several, collectives, cores, network) if several else None,
        overlaps=_overlaps(several),
        crowded=any(one.work.layout.crowd > 1 for one in seen),
        points=len(points),
    )


def can_fit(points: Sequence[MeasuredPoint]) -> bool:
    """Whether there are lengths enough."""
    return len({point.case.seq_len for point in points}) >= LEAST_LENGTHS


def own_noise(point: MeasuredPoint) -> float:
    """Standard deviation of the logarithm of a measured median, between processes."""
    latency = point.latency
    if latency.noise is None:
        return math.hypot(OWN_NOISE, FEW_NOISE)
    return math.hypot(OWN_NOISE, min(0.5, latency.noise) / _Z95)


@dataclass(frozen=True, slots=True)
class _Seen:
    """A measured point, as the model sees it; seconds."""

    point: MeasuredPoint
    place: Place
    noise: float
    work: RankWork
    computing: float
    exchanging: float

    @classmethod
    def of(cls, point: MeasuredPoint, cores: int | None) -> _Seen:
        found, median_ns = point.communication, point.latency.median_ns
        computing = found.compute_ns if found and found.compute_ns > 0 else median_ns
        exchanging = found.communication_ns if found else 0.0
        work = recorded_work(point, cores)
        return cls(point, place_of(point.case), own_noise(point), work, computing / 1e9, exchanging / 1e9)

    @property
    def overlap(self) -> float:
        exposed = self.point.latency.median_ns / 1e9 - self.computing
        return min(1.0, max(0.0, 1 - exposed / self.exchanging))


def _axes(seen: Sequence[_Seen]) -> tuple[list[Place], list[float]]:
    return [one.place for one in seen], [one.noise for one in seen]


def _compute_law(seen: Sequence[_Seen]) -> Law:
    return fit_law([one.work.features for one in seen], [one.computing for one in seen])


def _left_over(seen: Sequence[_Seen], law: Law) -> list[Sample]:
    return [Sample(one.place, math.log(one.computing / law.at(one.work.features)), one.noise) for one in seen]


def _refit(seen: Sequence[_Seen], count: int) -> tuple[list[float], float] | None:
    if not can_fit([one.point for one in seen[:count]]):
        return None
    *logs, last = [sample.log for sample in _left_over(seen[: count + 1], _compute_law(seen[:count]))]
    return logs, last


def _overlaps(several: Sequence[_Seen]) -> tuple[tuple[str, float], ...]:
    return tuple((_algorithm(one.point.case), one.overlap) for one in several)


def _algorithm(case: Case) -> str:
    return str(case.options.get(PARALLEL) or "")


def _collective_drift(several: Sequence[_Seen], collectives: Collectives, cores: int | None, network: Network) -> Drift:
    def refit(count: int) -> tuple[list[float], float]:
        model = collectives_of([one.point for one in several[:count]], cores, network)
        *before, last = [sample.log for sample in _collectives_left_over(several[: count + 1], model)]
        return before, last

    samples = _collectives_left_over(several, collectives)
    return learn_drift(samples, errors_of_predicting(*_axes(several), refit), COLLECTIVE_SD)


def _collectives_left_over(several: Sequence[_Seen], model: Collectives) -> list[Sample]:
    laws = [model.seconds(one.work.traffic, one.work.layout) or _LEAST for one in several]
    return [
        Sample(one.place, math.log(one.exchanging / law), one.noise) for one, law in zip(several, laws, strict=True)
    ]


def leave_one_out(points: Sequence[MeasuredPoint], cores: int | None, network: Network) -> list[float]:
    """Relative errors (predicted over measured, less 1) of each point by a model of the others.

    How much what is left over wanders is taken from all of them; points whose going leaves too few are left out.
    """
    whole = fit_time(points, cores, network)
    errors = []
    for index, point in enumerate(points):
        rest = [other for place, other in enumerate(points) if place != index]
        if not can_fit(rest):
            continue
        seen = [_Seen.of(other, cores) for other in rest]
        law = _compute_law(seen)
        several = [one for one in seen if one.exchanging > 0]
        collectives = collectives_of(rest, cores, network)
        collective_drift = None
        if several and whole.collective_drift:
            exchanged = _collectives_left_over(several, collectives)
            collective_drift = replace(whole.collective_drift, samples=tuple(exchanged))
        model = replace(
            whole,
            compute=law,
            compute_drift=replace(whole.compute_drift, samples=tuple(_left_over(seen, law))),
            collectives=collectives,
            collective_drift=collective_drift,
            overlaps=_overlaps(several),
        )
        predicted = model.predict(point.case, recorded_work(point, cores))
        errors.append(predicted.value * 1e9 / point.latency.median_ns - 1)
    return errors
