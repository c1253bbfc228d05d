"""How often ``longbench history show`` finds a change where there is none, and where there is one, by simulation.

python -m benchmarks.change_points [--series N]
"""

from __future__ import annotations

import argparse
import math
import random
from collections.abc import Callable, Iterator

from benchmarks.table import Row, print_rows
from longbench_cli.analyse.change_points import stretches

SERIES = 2000
LEAST_EFFECT = 0.03
GOAL_FALSE = 0.005
"""Of a series of independent noise."""

Noise = Callable[[random.Random, int], list[float]]


def independent(sd: float) -> Noise:
    return lambda draw, count: [draw.gauss(0, sd) for _ in range(count)]


def heavy(sd: float) -> Noise:
    """Student's t of 3 degrees of freedom, of this standard deviation."""
    return lambda draw, count: [
        sd / math.sqrt(3) * draw.gauss(0, 1) / math.sqrt(draw.gammavariate(1.5, 2) / 3) for _ in range(count)
    ]


def spoiled(sd: float, share: float, by: float) -> Noise:
    """Some runs are slower, each for itself."""
    return lambda draw, count: [draw.gauss(0, sd) + by * (draw.random() < share) for _ in range(count)]


def alike(sd: float, rho: float) -> Noise:
    """Runs that follow each other are alike: autoregressive of order 1."""

    def noise(draw: random.Random, count: int) -> list[float]:
        at, found = draw.gauss(0, sd), []
        for _ in range(count):
            found.append(at)
            at = rho * at + draw.gauss(0, sd * math.sqrt(1 - rho**2))
        return found

    return noise


NOISES: dict[str, tuple[Noise, bool]] = {
    "sd 1%": (independent(0.01), True),
    "sd 2%": (independent(0.02), True),
    "sd 5%": (independent(0.05), False),
    "sd 2%, heavy tails (t3)": (heavy(0.02), False),
    "sd 2%, 5% of runs +3%": (spoiled(0.02, 0.05, 0.03), False),
    "sd 2%, 5% of runs +10%": (spoiled(0.02, 0.05, 0.10), False),
    "sd 2%, rho 0.5": (alike(0.02, 0.5), False),
}
"""Each with whether it has a goal."""
LENGTHS = (6, 10, 20, 50, 100, 200)
STEPS = (
    (0.02, 0.05, 10, 3), (0.02, 0.05, 10, 5), (0.02, 0.05, 10, 10), (0.02, 0.05, 20, 10), (0.02, 0.05, 30, 20),
    (0.01, 0.05, 10, 3), (0.01, 0.05, 10, 5), (0.02, 0.10, 10, 3), (0.02, 0.10, 10, 5),
)  # fmt: skip
"""Noise, step, runs before it and after it."""


def starts(logs: list[float]) -> list[int]:
    """Where changes are found."""
    return [one.start for one in stretches([1e6 * math.exp(value) for value in logs], LEAST_EFFECT)[1:]]


def rows(series: int) -> Iterator[Row]:
    """How many series have a false change, a row a noise and length; then how often a step is found, and how near."""
    draw = random.Random(0)
    for name, (noise, has_goal) in NOISES.items():
        for length in LENGTHS:
            share = sum(bool(starts(noise(draw, length))) for _ in range(series)) / series
            goal, reached = (f"<= {GOAL_FALSE:.1%}", share <= GOAL_FALSE) if has_goal else ("", None)
            yield Row(f"false change, {name}, {length} runs", f"{share:.2%}", goal, reached, f"{series} series")
    for sd, step, before, after in STEPS:
        noise = independent(sd)
        found = [
            starts([*noise(draw, before), *(value + math.log1p(step) for value in noise(draw, after))])
            for _ in range(series)
        ]
        near = sum(any(abs(place - before) <= 1 for place in places) for places in found) / series
        yield Row(
            f"+{step:.0%} found, sd {sd:.0%}, {before} runs before and {after} after",
            f"{sum(map(bool, found)) / series:.1%}",
            "",
            None,
            f"{near:.1%} within a run of its place; {series} series",
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--series", type=int, default=SERIES, help=f"simulated series a row (default {SERIES})")
    print_rows(rows(parser.parse_args().series))


if __name__ == "__main__":
    main()
