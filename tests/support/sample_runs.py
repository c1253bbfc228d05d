"""Runs as a real sweep leaves them, built from the record's own models: no clock, no torch."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from attention_impls.api import get_implementation
from attention_impls.pattern import attention_cost
from longbench_cli.measure.types import CostRecord, Latency, Memory, Verification
from longbench_cli.record.journal import Run
from longbench_cli.record.schema import MeasuredPoint, RunHeader, UnmeasuredPoint, dump_line
from longbench_cli.sweep.case import Case

ENVIRONMENT: dict[str, Any] = {
    "hostname": "bench-1",
    "os": "Debian GNU/Linux 12",
    "python": "3.11.2",
    "packages": {"torch": "2.13.0", "numpy": "2.3.0", "flash-attn": None},
    "cpu": "Example CPU at 2.10 GHz",
    "cores": 2,
    "memory_bytes": 8 << 30,
    "gpus": None,
    "git": {"commit": "0f1e2d3c", "dirty": False},
}
LENGTHS = [1024 << step for step in range(7)]


def vanilla_ns(length: int) -> float:
    """A fixed 100 µs and 1 ns a pair of tokens of 8 heads: N²."""
    return 1e5 + 1.0 * length**2


def dilated_ns(length: int) -> float:
    """Full attention up to a segment of 2048 tokens, linear beyond."""
    return 2e5 + 2500.0 * min(length, 2048) / 2048 * length


def make_case(impl: str = "vanilla", length: int = 8192, **changes: Any) -> Case:
    fields: dict[str, Any] = {
        "impl": impl, "backend": "sdpa-flash", "pass_": "fwd", "seq_len": length, "batch": 1, "heads": 8,
        "kv_heads": 8, "head_dim": 64, "dtype": "bfloat16", "causal": False, "world_size": 1, "device": "cpu",
        "options": {"schedule": "geometric", "segments": None, "dilations": None} if impl == "dilated" else {},
    }  # fmt: skip
    return Case(**(fields | changes))


def measured(
    case: Case, median_ns: float, *, noise: float = 0.005, iterations: int = 20, **changes: Any
) -> MeasuredPoint:
    """An ok point whose iterations scatter around ``median_ns``; below 6 of them there is no interval."""
    draw = random.Random(case.key)
    median_ns *= 1 + noise * draw.uniform(-2, 2)
    times = [round(median_ns * (1 + noise * draw.uniform(-2, 2))) for _ in range(iterations)]
    try:
        pattern = get_implementation(case.impl).pattern(case.shape, case.options)
    except ValueError:  # somebody's own
        pattern = get_implementation("vanilla").pattern(case.shape, {})
    cost = attention_cost(pattern, case.pass_, case.element_bytes)
    inputs = 3 * case.batch * case.seq_len * case.heads * case.head_dim * case.element_bytes
    interval = (median_ns * (1 - noise), median_ns * (1 + noise)) if iterations >= 6 else None
    fields: dict[str, Any] = {
        "key": case.key,
        "case": case,
        "latency": Latency(
            iterations_ns=times, median_ns=median_ns, ci95_ns=interval, mean_ns=median_ns * 1.001,
            p95_ns=median_ns * (1 + 2 * noise), noise=noise if iterations > 1 else None, stopped_by="converged",
        ),
        "memory": Memory(input_bytes=inputs, peak_bytes=inputs * 2 + (1 << 20), nvml_peak_bytes=None),
        "telemetry": None,
        "cost": CostRecord(
            flops=cost.flops, dense_flops=cost.dense_flops, io_bytes=cost.io_bytes, comm_bytes=cost.comm_bytes
        ),
        "verification": Verification(status="passed", rows=64, max_error=1.5e-3, tolerance=1e-2),
    }  # fmt: skip
    return MeasuredPoint(**(fields | changes))


def unmeasured(case: Case, status: str, reason: str, **changes: Any) -> UnmeasuredPoint:
    return UnmeasuredPoint(**({"key": case.key, "case": case, "status": status, "reason": reason} | changes))


def make_run(
    points: Iterable[MeasuredPoint | UnmeasuredPoint], path: str | Path = "today.jsonl", **changes: Any
) -> Run:
    """A run that holds ``points``; ``changes`` are fields of its header."""
    points = list(points)
    fields: dict[str, Any] = {
        "run_id": f"run-{Path(path).stem}",
        "created": "2025-01-02T03:04:05Z",
        "argv": ["longbench", "run", "--impl", "dilated,vanilla", "--seq", "1k:64k"],
        "version": "0.1.0",
        "profile": None,
        "settings": {"max_point_time": 60.0, "precision": 0.01, "seed": 0},
        "plan": list(dict.fromkeys(point.key for point in points)),
        "environment": ENVIRONMENT,
    }
    return Run(path=Path(path), header=RunHeader(**(fields | changes)), points=points, warnings=[])


def sweep_points(
    times: Mapping[str, Callable[[int], float]] | None = None, lengths: Iterable[int] = LENGTHS, **changes: Any
) -> list[MeasuredPoint]:
    """Every implementation, forward and backward, at every length."""
    laws = times or {"dilated": dilated_ns, "vanilla": vanilla_ns}
    return [
        measured(make_case(impl, length, pass_=pass_, **changes), law(length) * work)
        for impl, law in laws.items()
        for pass_, work in (("fwd", 1.0), ("bwd", 2.5))
        for length in lengths
    ]


def realistic_points() -> list[MeasuredPoint | UnmeasuredPoint]:
    """A sweep of 1k to 256k in which vanilla does not get to the end, and somebody's kernel is wrong."""
    points: list[MeasuredPoint | UnmeasuredPoint] = []
    for pass_, work in (("fwd", 1.0), ("bwd", 2.5)):
        for length in [*LENGTHS, 131072, 262144]:
            points.append(measured(make_case("dilated", length, pass_=pass_), dilated_ns(length) * work))
            case = make_case("vanilla", length, pass_=pass_)
            late = case.model_copy(update={"backend": "auto"})
            if length <= (65536 if pass_ == "fwd" else 32768):
                points.append(measured(case, vanilla_ns(length) * work))
            elif length == 65536:
                points.append(unmeasured(case, "oom", "needed 9.1 GiB, 7.2 GiB are free"))
            else:
                points.append(unmeasured(late, "pruned", "predicted 69 s per iteration, above --max-point-time 60 s"))
    for length in LENGTHS[:3]:
        case = make_case("mine.kernels:fast", length, backend="none")
        points.append(unmeasured(case, "incorrect", "rows 17, 512 (head 3) differ by 0.21, tolerance 0.01"))
    return points


def write_run(run: Run, folder: Path) -> Path:
    """Write ``run`` as the file that it would have been read from."""
    path = folder / run.path.name
    path.write_text("".join(f"{dump_line(line)}\n" for line in (run.header, *run.points)), encoding="utf-8")
    return path
