"""A/A: what `longbench run` says of identical code in fresh processes, on the CPU.

python -m benchmarks.aa [--sessions N] [--pairs N] [--out FOLDER]

Both runs are the command itself: one implementation in N sessions, and two that are the same code
(benchmarks/twins.py) taking turns, in N pairs of sessions.
"""

from __future__ import annotations

import argparse
import math
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

from benchmarks.table import Row, print_rows
from longbench_cli.analyse.sessions import between_interval
from longbench_cli.record.journal import load_run
from longbench_cli.record.schema import MeasuredPoint

SESSIONS = 65
PAIRS = 30
MOST = 100
"""As many sessions as a run may have."""

TOGETHER = 5
LATER = 30
RATIO_GOAL = 0.015
HELD_GOAL = 0.85

ONE, OTHER = "benchmarks.twins:one", "benchmarks.twins:other"
CASE = "--seq 2k --pass fwd --dtype bf16 --heads 8 --head-dim 64 --device cpu --max-time 2"


def medians_of(impls: Sequence[str], sessions: int, folder: Path) -> dict[str, list[float]]:
    """Measure; the median of each session in nanoseconds, in their order, by implementation.

    Raises:
        RuntimeError: a session was not measured.
    """
    file = folder / f"{len(impls)}-in-{sessions}.jsonl"
    command = [sys.executable, "-m", "longbench_cli", "run", "--impl", ",".join(impls), *CASE.split()]
    subprocess.run([*command, "--sessions", str(sessions), "--quiet", "-o", str(file)], check=True)
    found: dict[str, dict[int, float]] = {impl: {} for impl in impls}
    for point in load_run(file).points:
        if isinstance(point, MeasuredPoint):
            found[point.case.impl][point.session] = point.latency.median_ns
    if any(len(medians) != sessions for medians in found.values()):
        raise RuntimeError(f"{file}: not every one of {sessions} sessions was measured")
    return {impl: [medians[number] for number in sorted(medians)] for impl, medians in found.items()}


def spread(values: Sequence[float]) -> float:
    """Standard deviation of the logarithms: relative, and the same for a ratio and its inverse."""
    return statistics.stdev(math.log(value) for value in values)


def held(medians: Sequence[float], together: int = TOGETHER, later: int = LATER) -> list[bool]:
    """For each ``together`` sessions in a row: whether their interval holds the median of the ``later`` next ones.

    The trials overlap, so that their share is known less well than their number suggests.
    """
    found = []
    for start in range(len(medians) - together - later + 1):
        low, high = between_interval(medians[start : start + together])
        after = statistics.median(medians[start + together : start + together + later])
        found.append(low <= after <= high)
    return found


def rows(sessions: int, pairs: int, folder: Path) -> Iterator[Row]:
    """Spread alone, spread in turns, and how often the interval between sessions holds."""
    alone = medians_of([ONE], sessions, folder)[ONE]
    yield Row(
        "identical code, session medians alone: sd of ln",
        f"{spread(alone):.2%}",
        "",
        None,
        f"{sessions} sessions of {min(alone) / 1e6:.3f} to {max(alone) / 1e6:.3f} ms",
    )
    sides = medians_of([ONE, OTHER], pairs, folder)
    ratios = [one / other for one, other in zip(sides[ONE], sides[OTHER], strict=True)]
    yield Row(
        "identical code in turns, ratio of medians: sd of ln",
        f"{spread(ratios):.2%}",
        f"<= {RATIO_GOAL:.1%}",
        spread(ratios) <= RATIO_GOAL,
        f"{pairs} pairs; median ratio {statistics.median(ratios):.4f}; one side alone {spread(sides[ONE]):.2%}",
    )
    trials = held(alone)
    share = statistics.fmean(trials)
    yield Row(
        f"95% interval of {TOGETHER} sessions holds the median of {LATER} later ones",
        f"{share:.0%}",
        f">= {HELD_GOAL:.0%}",
        share >= HELD_GOAL,
        f"{sum(trials)} of {len(trials)} overlapping trials",
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sessions", type=int, default=SESSIONS, help=f"sessions alone (default {SESSIONS})")
    parser.add_argument("--pairs", type=int, default=PAIRS, help=f"pairs of sessions in turns (default {PAIRS})")
    parser.add_argument("--out", type=Path, metavar="FOLDER", help="keep the run files there")
    args = parser.parse_args()
    if not TOGETHER + LATER <= args.sessions <= MOST or not 2 <= args.pairs <= MOST:
        parser.error(f"--sessions must be {TOGETHER + LATER} to {MOST} and --pairs 2 to {MOST}")
    with tempfile.TemporaryDirectory() as temporary:
        folder = args.out or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        print_rows(rows(args.sessions, args.pairs, folder))


if __name__ == "__main__":
    main()
