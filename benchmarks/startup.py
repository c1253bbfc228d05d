"""Median wall time of ``longbench --help``: python -m benchmarks.startup [--runs N]."""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import time

GOAL_SECONDS = 0.3


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=21, help="processes started (default 21)")
    runs = parser.parse_args().runs
    times = [time_help() for _ in range(runs + 1)][1:]  # the first one warms the file cache
    print(
        f"longbench --help: median {statistics.median(times) * 1e3:.0f} ms, "
        f"fastest {min(times) * 1e3:.0f} ms, slowest {max(times) * 1e3:.0f} ms of {runs} runs "
        f"(goal: below {GOAL_SECONDS * 1e3:.0f} ms)"
    )


def time_help() -> float:
    before = time.perf_counter()
    subprocess.run([sys.executable, "-m", "longbench_cli", "--help"], stdout=subprocess.DEVNULL, check=True)
    return time.perf_counter() - before


if __name__ == "__main__":
    main()
