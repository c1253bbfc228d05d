"""Compares two sides, each of one run or many, in the way that they were measured."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace

from longbench_cli.analyse.comparison.comparable import check_allowed
from longbench_cli.analyse.comparison.paired import compare_paired
from longbench_cli.analyse.comparison.stored import compare_stored
from longbench_cli.analyse.comparison.types import Comparison, PointVerdict
from longbench_cli.analyse.comparison.unrecorded import unrecorded
from longbench_cli.analyse.sessions import is_numbered
from longbench_cli.errors import UsageError
from longbench_cli.record.loading import Run


def compare(
    base: Sequence[Run], candidate: Sequence[Run], *, noise: Mapping[str, float], allow: Collection[str]
) -> Comparison:
    """Compare the two sides of a duet pair by pair, and any other runs as stored ones.

    Nothing more is measured: a point whose pairs do not suffice for a verdict was cut off and is not comparable, nor is
    one that both sides planned and neither recorded.

    Args:
        noise: by key, the spread (sd) of ln(candidate / base) that the same code showed against itself.
        allow: fields in which the sides may differ, of :data:`comparable.FIELDS`.

    Raises:
        UsageError: an unknown field; a side without a point; a run that is on both sides, or twice on one; both sides
            of a duet on one side, or the wrong way round; a base with a slowdown put into it; a line of a session that
            is there twice; no point in common.
    """
    check_allowed(allow)
    for name, runs in (("base", base), ("candidate", candidate)):
        _refuse_side(name, runs)
    _refuse_both(base, candidate)
    if len(base) == len(candidate) == 1 and _duets(base) & _duets(candidate):
        found = compare_paired(base[0], candidate[0], noise=noise, allow=allow)
        found = replace(found, points=tuple(map(_final, found.points)))
    else:
        found = compare_stored(base, candidate, allow=allow, noise=noise)
        if _duets(base) or _duets(candidate):
            why = "these runs are not the two sides of one duet: compared as stored runs, not pair by pair"
            found = replace(found, warnings=(why, *found.warnings))
    found = replace(found, points=_as_planned(base, (*found.points, *unrecorded(base, candidate, found.mode))))
    if not any(point.base.status == point.candidate.status == "ok" for point in found.points):
        found = replace(found, warnings=(*found.warnings, "no point was measured on both sides: no time was compared"))
    read = [warning for run in (*base, *candidate) for warning in run.warnings]
    return replace(found, warnings=(*read, *found.warnings))


def _final(point: PointVerdict) -> PointVerdict:
    """The verdict on a point of a duet that nobody goes on with."""
    if not point.wants or point.kind in ("incorrect", "regression"):
        return point
    wanted = f"{point.wants} more pair{'' if point.wants == 1 else 's'} wanted"
    reason = f"cut off: {wanted}: go on with --keep DIR --resume, or measure again"
    steps = (*point.steps, f"so far: {point.reason}")
    return replace(point, kind="not-comparable", reason=reason, steps=steps, wants=0)


def _as_planned(base: Sequence[Run], points: Sequence[PointVerdict]) -> tuple[PointVerdict, ...]:
    """The points in the order of the base's plan, then the others."""
    keys = dict.fromkeys(key for run in base for key in run.header.plan)
    place = {key: number for number, key in enumerate(keys)}
    return tuple(sorted(points, key=lambda point: place.get(point.key, len(place))))


def _duets(runs: Sequence[Run]) -> set[str]:
    return {run.header.duet.id for run in runs if run.header.duet is not None}


def _refuse_side(name: str, runs: Sequence[Run]) -> None:
    if not any(run.points for run in runs):
        files = ", ".join(str(run.path) for run in runs) or f"the {name}"
        raise UsageError(f"{files}: holds no point: measure it with `longbench run`, or give another {name}")
    seen: dict[str, Run] = {}
    for run in runs:
        other = seen.setdefault(run.header.run_id, run)
        if other is not run:
            raise UsageError(f"{run.path}: the same run as {other.path}, twice in the {name}: remove one of them")
        _refuse_repeated(run)
    sides: dict[str, Run] = {}
    for run in runs:
        if run.header.duet is not None:
            other = sides.setdefault(run.header.duet.id, run)
            if other is not run:
                raise UsageError(
                    f"the {name} holds both sides of one duet: give {other.path} and {run.path} as base and candidate"
                )


def _refuse_repeated(run: Run) -> None:
    lines = Counter((point.key, point.session) for point in run.points)
    for (key, session), count in lines.items():
        if count > 1 and is_numbered(run):
            raise UsageError(f"{run.path}: session {session} of {key} is there {count} times: keep one of its lines")


def _refuse_both(base: Sequence[Run], candidate: Sequence[Run]) -> None:
    ids = {run.header.run_id: run for run in base}
    for run in candidate:
        if run.header.run_id in ids:
            raise UsageError(
                f"{run.path}: is on both sides (the base's {ids[run.header.run_id].path}): give two different runs"
            )
    for one in base:
        for other in candidate:
            _refuse_swapped(one, other)
    for run in base:
        if run.header.duet is not None and run.header.duet.injected is not None:
            raise UsageError(f"{run.path}: a slowdown was put into it (--inject): give a base that is what was built")
    keys = [list(dict.fromkeys(point.key for run in side for point in run.points)) for side in (base, candidate)]
    if not set(keys[0]) & set(keys[1]):
        raise UsageError(
            f"no point in common: the base has {keys[0][0]}, the candidate {keys[1][0]}: give runs of the same profile"
        )


def _refuse_swapped(base: Run, candidate: Run) -> None:
    one, other = base.header.duet, candidate.header.duet
    if one is None or other is None or one.id != other.id or (one.side, other.side) == ("base", "candidate"):
        return
    if one.side == other.side:
        raise UsageError(f"{base.path} and {candidate.path}: both are the {one.side} of one duet: give one of each")
    raise UsageError(
        f"{base.path}: is the candidate of its duet: swap the two: --base {candidate.path} --candidate {base.path}"
    )
