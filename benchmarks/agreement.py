"""longbench's median beside torch.utils.benchmark.Timer's: python -m benchmarks.agreement [--rounds N].

Both time vanilla attention's forward on the same callable, inputs and threads, and take turns, since a
machine drifts more from minute to minute than the two may differ.
"""

from __future__ import annotations

import argparse
import itertools
from collections.abc import Iterator
from dataclasses import dataclass, field

import psutil
import torch
from torch.utils.benchmark import Timer

from benchmarks.table import Row, print_rows
from longbench_cli.measure.clock import now_ns, timer_for
from longbench_cli.measure.inputs import Inputs, InputSource
from longbench_cli.measure.passes import iteration, work_of
from longbench_cli.measure.pick import pick_backend
from longbench_cli.measure.point import configure_threads
from longbench_cli.measure.sampling import Trial, sample, summarise, warm_up
from longbench_cli.measure.subject import Attention, bind
from longbench_cli.sweep.case import Case
from longbench_cli.sweep.settings import Settings

GOAL = 0.03
ROUNDS = 20
LENGTHS = (512, 2048, 4096)
TURN_SECONDS = 0.1
SETTINGS = Settings(max_time=TURN_SECONDS, precision=1e-9, min_iterations=1)
"""A turn ends by its time, not by its precision: that is reached over all turns together."""


@dataclass(frozen=True, slots=True)
class Sides:
    """Nanoseconds of single iterations, of both sides."""

    longbench: list[int] = field(default_factory=list)
    timer: list[int] = field(default_factory=list)

    @property
    def medians(self) -> tuple[float, float]:
        ours, theirs = (summarise(x, sorted(x), "max_time").median_ns for x in (self.longbench, self.timer))
        return ours, theirs


def longbench_turn(case: Case, attention: Attention, inputs: Inputs) -> list[int]:
    trial = Trial(iteration(work_of(case, attention, inputs), timer_for(case.device)))
    return sample(itertools.repeat(trial), SETTINGS, now_ns).iterations_ns


def timer_turn(case: Case, attention: Attention, inputs: Inputs) -> list[int]:
    """Timer's blocks, each the mean of its iterations; for work this long a block is one iteration."""
    timer = Timer("work()", globals={"work": work_of(case, attention, inputs)}, num_threads=torch.get_num_threads())
    return [round(seconds * 1e9) for seconds in timer.blocked_autorange(min_run_time=TURN_SECONDS).times]


def compare(case: Case, rounds: int) -> Sides:
    """Alternate ``rounds`` times on inputs drawn anew for each round; who goes first alternates too."""
    attention = bind(case, case.backend)
    source, sides = InputSource(case, SETTINGS.seed), Sides()
    work = work_of(case, attention, source.draw().inputs())
    warm_up(Trial(iteration(work, timer_for(case.device))), now_ns, 10**9)
    turns = [(sides.longbench, longbench_turn), (sides.timer, timer_turn)]
    for _ in range(rounds):
        inputs = source.draw().inputs()
        for times, turn in turns:
            times.extend(turn(case, attention, inputs))
        turns.reverse()
    return sides


def vanilla(seq_len: int) -> Case:
    """8 heads of 64, bf16, on the CPU."""
    case = Case(
        impl="vanilla",
        backend="auto",
        pass_="fwd",
        seq_len=seq_len,
        batch=1,
        heads=8,
        kv_heads=8,
        head_dim=64,
        dtype="bfloat16",
        causal=False,
        world_size=1,
        device="cpu",
        options={},
    )
    return case.model_copy(update={"backend": pick_backend(case, timer_for("cpu"), SETTINGS.seed)})


def rows(rounds: int = ROUNDS) -> Iterator[Row]:
    """A row a length: the ratio of the two medians."""
    configure_threads(SETTINGS, psutil.cpu_count(logical=False))
    for seq_len in LENGTHS:
        sides = compare(vanilla(seq_len), rounds)
        ours, theirs = sides.medians
        yield Row(
            f"longbench / torch.utils.benchmark, vanilla fwd, N = {seq_len}",
            f"{ours / theirs:.3f}",
            f"1 +- {GOAL}",
            abs(ours / theirs - 1) <= GOAL,
            f"{ours / 1e6:.3f} and {theirs / 1e6:.3f} ms; {len(sides.longbench)} and {len(sides.timer)} iterations",
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=ROUNDS, help=f"turns of each side (default {ROUNDS})")
    print_rows(rows(parser.parse_args().rounds))


if __name__ == "__main__":
    main()
