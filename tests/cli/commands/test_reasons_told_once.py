"""A run file tells once why telemetry is null, over the points of a run and those of its resumption."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from sample_runs import make_run

from longbench_cli.commands.run_session import measure_missing, recorded_points
from longbench_cli.execute.groups import Job
from longbench_cli.execute.outcome import Outcome, Progress
from longbench_cli.present.progress import QuietDisplay
from longbench_cli.record.journal import Journal
from longbench_cli.record.loading import load_run
from longbench_cli.sweep.options import resolve
from longbench_cli.sweep.plan import Plan, make_plan

MISSING = {"cpu.governor": "No such file or directory", "cpu.energy_j": "Permission denied"}
RESULT: dict[str, Any] = {
    "backend": "math",
    "latency": {
        "iterations_ns": [5, 7],
        "median_ns": 6.0,
        "ci95_ns": None,
        "mean_ns": 6.0,
        "p95_ns": 7.0,
        "noise": 0.1,
        "stopped_by": "max_time",
    },
    "memory": {"input_bytes": 1, "peak_bytes": 2, "nvml_peak_bytes": None},
    "telemetry": {"threads": 1, "involuntary_switches": 0, "steal_share": None, "missing": MISSING},
    "cost": {"flops": 1, "dense_flops": 1, "io_bytes": 1, "comm_bytes": 0},
    "verification": {"status": "passed", "rows": 64, "max_error": 0.1, "tolerance": 0.2},
}


def measure(plan: Plan, path: Path) -> None:
    def run_group(
        jobs: Sequence[Job],
        limit_s: float,
        on_progress: Callable[[Progress], None],
        on_end: Callable[[Job, Outcome], None],
    ) -> None:
        for job in jobs:
            on_end(job, Outcome("ok", None, RESULT))

    journal, earlier = Journal.open(path, make_run([]).header, resume=True)
    with journal:
        measure_missing(plan, journal, recorded_points(plan, earlier), QuietDisplay(), print, run_group=run_group)


def test_the_first_point_tells_for_all(tmp_path: Path) -> None:
    path = tmp_path / "run.jsonl"
    asked = {"impl": "vanilla", "device": "cpu", "order": "sequential"}
    measure(make_plan(resolve(asked | {"seq": "256:512"})), path)
    measure(make_plan(resolve(asked | {"seq": "256:1k"})), path)
    told = [point.telemetry.missing for point in load_run(path).points if point.telemetry is not None]
    assert told == [MISSING, {}, {}]
