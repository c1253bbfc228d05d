"""What communication costs: the pass, the pass without its collectives, and its collectives alone, in turns."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from statistics import median

from longbench_cli.measure.ranks.bench import Bench
from longbench_cli.measure.ranks.control import Control
from longbench_cli.measure.ranks.steps import Call, in_step
from longbench_cli.measure.sampling import SHORT_NS

ROUNDS = 5
"""At most; each on inputs of its own."""

EACH = 4
"""Iterations of one way in a round. The first, if it is short, is not recorded: the caches are another way's."""

_DRAW, _FULL, _COMPUTE, _ALONE = "draw", "full", "compute", "collectives"
_WAYS = (_FULL, _COMPUTE, _ALONE)


@dataclass(frozen=True, slots=True)
class Breakdown:
    """Medians in nanoseconds, of the slowest rank of each iteration; and of each rank's own compute."""

    full_ns: float
    compute_ns: float
    communication_ns: float
    ranks_compute_ns: tuple[float, ...]

    @property
    def exposed_ns(self) -> float:
        """What communication adds to the pass."""
        return max(0.0, self.full_ns - self.compute_ns)

    @property
    def overlap(self) -> float | None:
        """Share of the communication that is hidden behind compute; None where there is none."""
        if self.communication_ns == 0:
            return None
        return min(1.0, max(0.0, 1 - self.exposed_ns / self.communication_ns))


def break_down(control: Control, bench: Bench, now_ns: Callable[[], int], limit_ns: int) -> Breakdown | None:
    """On rank 0, in about ``limit_ns`` but for one iteration of each way; None on the others."""

    def lead(call: Call) -> dict[str, list[list[int]]]:
        return _rounds(call, now_ns, limit_ns)

    actions = {_DRAW: bench.draw, _FULL: bench.full, _COMPUTE: bench.compute, _ALONE: bench.collectives}
    taken = in_step(control, actions, lead)
    bench.close()
    if taken is None:
        return None
    full, compute, alone = (_of_slowest(taken[way]) for way in _WAYS)
    return Breakdown(full, compute, alone, tuple(median(own) for own in zip(*taken[_COMPUTE], strict=True)))


def _rounds(call: Call, now_ns: Callable[[], int], limit_ns: int) -> dict[str, list[list[int]]]:
    taken: dict[str, list[list[int]]] = {way: [] for way in _WAYS}
    start = now_ns()
    for done in range(1, ROUNDS + 1):
        call(_DRAW)
        for way in _WAYS:
            taken[way] += _some(partial(call, way), limit_ns // len(_WAYS))
        if (now_ns() - start) * (done + 1) > limit_ns * done:
            break
    return taken


def _some(call: Callable[[], list[int]], limit_ns: int) -> list[list[int]]:
    """Some iterations of one way: one at least, few if they are long."""
    found: list[list[int]] = []
    for number in range(EACH):
        times = call()
        if number or max(times) >= SHORT_NS:
            found.append(times)
        if found and max(times) * EACH > limit_ns:
            break
    return found


def _of_slowest(iterations: Sequence[Sequence[int]]) -> float:
    return float(median(max(times) for times in iterations))
