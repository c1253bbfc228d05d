"""What a timer is."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, Protocol

from longbench_cli.measure.types import Timing

now_ns = time.perf_counter_ns

Clock = Callable[[], int]
"""Nanoseconds of a clock that never goes back."""

Work = Callable[[], Any]
Iteration = Callable[[], int]
"""Does the work once and returns its nanoseconds."""

LineUp = Callable[[], object]
"""Called right before the clock starts: ranks wait there for each other."""


def start_at_once() -> None:
    """There is nobody to wait for."""


class Timer(Protocol):
    """Times work to its completion on the device, all pieces of work in the same way."""

    def bind(self, work: Work) -> Iteration:
        """A function that does ``work`` once and returns its nanoseconds.

        The result is released outside the timed region. What is prepared once for these inputs (a graph)
        is prepared here, and freed with the function.

        Raises:
            Unsupported: the work cannot be run in the way that was asked for.
        """
        ...

    @property
    def settled(self) -> bool:
        """Whether what is bound from now on is timed in one way; until then iterations are for finding it out."""
        ...

    def timing(self) -> Timing:
        """How the iterations so far were timed."""
        ...
