"""Several workers take turns, so that the drift of a machine hits all of them alike.

All are alive at once, but one at a time works: each is started and prepares itself (imports, verifies, warms
up) while the others sleep on their stdin; then they take turns, each the iterations on one set of inputs,
some 50 ms. The order is reversed after every round (A B, B A, A B, ...), so that a steady drift favours none.
One that has its result, or crashes, or takes too long in its own turns, leaves, and the others go on.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

from longbench_cli.execute.isolate import Worker
from longbench_cli.execute.outcome import Outcome, Progress
from longbench_cli.execute.ranks import Ranks


@dataclass(frozen=True, slots=True)
class Member:
    """One that takes turns.

    Attributes:
        request: what its worker is asked for.
        timeout_s: seconds that it may be active, preparation and turns together.
        on_end: called as soon as it is over.
        ranks: of a point of several.
    """

    request: dict[str, Any]
    timeout_s: float
    on_progress: Callable[[Progress], None]
    on_end: Callable[[Outcome], None]
    ranks: Ranks | None = None


def take_turns(members: Sequence[Member], *, limit_s: float = math.inf, command: Sequence[str] | None = None) -> None:
    """Run all members to their outcomes; after ``limit_s`` seconds, those still running are ended."""
    end = time.monotonic() + limit_s
    with ExitStack() as started:
        workers: dict[int, Worker] = {}
        waiting: list[tuple[int, Worker]] = []

        def over(number: int) -> None:
            workers[number].end(members[number].on_end)

        for number, member in enumerate(members):
            worker = Worker(
                member.request,
                timeout_s=member.timeout_s,
                on_progress=member.on_progress,
                turns=True,
                command=command,
                ranks=member.ranks,
            )
            workers[number] = started.enter_context(worker)
            if worker.listen(end):
                waiting.append((number, worker))
            else:
                over(number)
        alternate(waiting, over, end)


def alternate(waiting: Sequence[tuple[int, Worker]], over: Callable[[int], None], end: float = math.inf) -> None:
    """Give turns to workers that wait for them until none does; ``over`` is told the number of one that leaves."""
    while waiting:
        still = []
        for number, worker in waiting:
            worker.give_turn()
            if worker.listen(end):
                still.append((number, worker))
            else:
                over(number)
        waiting = still[::-1]
