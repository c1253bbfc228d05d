"""This rank's side of what is timed: inputs, and iterations on them in three ways."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from attention_impls.distributed.comm import Communicator
from longbench_cli.measure.clock import Timer
from longbench_cli.measure.subjects import Subject


class Bench:
    """Each method is called by all ranks at once, and gives this rank's nanoseconds."""

    def __init__(self, subject: Subject[Any], comm: Communicator, timer: Timer) -> None:
        self._subject, self._comm, self._timer = subject, comm, timer
        self._iterate: Callable[[], int] | None = None

    def draw(self) -> int:
        """New inputs; those before are freed first. Takes no time that counts."""
        self._iterate = None
        self._comm.forget()
        self._iterate = self._timer.bind(self._subject.work(self._subject.draw()))
        return 0

    def iterate(self) -> int:
        """One iteration."""
        if self._iterate is None:
            raise RuntimeError("nothing is drawn")
        return self._iterate()

    def full(self) -> int:
        """One iteration whose collectives are remembered, for the other two ways."""
        self._comm.keep()
        return self.iterate()

    def compute(self) -> int:
        """One iteration without its collectives."""
        took: int = self._comm.without(self.iterate)
        return took

    def collectives(self) -> int:
        """The collectives of one iteration alone."""
        return self._timer.bind(self._comm.alone)()

    def close(self) -> None:
        """Free the inputs and what is remembered."""
        self._iterate = None
        self._comm.forget()
