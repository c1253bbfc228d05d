"""Which points a sweep of several sessions has to measure: each in as many fresh processes, spread over the sweep."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from longbench_cli.execute.outcome import Status
from longbench_cli.sweep.plan import PlannedPoint

FINAL: frozenset[Status] = frozenset({"pruned", "oom", "unsupported", "incorrect", "timeout"})
"""What another process would only meet again: no later session of such a point is started or recorded.

A crash may have been bad luck, and costs its own session alone.
"""

SessionKey = tuple[str, int]
"""A point's key, and which of its sessions, from 0."""


def due(points: Iterable[PlannedPoint], session: int, ended: Mapping[SessionKey, Status]) -> list[PlannedPoint]:
    """The points whose ``session`` is still to be measured, given how sessions ended so far."""
    return [
        point
        for point in points
        if (point.key, session) not in ended
        and not any(ended.get((point.key, earlier)) in FINAL for earlier in range(session))
    ]


def count_due(points: Iterable[PlannedPoint], sessions: int, ended: Mapping[SessionKey, Status]) -> int:
    """Sessions of points that are still to be measured, if none of them ends the later ones."""
    points = list(points)
    return sum(len(due(points, session, ended)) for session in range(sessions))
