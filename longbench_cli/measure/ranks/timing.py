"""Warm-up and sampling of several ranks: an iteration takes as long as on the slowest of them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from statistics import median

from longbench_cli.measure.gate import Gate
from longbench_cli.measure.ranks.bench import Bench
from longbench_cli.measure.ranks.control import Control
from longbench_cli.measure.ranks.steps import Call, in_step
from longbench_cli.measure.sampling import Sample, Trial, sample, warm_up
from longbench_cli.measure.telemetry.watch import Watch
from longbench_cli.sweep.settings import Settings

DRAW, ITERATE, REST = "draw", "iterate", "rest"


def warm_up_all(control: Control, bench: Bench, now_ns: Callable[[], int], limit_ns: int) -> None:
    """Iterate until the slowest rank's times are steady, or for ``limit_ns``."""

    def lead(call: Call) -> None:
        call(DRAW)
        warm_up(Trial(lambda: max(call(ITERATE))), now_ns, limit_ns)

    in_step(control, {DRAW: bench.draw, ITERATE: bench.iterate}, lead)


@dataclass(frozen=True, slots=True)
class Timed:
    """What was recorded of a point, as one rank has it.

    Attributes:
        sample: of the slowest rank of each iteration; None but on rank 0.
        spread: median over iterations of (slowest - fastest rank) / slowest; 0 but on rank 0.
        iterations_ns: this rank's own.
        windows: (start, end) of each of them, by this rank's clock.
    """

    sample: Sample | None
    spread: float
    iterations_ns: list[int]
    windows: list[tuple[int, int]]


def sample_all(
    control: Control,
    bench: Bench,
    watch: Watch,
    settings: Settings,
    now_ns: Callable[[], int],
    gate: Gate,
    on_iteration: Callable[[int], None],
    *,
    full_time: bool = False,
) -> Timed:
    """Iterate as on one rank; ``gate`` and ``on_iteration`` are rank 0's."""
    own: list[tuple[int, int]] = []
    of_all: list[list[int]] = []

    def rest() -> int:
        watch.pause()  # what others do in their turns is no disturbance of ours
        return 0

    def draw() -> int:
        watch.resume()
        return bench.draw()

    def iterate() -> int:
        took = bench.iterate()
        own.append((took, now_ns()))
        return took

    def lead(call: Call) -> Sample:
        def slowest() -> int:
            of_all.append(call(ITERATE))
            return max(of_all[-1])

        def trials() -> Iterator[Trial]:
            while True:
                call(REST)
                gate.wait()
                call(DRAW)
                yield Trial(slowest)

        return sample(trials(), settings, now_ns, on_iteration, waited_ns=lambda: gate.waited_ns, full_time=full_time)

    taken = in_step(control, {REST: rest, DRAW: draw, ITERATE: iterate}, lead)
    numbers: list[int] = control.exchange(taken.numbers if taken is not None else None)[0]
    recorded = [own[number] for number in numbers]
    return Timed(
        sample=taken,
        spread=median(_spread(of_all[number]) for number in numbers) if taken is not None else 0.0,
        iterations_ns=[took for took, _ in recorded],
        windows=[(end - took, end) for took, end in recorded],
    )


def _spread(times: list[int]) -> float:
    return (max(times) - min(times)) / max(times) if max(times) else 0.0
