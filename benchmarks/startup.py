"""Median wall time of ``longbench --help``: python -m benchmarks.startup [--runs N]."""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator

from benchmarks.table import Row, print_rows

GOAL_SECONDS = 0.3
RUNS = 21


def rows(runs: int = RUNS) -> Iterator[Row]:
    """One row: the median of ``runs`` processes after one that warms the file cache."""
    times = [time_help() for _ in range(runs + 1)][1:]
    found = statistics.median(times)
    yield Row(
        "longbench --help, wall time",
        f"{found * 1e3:.0f} ms",
        f"< {GOAL_SECONDS * 1e3:.0f} ms",
        found < GOAL_SECONDS,
        f"fastest {min(times) * 1e3:.0f} ms, slowest {max(times) * 1e3:.0f} ms of {runs} processes",
    )


def time_help() -> float:
    before = time.perf_counter()
    subprocess.run([sys.executable, "-m", "longbench_cli", "--help"], stdout=subprocess.DEVNULL, check=True)
    return time.perf_counter() - before


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=RUNS, help=f"processes started (default {RUNS})")
    print_rows(rows(parser.parse_args().runs))


if __name__ == "__main__":
    main()
