"""What a point does to its GPU costs that point alone, through the real command line."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from orphans import left_behind, new_marker

from longbench_cli.record.journal import load_run
from longbench_cli.record.schema import UnmeasuredPoint

pytestmark = pytest.mark.gpu

ROOT = Path(__file__).resolve().parents[2]
FAULTS = ["allocates_past_the_gpu", "right", "reads_past_the_end_on_the_gpu", "prints_megabytes", "segfaults"]


@pytest.mark.parametrize("order", ["sequential", "interleaved"])
def test_a_fault_on_the_gpu_costs_its_own_point(order: str, tmp_path: Path) -> None:
    path, marker = tmp_path / "run.jsonl", new_marker()
    folders = (ROOT, ROOT / "tests" / "fixtures", ROOT / "tests" / "support")
    impls = ",".join([*(f"faulty_attention:{name}" for name in FAULTS), "vanilla"])
    done = subprocess.run(
        [sys.executable, "-m", "longbench_cli", "run", "--impl", impls, "--seq", "512", "--device", "cuda",
         "--max-time", "0.1", "--order", order, "-o", path],
        env={**os.environ, **marker, "PYTHONPATH": os.pathsep.join(map(str, folders))},
        cwd=tmp_path, capture_output=True, text=True, check=False,
    )  # fmt: skip
    left = left_behind(marker)
    assert done.returncode == 1, done.stderr
    points = {point.case.impl.removeprefix("faulty_attention:"): point for point in load_run(path).points}
    wanted = ("oom", "ok", "crashed", "ok", "crashed", "ok")
    assert {name: point.status for name, point in points.items()} == dict(
        zip([*FAULTS, "vanilla"], wanted, strict=True)
    )
    assert "out of memory" in (points["allocates_past_the_gpu"].reason or "")
    asserted = points["reads_past_the_end_on_the_gpu"]
    assert isinstance(asserted, UnmeasuredPoint)
    assert "device-side assert" in "\n".join([asserted.reason, *asserted.stderr_tail])
    assert "SIGSEGV" in (points["segfaults"].reason or "")
    assert not left
