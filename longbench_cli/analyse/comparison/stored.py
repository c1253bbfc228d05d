"""Runs that are at hand, measured at different times: weaker than a duet, whose sides take turns.

Whatever drifts between the day of the base and the day of the candidate (clocks, a driver, who else is on the machine)
is in every session of a side alike, and no number of sessions averages it out. Hence many sessions, and a threshold
that is never below 5%, nor below what the base's own sessions spread.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass

from longbench_cli.analyse.comparison.comparable import differences, split_allowed
from longbench_cli.analyse.comparison.memory import memory_change
from longbench_cli.analyse.comparison.selection import like, select
from longbench_cli.analyse.comparison.sides import label_of, newest, side_info, side_of, with_failures
from longbench_cli.analyse.comparison.stored_rule import judge_stored
from longbench_cli.analyse.comparison.types import Comparison, PointVerdict, Side
from longbench_cli.analyse.comparison.verdict import combine, together
from longbench_cli.analyse.sessions import sessions_of
from longbench_cli.record.loading import RecordedPoint, Run
from longbench_cli.record.schema import MeasuredPoint
from longbench_cli.sweep.case import Device


def compare_stored(
    base: Sequence[Run], candidate: Sequence[Run], *, allow: Collection[str], noise: Mapping[str, float] | None = None
) -> Comparison:
    """Compare runs that did not take turns; each side has at least one point.

    Sessions of one side may be of several runs: of those with one fingerprint, the candidate's where the base has it.
    A key that a side has only in runs of another fingerprint is compared with those, as far as ``allow`` lets them be:
    its verdict says what differs. ``noise`` is what an A/A duet found, by key, as the spread (sd) of
    ln(candidate / base).
    """
    devices = dict.fromkeys(point.case.device for run in (*base, *candidate) for point in run.points)
    chosen = {device: select(base, candidate, device, allow) for device in devices}
    found: dict[str, PointVerdict] = {}
    for device, selection in chosen.items():
        sides = (
            _Sessions.of(selection.base, device, selection.base_left),
            _Sessions.of(selection.candidate, device, selection.candidate_left),
        )
        for key in (key for side in sides for key in side.every_key()):
            if key not in found:
                found[key] = _point(key, *sides, allow, (noise or {}).get(key))
    points = tuple(found[key] for key in dict.fromkeys(_order(base, candidate)) if key in found)
    labels = [label_of(side) for side in (base, candidate)]
    if labels[0] == labels[1]:
        labels = [str(side[0].path) for side in (base, candidate)]
    warnings = [line for selection in chosen.values() for line in selection.warnings]
    return Comparison(
        mode="stored",
        base=side_info(base, labels[0]),
        candidate=side_info(candidate, labels[1]),
        points=together(points),
        injected=next((duet.injected for run in candidate if (duet := run.header.duet) and duet.injected), None),
        warnings=tuple(warnings),
    )


def _order(base: Sequence[Run], candidate: Sequence[Run]) -> Iterator[str]:
    """The keys of the base as it planned them, then those that are new; some more than once."""
    for run in (*base, *candidate):
        yield from run.header.plan
        yield from (point.key for point in run.points)


@dataclass(frozen=True, slots=True)
class _Sessions:
    """What one side recorded on one device: the sessions of each key, of one run after the other.

    ``left_out`` are runs of the side that were measured otherwise.
    """

    runs: tuple[Run, ...]
    records: dict[str, list[RecordedPoint]]
    device: Device
    left_out: tuple[Run, ...] = ()

    @classmethod
    def of(cls, runs: Sequence[Run], device: Device, left_out: tuple[Run, ...] = ()) -> _Sessions:
        records: dict[str, list[RecordedPoint]] = {}
        for run in runs:
            for key, sessions in sessions_of(run).items():
                if sessions[0].case.device == device:
                    records.setdefault(key, []).extend(sessions)
        return cls(tuple(runs), records, device, left_out)

    def every_key(self) -> list[str]:
        """Those of the runs that are compared, then those that only the others have."""
        return list(dict.fromkeys([*self.records, *_Sessions.of(self.left_out, self.device).records]))

    def having(self, key: str) -> _Sessions:
        """These; or, if only runs that were left out have the key, those of the newest of them and of its like."""
        if key in self.records:
            return self
        runs = [run for run in self.left_out if any(point.key == key for point in run.points)]
        return _Sessions.of(like(newest(runs), runs, self.device), self.device) if runs else self

    def side(self, key: str) -> Side:
        return side_of(self.records.get(key, ()), planned=any(key in run.header.plan for run in self.runs))


def _point(
    key: str, base: _Sessions, candidate: _Sessions, allow: Collection[str], noise: float | None
) -> PointVerdict:
    sides = (base.having(key), candidate.having(key))
    records = (sides[0].records.get(key, []), sides[1].records.get(key, []))
    before, now = sides[0].side(key), sides[1].side(key)
    now = with_failures(before, now, *records, f"{len(records[1])} sessions")
    both = [*records[0], *records[1]]
    case = next((one for one in both if isinstance(one, MeasuredPoint)), both[0]).case
    if not all(records) and sides[0] is base and sides[1] is candidate:
        return combine(key, case, "stored", before, now)
    # A side without any run on this device says nothing: then it is the other's own runs that the key's differ from.
    headers = (newest(sides[0].runs or candidate.runs).header, newest(sides[1].runs or base.runs).header)
    left, allowed = split_allowed(differences(*records, *headers, paired=False), allow)
    time = memory = None
    if not left and before.status == now.status == "ok":
        time = judge_stored(before.medians_ns, now.medians_ns, noise)
        memory = memory_change(before.peak_bytes, now.peak_bytes)
    return combine(key, case, "stored", before, now, time=time, memory=memory, left=left, allowed=allowed)
