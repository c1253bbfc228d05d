"""What `longbench gate` is worth on this machine: false alarms of identical code, and slowdowns that it finds.

python -m benchmarks.gate [--aa N] [--inject N] [--shares 5%,10%] [--profile ci] [--out FOLDER]

Each gate is the command itself. A folder that holds gates already is gone on with.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from benchmarks.table import Row, print_rows

GATES, INJECTED = 30, 10
SHARES = ("5%", "10%")
SPREAD_GOAL = 0.015
UNDECIDED_GOAL = 0.10
FOUND_GOAL = 0.9
SECONDS_GOAL = 480.0

AA = "--aa"


def gates(how: Sequence[str], count: int, profile: str, folder: Path) -> list[dict[str, Any]]:
    """Run ``count`` gates, or what is missing of them; of each its JSON, with ``seconds`` and ``code``.

    Raises:
        RuntimeError: a gate failed to judge.
    """
    found = []
    for number in range(count):
        file = folder / f"{'-'.join(how).strip('-').replace('%', '')}-{number:02}.json"
        log = file.with_suffix(".time")
        if not log.exists():
            begin = time.monotonic()
            words = [sys.executable, "-m", "longbench_cli", "gate", *how, "--profile", profile]
            done = subprocess.run(
                [*words, "--json", str(file), "--keep", str(file.with_suffix("")), "--quiet"],
                check=False,
                capture_output=True,
                text=True,
            )
            if done.returncode not in (0, 1):
                raise RuntimeError(f"{' '.join(how)}: code {done.returncode}: {done.stderr.strip()}")
            log.write_text(json.dumps({"seconds": time.monotonic() - begin, "code": done.returncode}))
            kinds = json.loads(file.read_text())["kinds"]
            print(file.stem, log.read_text(), {kind: n for kind, n in kinds.items() if n}, file=sys.stderr, flush=True)
        found.append(json.loads(file.read_text()) | json.loads(log.read_text()))
    return found


def spreads(aa: Sequence[dict[str, Any]]) -> dict[str, list[float]]:
    """Every d of the A/A gates by key, in order."""
    found: dict[str, list[float]] = {}
    for gate in aa:
        for point in gate["points"]:
            found.setdefault(point["key"], []).extend([*point["values"], *point["confirmation"]])
    return found


def aa_rows(aa: Sequence[dict[str, Any]]) -> Iterator[Row]:
    for key, values in spreads(aa).items():
        spread = statistics.stdev(values)
        yield Row(
            f"A/A {'/'.join(key.split('/')[:4])}: sd of d",
            f"{spread:.2%}",
            f"<= {SPREAD_GOAL:.1%}",
            spread <= SPREAD_GOAL,
            f"{len(values)} pairs; mean {statistics.fmean(values):+.2%}, most {max(values, key=abs):+.2%}",
        )
    failed = sum(gate["code"] != 0 for gate in aa)
    yield Row("A/A: gates that failed", f"{failed} of {len(aa)}", "0", failed == 0, "")
    points = [point for gate in aa for point in gate["points"]]
    open_points = sum(point["kind"] == "inconclusive" for point in points)
    share = open_points / len(points)
    yield Row(
        "A/A: points inconclusive",
        f"{share:.1%}",
        f"<= {UNDECIDED_GOAL:.0%}",
        share <= UNDECIDED_GOAL,
        f"{open_points} of {len(points)}; "
        f"{sum(point['kind'] == 'improvement' for point in points)} called an improvement",
    )
    seconds = [gate["seconds"] for gate in aa]
    yield Row(
        "A/A: seconds of a gate",
        f"{statistics.median(seconds):.0f}",
        f"<= {SECONDS_GOAL:.0f}",
        max(seconds) <= SECONDS_GOAL,
        f"median; {min(seconds):.0f} to {max(seconds):.0f}",
    )


def injected_row(share: str, found: Sequence[dict[str, Any]]) -> Row:
    caught = sum(gate["code"] == 1 for gate in found)
    points = [point for gate in found for point in gate["points"]]
    named = sum(point["kind"] == "regression" for point in points)
    seconds = [gate["seconds"] for gate in found]
    return Row(
        f"{share} injected: gates that failed",
        f"{caught} of {len(found)}",
        f">= {FOUND_GOAL:.0%}",
        caught >= FOUND_GOAL * len(found),
        f"{named} of {len(points)} points named; {statistics.median(seconds):.0f} s a gate",
    )


def rows(aa: int, injected: int, shares: Sequence[str], profile: str, folder: Path) -> Iterator[Row]:
    """The figures of A/A gates, then those of each injected share."""
    if aa:
        yield from aa_rows(gates([AA], aa, profile, folder))
    for share in shares if injected else ():
        yield injected_row(share, gates(["--inject", share], injected, profile, folder))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--aa", type=int, default=GATES, metavar="N", help=f"gates of identical code ({GATES})")
    parser.add_argument("--inject", type=int, default=INJECTED, metavar="N", help=f"gates a slowdown ({INJECTED})")
    parser.add_argument("--shares", default=",".join(SHARES), help=f"slowdowns ({','.join(SHARES)})")
    parser.add_argument("--profile", default="ci", help="what to measure (ci)")
    parser.add_argument("--out", type=Path, metavar="FOLDER", help="keep the gates there; those that it holds count")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = args.out or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        print_rows(rows(args.aa, args.inject, args.shares.split(","), args.profile, folder))


if __name__ == "__main__":
    main()
