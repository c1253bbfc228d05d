"""The two sides of a duet, compared pair by pair."""

from __future__ import annotations

import math
import statistics
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

from longbench_cli.analyse.comparison.comparable import differences, split_allowed
from longbench_cli.analyse.comparison.memory import memory_change
from longbench_cli.analyse.comparison.rule import MOST_PAIRS, PAIRS, judge_pairs, look_at, smallest_detectable
from longbench_cli.analyse.comparison.sides import SHOWN, label_of, side_info, side_of, with_failures
from longbench_cli.analyse.comparison.threshold import threshold_of
from longbench_cli.analyse.comparison.time_words import reason_of
from longbench_cli.analyse.comparison.types import Comparison, Difference, PointVerdict, Side
from longbench_cli.analyse.comparison.verdict import TimeVerdict, combine, together
from longbench_cli.analyse.sessions import ran_alike, sessions_of
from longbench_cli.errors import UsageError
from longbench_cli.measure.types import Latency
from longbench_cli.record.loading import RecordedPoint, Run
from longbench_cli.record.schema import MeasuredPoint, RunHeader

MOST_TRIED: Final = 2 * MOST_PAIRS
"""Pairs after which a point that too often fails is given up."""

_PASSING: Final = frozenset({"throttled", "clocks", "foreign"})
"""Differences that may be over with the next pair."""


def compare_paired(base: Run, candidate: Run, *, noise: Mapping[str, float], allow: Collection[str]) -> Comparison:
    """Compare the sides of one duet, as far as they were measured; a key without any record is left out.

    Args:
        noise: by key, what :func:`noise_of` says of an A/A duet.
        allow: fields in which the sides may differ.
    """
    sides = (sessions_of(base), sessions_of(candidate))
    recorded = [point.key for run in (base, candidate) for point in run.points]
    keys = dict.fromkeys([*base.header.plan, *candidate.header.plan, *recorded])
    points = [
        _Point.of(key, sides[0].get(key, []), sides[1].get(key, [])).verdict(base, candidate, noise.get(key), allow)
        for key in keys
        if key in sides[0] or key in sides[1]
    ]
    duets = [run.header.duet for run in (base, candidate)]
    return Comparison(
        mode="paired",
        base=side_info([base], label_of([base])),
        candidate=side_info([candidate], label_of([candidate])),
        points=together(points),
        identical=any(duet.identical for duet in duets if duet),
        injected=next((duet.injected for duet in duets if duet and duet.injected), None),
    )


def pair_values(base: Run, candidate: Run) -> dict[str, tuple[float, ...]]:
    """By key, d of each pair that was measured on both sides, in order; keys without one are left out."""
    sides = (sessions_of(base), sessions_of(candidate))
    found = {key: _Point.of(key, sides[0][key], sides[1][key]).values() for key in sides[0] if key in sides[1]}
    return {key: values for key, values in found.items() if values}


def noise_of(base: Run, candidate: Run) -> dict[str, float]:
    """By key, the spread (sd) of d over at least 6 pairs of an A/A duet; keys with fewer are left out.

    Raises:
        UsageError: the runs are not the sides of one duet of the same code, or no key has 6 pairs.
    """
    one, other = base.header.duet, candidate.header.duet
    both = f"{base.path} and {candidate.path}"
    if one is None or other is None or one.id != other.id or not one.identical or one.injected or other.injected:
        raise UsageError(f"{both}: are not the sides of an A/A gate: measure one with `longbench gate --aa --keep DIR`")
    found = {
        key: look_at(values).error * math.sqrt(len(values))
        for key, values in pair_values(base, candidate).items()
        if len(values) >= PAIRS
    }
    if not found:
        raise UsageError(f"{both}: no point has {PAIRS} pairs: go on with `longbench gate --aa --keep DIR --resume`")
    return found


def pair_value(base: Latency, candidate: Latency) -> float | None:
    """d of one pair: median over turns r of ln(median of the candidate's turn r / median of the base's turn r).

    Turns beyond the other side's last are left out. Where a side does not tell its turns, ln of the ratio of the
    medians. None where the clock is too coarse to see the pass.
    """
    turns = list(zip(_turn_medians(candidate), _turn_medians(base), strict=False))
    ratios = turns or [(candidate.median_ns, base.median_ns)]
    if any(min(ratio) <= 0 for ratio in ratios):
        return None
    return statistics.median(math.log(now / before) for now, before in ratios)


def _one_by_one(pairs: Sequence[tuple[MeasuredPoint, MeasuredPoint]]) -> list[str]:
    """What to say of pairs whose sides took no turns."""
    alone = sum(base.latency.turns is None or candidate.latency.turns is None for base, candidate in pairs)
    if not alone:
        return []
    why = "streamed, or too large to be in memory together"
    return [f"in {alone} of {len(pairs)} pairs the sides took no turns ({why}): the machine's drift is in d"]


def _turn_medians(latency: Latency) -> Iterator[float]:
    start = 0
    for count in latency.turns or ():
        if times := latency.iterations_ns[start : start + count]:
            yield statistics.median(times)
        start += count


@dataclass(frozen=True, slots=True)
class _Point:
    """The sessions of one key that both sides have, pair by pair; all that there are where they have none in common."""

    key: str
    base: list[RecordedPoint]
    candidate: list[RecordedPoint]

    @classmethod
    def of(cls, key: str, base: Sequence[RecordedPoint], candidate: Sequence[RecordedPoint]) -> _Point:
        common = {point.session for point in base} & {point.session for point in candidate}
        kept = [[one for one in side if not common or one.session in common] for side in (base, candidate)]
        return cls(key, *kept)

    def pairs(self) -> Iterator[tuple[MeasuredPoint, MeasuredPoint]]:
        """Those measured on both sides, each in the way that most of its side were."""
        alike = [
            {point.session: point for point in ran_alike([one for one in side if isinstance(one, MeasuredPoint)])}
            for side in (self.base, self.candidate)
        ]
        return ((alike[0][number], alike[1][number]) for number in alike[0] if number in alike[1])

    def values(self) -> tuple[float, ...]:
        found = (pair_value(base.latency, candidate.latency) for base, candidate in self.pairs())
        return tuple(value for value in found if value is not None)

    def verdict(self, base: Run, candidate: Run, noise: float | None, allow: Collection[str]) -> PointVerdict:
        planned = [self.key in run.header.plan for run in (base, candidate)]
        before, now = side_of(self.base, planned=planned[0]), side_of(self.candidate, planned=planned[1])
        both = [*self.base, *self.candidate]
        case = next((one for one in both if isinstance(one, MeasuredPoint)), both[0]).case
        if not self.base:
            return combine(self.key, case, "paired", before, now)
        now = self._failing(before, now)
        left, allowed = self._differences(base.header, candidate.header, allow)
        time = memory = None
        if not left and before.status == now.status == "ok":
            time = self._judged(noise)
            memory = memory_change(before.peak_bytes, now.peak_bytes)
        found = combine(
            self.key, case, "paired", before, now, time=time, memory=memory, left=left, allowed=allowed,
            status_wants=self._status_wants(before, now),
        )  # fmt: skip
        if found.kind == "not-comparable" and left and {one.field for one in left} <= _PASSING:
            found = replace(found, wants=max(0, PAIRS - len(self.base)))
        if found.wants and len(self.base) >= MOST_TRIED:
            reason = f"{found.reason}; {len(self.base)} pairs were tried, which is enough"
            found = replace(found, wants=0, kind="inconclusive", reason=reason)
        return found

    def _failing(self, before: Side, now: Side) -> Side:
        """The candidate's side, which fails if it did in enough pairs; one in which the base did too tells nothing."""
        told = {one.session for one in (*self.base, *self.candidate) if one.status == "ok"}
        base, candidate = ([one for one in side if one.session in told] for side in (self.base, self.candidate))
        return with_failures(before, now, base, candidate, f"{len(self.candidate)} pairs")

    def _status_wants(self, before: Side, now: Side) -> int:
        """So many more pairs must show these statuses; what comes and goes is not waited for forever."""
        candidate = {point.session: point.status == "ok" for point in self.candidate}
        seen = [(point.status == "ok", candidate.get(point.session, False)) for point in self.base]
        shown = seen.count((before.status == "ok", now.status == "ok"))
        return max(0, SHOWN - shown) if len(seen) < MOST_PAIRS else 0

    def _differences(
        self, base: RunHeader, candidate: RunHeader, allow: Collection[str]
    ) -> tuple[list[Difference], list[Difference]]:
        if not self.candidate:
            return [], []
        return split_allowed(differences(self.base, self.candidate, base, candidate, paired=True), allow)

    def _judged(self, noise: float | None) -> TimeVerdict:
        pairs = list(self.pairs())
        values = self.values()
        if len(values) < len(pairs):
            return TimeVerdict("not-comparable", "the clock is too coarse to see the pass at all")
        if not pairs:
            return TimeVerdict("inconclusive", f"measured in no pair on both sides, {PAIRS} wanted", wants=PAIRS)
        # Of the first look, so that a later pair does not move the threshold that an earlier one was held against.
        first = [base.latency.median_ns for base, _ in pairs[:PAIRS]]
        threshold = threshold_of(pairs[0][0].case, statistics.median(first), noise)
        tau = math.log1p(threshold.share)
        found = judge_pairs(values, tau)
        used = (*found.values, *found.confirmation)
        return TimeVerdict(
            found.kind,
            reason_of(found, threshold),
            threshold=threshold,
            effect=found.effect,
            values=found.values,
            confirmation=found.confirmation,
            detectable=smallest_detectable(used, tau) if len(used) > 1 else None,
            steps=(f"threshold {threshold.share:.2%}: {threshold.why}", *_one_by_one(pairs), *found.steps),
            wants=found.wants,
        )
