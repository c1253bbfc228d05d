"""A point made small and fit to be kept in git: every figure of it stays, raw material and strangers' names go."""

from __future__ import annotations

from functools import reduce
from typing import Any, Final

from longbench_cli.measure.judge import who
from longbench_cli.measure.types import Latency, OtherProcess, RankRecord, Telemetry, Verdict
from longbench_cli.record.loading import RecordedPoint
from longbench_cli.record.schema import MeasuredPoint, RunHeader

KEPT: Final = 101
"""Iterations that are kept of a longer series: odd, so that the middle one of them is the middle one of all."""

_DUET: Final = "duet"
"""In the settings of a slim copy: it was one side of a duet."""

_NOBODY: Final = {"pid": 0, "name": None}


def slim(point: RecordedPoint) -> RecordedPoint:
    """``point`` without what a later reader can do without.

    What goes: names and numbers of other processes, telemetry of single iterations, what a failed worker printed, the
    turns of a duet, and of more than :data:`KEPT` iterations all but an even sample of their order statistics;
    ``latency.omitted`` says how many. Medians, intervals and verdicts are those of all iterations.
    """
    ranks = None if point.ranks is None else [_slim_rank(rank) for rank in point.ranks]
    changes: dict[str, Any] = {"ranks": ranks}
    if isinstance(point, MeasuredPoint):
        changes |= {"latency": _slim_latency(point.latency), "telemetry": _slim_telemetry(point.telemetry)}
        changes["verdict"] = _slim_verdict(point)
    else:
        changes["stderr_tail"] = []
    return point.model_copy(update=changes)


def slim_header(header: RunHeader) -> RunHeader:
    """``header`` of a run whose points are made slim: a side that cannot be paired any more, but took turns."""
    if header.duet is None:
        return header
    return header.model_copy(update={"duet": None, "settings": header.settings | {_DUET: True}})


def took_turns(header: RunHeader) -> bool:
    """Whether the run was one side of a duet, which is sampled otherwise than a run that stands alone."""
    return header.duet is not None or header.settings.get(_DUET) is True


def bare(point: RecordedPoint) -> RecordedPoint:
    """``point`` as one value of a series: of its iterations the median alone, of what else was seen the verdict."""
    changes: dict[str, Any] = {"ranks": None, "details": {}}
    if isinstance(point, MeasuredPoint):
        latency = point.latency
        kept = {"iterations_ns": [round(latency.median_ns)], "omitted": latency.count - 1, "turns": None}
        changes |= {"latency": latency.model_copy(update=kept), "telemetry": None}
    else:
        changes["stderr_tail"] = []
    return point.model_copy(update=changes)


def _slim_latency(latency: Latency) -> Latency:
    kept = _sample(latency.iterations_ns)
    omitted = latency.omitted + len(latency.iterations_ns) - len(kept)
    return latency.model_copy(update={"iterations_ns": kept, "omitted": omitted, "turns": None})


def _slim_rank(rank: RankRecord) -> RankRecord:
    changes = {"iterations_ns": _sample(rank.iterations_ns), "telemetry": _slim_telemetry(rank.telemetry)}
    return rank.model_copy(update=changes)


def _slim_telemetry(telemetry: Telemetry | None) -> Telemetry | None:
    if telemetry is None:
        return None
    cpu, gpu = telemetry.cpu, telemetry.gpu
    changes: dict[str, Any] = {"per_iteration": None}
    if cpu is not None:
        changes["cpu"] = cpu.model_copy(update={"others": []})  # others_share says how much they took
    if gpu is not None and gpu.others:  # that there were some decides whether points compare
        changes["gpu"] = gpu.model_copy(update={"others": [other.model_copy(update=_NOBODY) for other in gpu.others]})
    return telemetry.model_copy(update=changes)


def _slim_verdict(point: MeasuredPoint) -> Verdict | None:
    if point.verdict is None:
        return None
    seen = [point.telemetry, *(rank.telemetry for rank in point.ranks or [])]
    others = [one for telemetry in seen if telemetry is not None for one in _others(telemetry)]
    reasons = [reduce(lambda text, one: text.replace(who(one), "a process"), others, r) for r in point.verdict.reasons]
    return point.verdict.model_copy(update={"reasons": reasons})


def _others(telemetry: Telemetry) -> list[OtherProcess]:
    cpu, gpu = telemetry.cpu, telemetry.gpu
    return [*(cpu.others if cpu else []), *((gpu.others if gpu else None) or [])]


def _sample(times: list[int]) -> list[int]:
    """At most :data:`KEPT` of ``times``, evenly spaced by rank from the least to the greatest, in time order."""
    if len(times) <= KEPT:
        return times
    by_rank = sorted(range(len(times)), key=times.__getitem__)
    last = len(times) - 1
    return [times[at] for at in sorted(by_rank[round(step * last / (KEPT - 1))] for step in range(KEPT))]
