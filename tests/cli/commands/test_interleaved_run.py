"""Two implementations of a user's own, measured by the real worker, really work in turns."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

from longbench_cli.record.journal import load_run
from longbench_cli.record.schema import MeasuredPoint

MINE = '''
import os, time
from attention_impls import vanilla_attention

def logged(name, q, k, v, causal):
    """A call takes longer than a turn, so that each turn is one iteration."""
    time.sleep(0.06)
    with open("calls", "a") as file:
        file.write(f"{name} {os.getpid()}\\n")
    return vanilla_attention(q, k, v, causal=causal)

def first(q, k, v, *, causal):
    return logged("first", q, k, v, causal)

def second(q, k, v, *, causal):
    return logged("second", q, k, v, causal)
'''


def calls(folder: Path) -> list[str]:
    return (folder / "calls").read_text().splitlines()


def switches(names: list[str]) -> int:
    return sum(a != b for a, b in pairwise(names))


def test_two_implementations_of_one_length_take_turns_and_in_sequential_order_they_do_not(
    tmp_path: Path, longbench: Callable[..., subprocess.CompletedProcess[str]]
) -> None:
    (tmp_path / "mine.py").write_text(MINE)
    sweep = [
        "run", "--impl", "mine:first,mine:second", "--seq", "64", "--heads", "1", "--head-dim", "8", "--dtype", "fp32",
        "--device", "cpu", "--threads", "1", "--precision", "0.000001", "--max-iterations", "8", "--max-time", "60",
    ]  # fmt: skip
    done = longbench(*sweep, "-o", "turns.jsonl")
    assert done.returncode == 0, done.stdout + done.stderr
    points = load_run(tmp_path / "turns.jsonl").points
    assert all(isinstance(point, MeasuredPoint) and len(point.latency.iterations_ns) == 8 for point in points)
    assert len(set(calls(tmp_path))) == 2  # each in one process from its first call to its last
    assert switches(calls(tmp_path)) >= 7  # A B, B A, A B, ...: one change a round, and one in the middle of each

    (tmp_path / "calls").unlink()
    assert longbench(*sweep, "--order", "sequential", "-o", "alone.jsonl").returncode == 0
    assert switches(calls(tmp_path)) == 1
