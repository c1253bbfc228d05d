"""What watching the machine costs what is measured: python -m benchmarks.telemetry [--rounds N].

CPU flash attention on all processors with a watch that looks and with one that waits, the two in turns.
A look's processor time is measured apart, because it is far below what times of work can show.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable, Iterator
from typing import Any

import torch

from attention_impls import vanilla_attention
from benchmarks.table import Row, print_rows
from benchmarks.turns import compare
from longbench_cli.measure.clock import timer_for
from longbench_cli.measure.telemetry.sampler import PERIOD_NS
from longbench_cli.measure.telemetry.watch import Watch
from longbench_cli.sweep.settings import Settings

ROUNDS = 100
LOOKS = 200
GOAL = 0.005
_SHAPE = (1, 8192, 4, 64)
"""An iteration lasts several looks."""


def rows(rounds: int) -> Iterator[Row]:
    """Time with looks over time without, and the processor time of a look."""
    with Watch("cpu") as watch:
        found = compare(
            lambda: _attention(watch.resume), lambda: _attention(watch.pause), timer_for("cpu", Settings()), rounds
        )
    low, high = found.spread
    watched, alone = found.medians_ms
    yield Row(
        "time that telemetry adds, CPU flash attention",
        f"{found.ratio - 1:+.2%}",
        f"<= {GOAL:.1%}",
        found.ratio - 1 <= GOAL,
        f"quartiles {low - 1:+.2%} to {high - 1:+.2%}; {watched:.0f} ms and {alone:.0f} ms",
    )
    cost_ns = _look_ns()
    share = cost_ns / PERIOD_NS
    yield Row(
        "processor time of a look, share of its period",
        f"{share:.2%}",
        f"<= {GOAL:.1%}",
        share <= GOAL,
        f"median of {LOOKS} looks, {cost_ns / 1e3:.0f} us, of one processor",
    )


def _attention(before: Callable[[], None]) -> Callable[[], Any]:
    q, k, v = (torch.randn(_SHAPE) for _ in range(3))
    before()
    return lambda: vanilla_attention(q, k, v, backend="sdpa-flash")


def _look_ns() -> float:
    """Median processor time of a look, in nanoseconds."""
    taken = []
    with Watch("cpu", period_ns=10**15) as watch:  # its own thread does not look
        for _ in range(LOOKS):
            begin = time.thread_time_ns()
            watch.look()
            taken.append(time.thread_time_ns() - begin)
    return statistics.median(taken)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=ROUNDS, help=f"turns of each side (default {ROUNDS})")
    args = parser.parse_args()
    if args.rounds < 2:
        parser.error(f"--rounds {args.rounds}: at least 2")
    print_rows(rows(args.rounds))


if __name__ == "__main__":
    main()
