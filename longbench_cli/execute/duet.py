"""A duet: base and candidate as two live processes that take turns on the same points, one point after another.

A pair of fresh processes goes through all points; each point of it is one replication. What one of them does
is no news of the other: a side that fails leaves its turns, and a fresh process goes on with the next point.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self

from longbench_cli.execute.interpreter import Interpreter
from longbench_cli.execute.isolate import Worker
from longbench_cli.execute.outcome import Outcome, Progress
from longbench_cli.execute.ranks import RanksHere
from longbench_cli.execute.turns import alternate


@dataclass(frozen=True, slots=True)
class Piece:
    """One point of a duet.

    Attributes:
        requests: of base and candidate.
        timeout_s: seconds that each may be active.
        world_size: ranks of the point; several are started for it alone.
        together: whether both fit at once; else one is measured after the other, without turns.
    """

    requests: tuple[Mapping[str, Any], Mapping[str, Any]]
    timeout_s: float
    world_size: int = 1
    together: bool = True


class Pair:
    """A fresh process of each side. ``flipped``: the candidate has the first turn."""

    def __init__(
        self,
        players: tuple[Interpreter, Interpreter],
        *,
        flipped: bool,
        on_progress: Callable[[Progress], None] = lambda _progress: None,
    ) -> None:
        self._players, self._on_progress = players, on_progress
        self._order = (1, 0) if flipped else (0, 1)
        self._live: list[Worker | None] = [None, None]

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        for side in self._order:
            self._close(side)

    def ask(self, side: int, request: Mapping[str, Any], timeout_s: float) -> Outcome:
        """What ``side`` alone answers to a request that takes no turn."""
        worker = self._asked(side, request, timeout_s)
        worker.listen()
        return self._outcome(side, worker, keep=True)

    def play(self, piece: Piece) -> tuple[Outcome, Outcome]:
        """Measure a point on both sides; the outcomes of base and candidate."""
        found: dict[int, Outcome] = {}
        for sides in [self._order] if piece.together else [(side,) for side in self._order]:
            found |= self._play(sides, piece)
        return found[0], found[1]

    def _play(self, sides: Sequence[int], piece: Piece) -> dict[int, Outcome]:
        alone = piece.world_size > 1 or not piece.together
        if alone:
            for side in self._order:
                self._close(side)
        # Both are started before one is listened to: Python and torch load side by side.
        workers = {side: self._asked(side, piece.requests[side], piece.timeout_s, piece.world_size) for side in sides}
        found: dict[int, Outcome] = {}

        def over(side: int) -> None:
            found[side] = self._outcome(side, workers[side], keep=not alone)

        waiting = []
        for side, worker in workers.items():
            if worker.listen():
                waiting.append((side, worker))
            else:
                over(side)
        alternate(waiting, over)
        return found

    def _asked(self, side: int, request: Mapping[str, Any], timeout_s: float, world_size: int = 1) -> Worker:
        worker = self._live[side]
        if worker is not None and worker.alive:
            worker.ask_again(dict(request), timeout_s)
            return worker
        self._close(side)  # it has ended since it answered: that is no news of this point
        player = self._players[side]
        ranks = None
        if world_size > 1:
            ranks = RanksHere(world_size, player.command("longbench_cli.execute.launch"))
        worker = Worker(
            dict(request),
            timeout_s=timeout_s,
            on_progress=self._on_progress,
            turns=True,
            command=None if ranks else player.command("longbench_cli.measure.worker"),
            ranks=ranks,
            cwd=player.cwd,
        )
        self._live[side] = worker
        return worker

    def _outcome(self, side: int, worker: Worker, *, keep: bool) -> Outcome:
        """What came of it; whoever failed, or was for one point only, is gone then."""
        if keep and worker.answered and (outcome := worker.answer()).status == "ok":
            return outcome
        outcome = worker.end()
        self._live[side] = None
        return outcome

    def _close(self, side: int) -> None:
        worker, self._live[side] = self._live[side], None
        if worker is not None:
            worker.close()
