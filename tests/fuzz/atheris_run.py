"""Fuzzes every target with atheris, which is led by the branches that an input takes, and prints a table.

    python tests/fuzz/atheris_run.py [--inputs 1000000] [--target NAME ...] [--keep FOLDER]

Each target runs in a process of its own. A finding is anything but a value or a UsageError of one line;
it is counted once for each place that raised it, and its input is kept. Exit code 1 if there is one.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
import traceback
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
PATHS = (str(HERE), str(HERE.parent / "support"), str(HERE.parent.parent))
_LONGEST_INPUT = 8192
_ONE_INPUT_SECONDS = 600  # the target's own limit, of processor time, comes first


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--inputs", type=int, default=1_000_000, help="of all targets together")
    parser.add_argument("--each", type=int, help="of each target, in place of its share")
    parser.add_argument("--target", action="append", help="one of them; may be repeated (default: all)")
    parser.add_argument("--keep", type=Path, default=Path("fuzz-findings"), help="where inputs of findings go")
    parser.add_argument("--seed", type=int, default=1, help="of the fuzzer's own randomness")
    parser.add_argument("--worker", help=argparse.SUPPRESS)
    asked = parser.parse_args()
    sys.path[:0] = PATHS
    if asked.worker:
        _fuzz(asked.worker, asked.each, asked.keep, asked.seed)
    from targets import TARGETS

    rows = []
    for target in TARGETS:
        if not asked.target or target.name in asked.target:
            inputs = asked.each or round(asked.inputs * target.share)
            rows.append(_run(target.name, inputs, asked.keep, asked.seed))
            _print(rows[-1:], header=len(rows) == 1)
    _print([_total(rows)])
    return 1 if any(row["findings"] or row["died"] for row in rows) else 0


def _run(name: str, inputs: int, keep: Path, seed: int) -> dict[str, Any]:
    """The numbers of one target, fuzzed in a fresh process."""
    command = [sys.executable, __file__, "--worker", name, "--each", str(inputs), "--keep", str(keep)]
    done = subprocess.run([*command, "--seed", str(seed)], capture_output=True, text=True, check=False)
    result = next((line for line in reversed(done.stdout.splitlines()) if line.startswith("{")), None)
    if result is None or done.returncode:
        sys.stderr.write(done.stderr[-4000:])
    nothing = {"name": name, "inputs": 0, "taken": 0, "findings": {}, "seconds": 0.0}
    return (json.loads(result) if result else nothing) | {"died": done.returncode != 0 or result is None}


def _fuzz(name: str, inputs: int, keep: Path, seed: int) -> None:
    """Never returns: libFuzzer owns the process from here."""
    import atheris

    with atheris.instrument_imports(
        include=["longbench_cli", "attention_impls", "tomllib"], enable_loader_override=False
    ):
        from targets import TARGETS, limited
    from hypothesis import HealthCheck, given, settings

    target = next(target for target in TARGETS if target.name == name)
    row: dict[str, Any] = {"name": name, "inputs": 0, "taken": 0, "findings": {}, "seconds": 0.0}
    began = time.perf_counter()

    def check(value: Any) -> None:
        row["inputs"] += 1
        try:
            with limited():
                row["taken"] += target.check(value)
        except Exception as error:  # that is what is looked for
            _note(error, value, row["findings"], keep / name)
        if row["inputs"] >= inputs:
            row["seconds"] = time.perf_counter() - began
            os.write(1, f"{json.dumps(row)}\n".encode())
            os._exit(0)

    @settings(database=None, suppress_health_check=list(HealthCheck))
    @given(target.inputs)
    def made(value: Any) -> None:
        check(value)

    def one(data: bytes) -> None:
        if target.from_bytes is not None:
            check(target.from_bytes(data))
        else:
            made.hypothesis.fuzz_one_input(data)

    with tempfile.TemporaryDirectory(prefix="longbench-corpus-") as corpus:
        for number, data in enumerate(target.seeds):
            (Path(corpus) / str(number)).write_bytes(data)
        flags = [f"-seed={seed}", f"-max_len={_LONGEST_INPUT}", f"-timeout={_ONE_INPUT_SECONDS}", "-verbosity=0"]
        atheris.Setup([sys.argv[0], *flags, "-rss_limit_mb=8192", corpus], one)
        atheris.Fuzz()


def _note(error: Exception, value: Any, findings: dict[str, int], folder: Path) -> None:
    """Count a finding by its kind and place; keep the input of the first of each."""
    frame = traceback.extract_tb(error.__traceback__)[-1]
    place = f"{type(error).__name__} at {Path(frame.filename).name}:{frame.lineno}"
    if place not in findings:
        folder.mkdir(parents=True, exist_ok=True)
        data = value if isinstance(value, bytes) else str(value).encode("utf-8", "surrogateescape")
        (folder / f"{len(findings)}.input").write_bytes(data)
        (folder / f"{len(findings)}.txt").write_text("".join(traceback.format_exception(error)), encoding="utf-8")
    findings[place] = findings.get(place, 0) + 1


def _total(rows: list[dict[str, Any]]) -> dict[str, Any]:
    added = {name: sum(row[name] for row in rows) for name in ("inputs", "taken", "seconds")}
    findings = {f"{row['name']}: {place}": count for row in rows for place, count in row["findings"].items()}
    return {"name": "all", **added, "findings": findings, "died": any(row["died"] for row in rows)}


def _print(rows: list[dict[str, Any]], *, header: bool = False) -> None:
    lines = (
        [f"{'target':14}{'inputs':>10}{'taken':>10}{'refused':>10}{'findings':>10}{'a second':>10}"] if header else []
    )
    for row in rows:
        refused = row["inputs"] - row["taken"] - sum(row["findings"].values())
        rate = row["inputs"] / row["seconds"] if row["seconds"] else 0.0
        died = "  died" if row["died"] else ""
        numbers = f"{row['inputs']:10,}{row['taken']:10,}{refused:10,}{len(row['findings']):10,}{rate:10,.0f}"
        lines.append(f"{row['name']:14}{numbers}{died}")
        if row["name"] != "all":
            lines += [f"  {count:,} times {place}" for place, count in row["findings"].items()]
    sys.stdout.write("\n".join(lines) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
