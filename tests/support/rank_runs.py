"""Points of several ranks, written by hand as a run leaves them: no process, no clock."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from sample_runs import make_case, measured

from longbench_cli.measure.types import Bandwidth, CollectiveCount, Communication, RankRecord
from longbench_cli.record.schema import MeasuredPoint
from longbench_cli.sweep.case import Case


def ranks_case(impl: str = "dilated", length: int = 8192, ranks: int = 4, **changes: Any) -> Case:
    """A case as planned: vanilla names its algorithm where there are ranks."""
    if impl == "vanilla":
        changes = {"options": {"parallel": "ring" if ranks > 1 else None}} | changes
    return make_case(impl, length, world_size=ranks, **changes)


def on_ranks(
    case: Case,
    compute_ns: Sequence[float],
    communication_ns: float,
    exposed_ns: float,
    *,
    received: Sequence[int] | None = None,
    algorithm: str = "gather",
    kind: str = "all_gather",
    threads: int = 1,
    host: str = "bench-1",
    told: Mapping[str, Any] | None = None,
    **changes: Any,
) -> MeasuredPoint:
    """A measured point whose ranks compute for ``compute_ns``, each its own, and all wait for what is exposed."""
    slowest = max(compute_ns)
    full = slowest + exposed_ns
    received = received if received is not None else [1 << 20] * case.world_size
    point = measured(case, full, noise=0.0)
    counts = [CollectiveCount(calls=2, size_bytes=2 * size, sent_bytes=size, received_bytes=size) for size in received]
    ranks = [
        RankRecord(
            rank=rank, host=host, device=case.device, threads=threads, tokens=case.seq_len // case.world_size,
            pairs=1000 + rank if case.kind == "op" else None, iterations_ns=[round(full)] * 20, median_ns=full,
            compute_ns=each, peak_bytes=1 << 22, traffic={kind: counts[rank]}, telemetry=None,
        )
        for rank, each in enumerate(compute_ns)
    ]  # fmt: skip
    fields: dict[str, Any] = {
        "algorithm": algorithm, "shares": "sequence" if case.kind == "op" else "batch",
        "received_bytes": sum(received), "received_bytes_most": max(received), "full_ns": full,
        "compute_ns": slowest, "communication_ns": communication_ns, "exposed_ns": exposed_ns,
        "overlap": 1 - exposed_ns / communication_ns if communication_ns else None, "straggler_spread": 0.05,
        "imbalance": 0.25 if case.kind == "op" else None,
        "imbalance_measured": slowest / (sum(compute_ns) / len(compute_ns)) - 1 if slowest else 0.0,
        "bandwidth": [
            Bandwidth(
                kind=kind, ranks=case.world_size, size_bytes=2 << 20, time_ns=2e6, algorithm_bytes_per_s=1.048576e9,
                bus_bytes_per_s=0.786432e9, peak_size_bytes=16 << 20, peak_bus_bytes_per_s=2.5e9,
            )
        ],
    }  # fmt: skip
    cost = point.cost.model_copy(update={"comm_bytes": sum(received)})
    update = {"ranks": ranks, "communication": Communication(**(fields | dict(told or {}))), "cost": cost}
    return point.model_copy(update=update | changes)


def scaled_points(
    impl: str = "dilated", lengths: Sequence[int] = (8192, 16384), counts: Sequence[int] = (1, 2, 4), **changes: Any
) -> list[MeasuredPoint]:
    """A strong sweep: 8 ns a token of compute, evenly shared; a tenth of it is communication, half of that hidden."""
    points = []
    for length in lengths:
        for ranks in counts:
            case = ranks_case(impl, length, ranks, **changes)
            each = 8.0 * length / ranks
            if ranks == 1:
                points.append(measured(case, each, noise=0.0))
            else:
                algorithm = "ring" if impl == "vanilla" else "gather"
                points.append(on_ranks(case, [each] * ranks, each / 10, each / 20, algorithm=algorithm))
    return points
