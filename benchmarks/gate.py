"""What `longbench gate` is worth on this machine: false alarms of identical code, and slowdowns that it finds.

python -m benchmarks.gate [--aa N] [--inject N] [--shares 5%,10%] [--profile ci] [--out FOLDER]

Each gate is the command itself. A folder that holds gates already is gone on with, and all of them are judged again by
their run files. A gate that today's rule would have given more pairs is then not comparable, and counts as no success.
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
from longbench_cli.app import EXIT_USAGE

GATES, INJECTED = 30, 10
SHARES = ("5%", "10%")
SPREAD_GOAL = 0.015
UNDECIDED_GOAL = 0.10
FOUND_GOAL = 0.9
SECONDS_GOAL = 480.0

AA = "--aa"


def gates(how: Sequence[str], count: int, profile: str, folder: Path) -> list[dict[str, Any]]:
    """Measure ``count`` gates, or what is missing of them, and judge all by their files: their JSON, and ``seconds``.

    Raises:
        RuntimeError: a gate failed to judge.
    """
    found = []
    for number in range(count):
        kept = folder / f"{'-'.join(how).strip('-').replace('%', '')}-{number:02}"
        log, file = kept.with_suffix(".time"), kept.with_suffix(".json")
        if not log.exists():
            begin = time.monotonic()
            _gate([*how, "--profile", profile, "--keep", str(kept), "--quiet"])
            log.write_text(json.dumps({"seconds": time.monotonic() - begin}))
        _gate(["--base", str(kept / "base.jsonl"), "--candidate", str(kept / "candidate.jsonl"), "--json", str(file)])
        judged = json.loads(file.read_text()) | json.loads(log.read_text())
        kinds = {kind: number for kind, number in judged["kinds"].items() if number}
        print(
            f"{kept.name}: code {judged['exit_code']}, {judged['seconds']:.0f} s, {kinds}", file=sys.stderr, flush=True
        )
        found.append(judged)
    return found


def _gate(words: Sequence[str]) -> None:
    command = [sys.executable, "-m", "longbench_cli", "gate", *words]
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    if done.returncode == EXIT_USAGE:
        raise RuntimeError(f"{' '.join(words)}: {done.stderr.strip()}")


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
    failed = sum(gate["exit_code"] != 0 for gate in aa)
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
    caught = sum(gate["exit_code"] == 1 for gate in found)
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
