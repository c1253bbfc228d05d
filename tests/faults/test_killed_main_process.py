"""SIGKILL of the main process at any moment: resumes bring every point into the file, once; nothing stays behind."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

from fault_table import FaultTable
from orphans import left_behind, new_marker

ROOT = Path(__file__).resolve().parents[2]
KILLS = 100


def test_kills_at_random_moments_lose_nothing(tmp_path: Path, table: FaultTable) -> None:
    marker = new_marker()
    done = subprocess.run(
        [sys.executable, ROOT / "tests" / "support" / "killed_sweeps.py", tmp_path, str(KILLS), "5"],
        env={**os.environ, **marker, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=1200,
        check=False,
    )
    left = left_behind(marker)
    assert done.returncode == 0, done.stderr
    counts = json.loads(done.stdout)
    lost = counts["lost"] + counts["missing"] + counts["repeated"]
    table.count("SIGKILL of the main process", tried=counts["kills"], lost=lost, orphans=counts["orphans"] + len(left))
    assert counts["kills"] == KILLS
    assert counts["busy"] >= KILLS // 10, "hardly a kill fell on a point that was running"
    assert counts["recorded"] >= KILLS // 2
    wrong = ("lost", "missing", "repeated", "again", "torn", "orphans")
    assert {name: counts[name] for name in wrong} == dict.fromkeys(wrong, 0)
    assert not left
    assert not done.stderr
