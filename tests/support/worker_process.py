"""A measurement worker as the sweep starts it: one case in, one result out."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

_TESTS = Path(__file__).resolve().parents[1]
BASE = {
    "impl": "vanilla",
    "backend": "auto",
    "pass": "fwd",
    "seq_len": 200,
    "batch": 1,
    "heads": 4,
    "kv_heads": 4,
    "head_dim": 16,
    "dtype": "float32",
    "causal": False,
    "world_size": 1,
    "device": "cpu",
    "options": {},
}


def work(
    execution: str = "resident", settings: dict[str, Any] | None = None, **change: Any
) -> tuple[dict[str, Any] | None, subprocess.CompletedProcess[bytes]]:
    """The result of :data:`BASE` with ``change``, None if the worker sent none, and the ended process."""
    request = {
        "case": BASE | change,
        "settings": {"max_time": 0.05, "min_iterations": 6, "threads": 1} | (settings or {}),
        "execution": execution,
    }
    reader, writer = os.pipe()
    done = subprocess.run(
        [sys.executable, "-m", "longbench_cli.measure.worker", "--result-fd", str(writer)],
        input=json.dumps(request).encode(),
        pass_fds=[writer],
        capture_output=True,
        env=os.environ | {"PYTHONPATH": f"{_TESTS / 'fixtures'}:{_TESTS.parent}"},
        timeout=300,
        check=False,
    )
    os.close(writer)
    with os.fdopen(reader) as pipe:
        lines = pipe.read().splitlines()
    return (json.loads(lines[-1]) if lines else None), done
