"""The time that a whole sweep may take: spent on the cheapest points first, and never overdrawn."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from longbench_cli.sweep.case import Kind
from longbench_cli.sweep.settings import Settings
from longbench_cli.sweep.units import format_seconds

if TYPE_CHECKING:
    from longbench_cli.execute.groups import Job

BUDGET = "--budget"
"""How the reason of every point begins that was left out, or cut off, for want of time: a resume measures it."""

OVER = f"{BUDGET}: its time was over while this point ran"

START_UP_S: dict[Kind, float] = {"op": 5.0, "model": 15.0}
"""Starting Python and torch, drawing inputs and verifying a small point."""

_UNTIMED = 5
"""Iterations' worth of verification and warm-up."""

_LONG_S = 1.0


def whole_seconds(kind: Kind, settings: Settings, iteration_seconds: float) -> float:
    """Predicted time of a point from its start to its record, in seconds: no less than it should need.

    A start-up, five iterations that are not timed, and all of the sampling time (or as many iterations as
    the stopping rule asks for, where they take longer).
    """
    sampling = sampling_seconds(settings, iteration_seconds)
    return START_UP_S[kind] + _UNTIMED * iteration_seconds + sampling


def sampling_seconds(settings: Settings, iteration_seconds: float) -> float:
    """Predicted time of the timed iterations at their most: all of ``max_time``, or the least number of them."""
    least = settings.min_iterations if iteration_seconds < _LONG_S else 1
    return max(settings.max_time, least * iteration_seconds)


class Budget:
    """What is left of ``seconds``, by ``clock``; without end if None."""

    def __init__(self, seconds: float | None, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._end = math.inf if seconds is None else clock() + seconds
        self.limited = seconds is not None

    def left(self) -> float:
        """Seconds; never negative."""
        return max(0.0, self._end - self._clock())

    def admit(self, group: Sequence[Job]) -> tuple[list[Job], list[tuple[Job, str]]]:
        """What of a group there is time for, and the rest with the reason why not.

        A group is run as a whole; where there is no time for that, its costliest points go until there is.
        """
        left = self.left()
        admitted, put_off = list(group), []
        while admitted and (needed := sum(job.whole_seconds for job in admitted)) > left:
            costliest = max(admitted, key=lambda job: job.whole_seconds)
            admitted.remove(costliest)
            turns = f" of {len(admitted) + 1} points in turns" if admitted else ""
            reason = f"{BUDGET}: predicted {format_seconds(needed)}{turns} > {format_seconds(left)} left"
            put_off.append((costliest, reason))
        return admitted, put_off
