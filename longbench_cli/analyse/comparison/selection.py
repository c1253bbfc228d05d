"""Which of many stored runs are compared: on one side none but those that were measured alike."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from longbench_cli.analyse.comparison.comparable import fingerprint
from longbench_cli.analyse.comparison.sides import newest
from longbench_cli.record.loading import Run
from longbench_cli.sweep.case import Device


@dataclass(frozen=True, slots=True)
class Selection:
    """The runs that are compared on one device, those that are not, and a line for the user about each side's."""

    base: tuple[Run, ...]
    candidate: tuple[Run, ...]
    base_left: tuple[Run, ...]
    candidate_left: tuple[Run, ...]
    warnings: tuple[str, ...]


def select(base: Sequence[Run], candidate: Sequence[Run], device: Device, allow: Collection[str]) -> Selection:
    """Of each side the runs of one fingerprint: the newest candidate's, and those of the base that match it.

    Where none of the base's does, they are those that match but for what is in ``allow``, else those like its newest:
    then every point says what differs.
    """
    bases, candidates = _on(base, device), _on(candidate, device)
    kept_candidates = like(newest(candidates), candidates, device) if candidates else []
    kept_bases = bases
    if bases:
        model = newest(bases)
        if candidates:
            last = newest(candidates)
            near = like(last, bases, device) or like(last, bases, device, but=allow)
            model = newest(near) if near else model
        kept_bases = like(model, bases, device)
    left = _left(bases, kept_bases), _left(candidates, kept_candidates)
    warnings = [*_told("base", len(bases), kept_bases, left[0], device)]
    warnings += _told("candidate", len(candidates), kept_candidates, left[1], device)
    return Selection(tuple(kept_bases), tuple(kept_candidates), *left, tuple(warnings))


def like(model: Run, runs: Sequence[Run], device: Device, but: Collection[str] = ()) -> list[Run]:
    """Those of ``runs`` with the fingerprint of ``model`` on ``device``, but for fields in ``but``."""
    wanted = fingerprint(model.header, device)
    return [run for run in runs if not _unlike(wanted, fingerprint(run.header, device)) - set(but)]


def _on(runs: Sequence[Run], device: Device) -> list[Run]:
    return [run for run in runs if any(point.case.device == device for point in run.points)]


def _unlike(one: dict[str, str | None], other: dict[str, str | None]) -> set[str]:
    return {name for name in one if one[name] != other[name]}


def _left(runs: Sequence[Run], kept: Sequence[Run]) -> tuple[Run, ...]:
    return tuple(run for run in runs if all(run is not one for one in kept))


def _told(side: str, count: int, kept: Sequence[Run], left: Sequence[Run], device: Device) -> list[str]:
    if not left:
        return []
    wanted = fingerprint(kept[0].header, device)
    fields = set().union(*(_unlike(wanted, fingerprint(run.header, device)) for run in left))
    which = f"{len(left)} of {count} runs of the {side} with points on {device}"
    return [f"{which} left out: measured otherwise than those compared ({', '.join(sorted(fields))})"]
