"""Records of a machine that obeys a known law: what ranks compute and exchange takes just what the law says, and noise.

The arithmetic is written out here apart from the model that is to find it again.
"""

from __future__ import annotations

import math
import random
from dataclasses import dataclass
from typing import Any

from sample_runs import make_case, measured

from attention_impls.api import get_implementation
from longbench_cli.measure.types import Bandwidth, CollectiveCount, Communication, RankRecord
from longbench_cli.record.schema import MeasuredPoint
from longbench_cli.sweep.case import Case


@dataclass
class Machine:
    """A node of ``cores`` that all ranks share, or (None) a device a rank.

    Attributes:
        rate: FLOP/s of the whole node, or of a device.
        fixed: seconds of a pass of a rank, whatever its size.
        step, byte: seconds of a step of a ring and of a byte, for a rank that has a core, or a device.
        overlap: share of the collectives that is hidden.
        turns: share that everything takes longer where ranks outnumber cores.
        noise: standard deviation of the logarithm of a time.
    """

    cores: int | None = 2
    rate: float = 2e11
    fixed: float = 1e-3
    step: float = 2e-4
    byte: float = 1e-9
    overlap: float = 0.0
    turns: float = 0.0
    noise: float = 0.0
    seed: int = 0

    def __post_init__(self) -> None:
        self._draw = random.Random(self.seed)

    def point(self, seq_len: int, ranks: int = 1, algorithm: str = "allgather", **changes: Any) -> MeasuredPoint:
        """Vanilla attention, its sequence shared by all-gather or ring."""
        device = "cpu" if self.cores else "cuda"
        options = {"parallel": algorithm if ranks > 1 else None}
        case = make_case("vanilla", seq_len, world_size=ranks, device=device, options=options, **changes)
        compute = self._noisy(self.compute_seconds(case))
        if ranks == 1:
            return measured(case, compute * 1e9, noise=1e-4)
        exchange = self._noisy(self.exchange_seconds(case))
        full = self._noisy(max(compute + (1 - self.overlap) * exchange, exchange))
        return measured(
            case,
            full * 1e9,
            noise=1e-4,
            ranks=self._ranks(case, compute),
            communication=self._communication(case, full, compute, exchange),
        )

    def compute_seconds(self, case: Case) -> float:
        """Of the slowest rank; no faster than its threads, nor than the node with all of its ranks' work."""
        whole = 4 * case.head_dim * case.heads * case.batch * case.seq_len**2
        pairs = _parallel().pairs(case.shape, case.options) if case.world_size > 1 else (1,)
        slowest = whole * max(pairs) / sum(pairs)
        alone = slowest / self.rate
        if self.cores:
            alone *= self.cores / self._threads(case.world_size)
            alone = max(alone, whole / self.rate)
        return (self.fixed + alone) * self._turns(case.world_size)

    def exchange_seconds(self, case: Case) -> float:
        """One collective after another, each n - 1 steps of a ring, or one step to a neighbour."""
        traffic = _traffic(case)
        crowd = max(1.0, case.world_size / self.cores) if self.cores else 1.0
        seconds = 0.0
        for kind, count in traffic.items():
            steps = 1 if kind == "send_recv" else case.world_size - 1
            seconds += count.calls * steps * self.step + max(count.sent, count.received) * self.byte
        return crowd * seconds * self._turns(case.world_size)

    def _noisy(self, seconds: float) -> float:
        return seconds * math.exp(self._draw.gauss(0, self.noise))

    def _turns(self, ranks: int) -> float:
        return 1 + self.turns if self.cores and ranks > self.cores else 1.0

    def _threads(self, ranks: int) -> int:
        return max(1, (self.cores or 1) // ranks)

    def _ranks(self, case: Case, compute: float) -> list[RankRecord]:
        pairs = _parallel().pairs(case.shape, case.options)
        traffic = _parallel().traffic(case.shape, case.options, case.pass_, case.element_bytes)
        return [
            RankRecord(
                rank=rank,
                host="node-1",
                device="cpu" if self.cores else f"{rank}: Example GPU",
                threads=self._threads(case.world_size),
                tokens=case.seq_len // case.world_size,
                pairs=pairs[rank],
                iterations_ns=[round(compute * 1e9)],
                median_ns=compute * 1e9,
                compute_ns=compute * 1e9,
                peak_bytes=None,
                traffic={
                    kind: CollectiveCount(
                        calls=count.calls,
                        size_bytes=count.size,
                        sent_bytes=count.sent,
                        received_bytes=count.received,
                    )
                    for kind, count in traffic[rank].items()
                },
                telemetry=None,
            )
            for rank in range(case.world_size)
        ]

    def _communication(self, case: Case, full: float, compute: float, exchange: float) -> Communication:
        bandwidth = []
        crowd = max(1.0, case.world_size / self.cores) if self.cores else 1.0
        for kind, count in _traffic(case).items():
            if not count.calls or not count.size:
                continue
            factor = 1.0 if kind == "send_recv" else (case.world_size - 1) / case.world_size
            steps = 1 if kind == "send_recv" else case.world_size - 1
            sizes = (count.size // count.calls, 1 << 24)
            one, peak = (crowd * (steps * self.step + size * factor * self.byte) for size in sizes)
            bandwidth.append(
                Bandwidth(
                    kind=kind,
                    ranks=case.world_size,
                    size_bytes=sizes[0],
                    time_ns=one * 1e9,
                    algorithm_bytes_per_s=sizes[0] / one,
                    bus_bytes_per_s=sizes[0] * factor / one,
                    peak_size_bytes=sizes[1],
                    peak_bus_bytes_per_s=sizes[1] * factor / peak,
                )
            )
        received = [
            sum(count.received for count in one.values())
            for one in _parallel().traffic(case.shape, case.options, case.pass_, case.element_bytes)
        ]
        exposed = max(0.0, full - compute)
        return Communication(
            algorithm=str(case.options["parallel"]),
            shares="sequence",
            received_bytes=sum(received),
            received_bytes_most=max(received),
            full_ns=full * 1e9,
            compute_ns=compute * 1e9,
            communication_ns=exchange * 1e9,
            exposed_ns=exposed * 1e9,
            overlap=min(1.0, max(0.0, 1 - exposed / exchange)),
            straggler_spread=0.01,
            imbalance=0.0,
            imbalance_measured=0.0,
            bandwidth=bandwidth,
        )


def _parallel() -> Any:
    return get_implementation("vanilla").parallel


def _traffic(case: Case) -> Any:
    """Of the rank that receives most."""
    of_ranks = _parallel().traffic(case.shape, case.options, case.pass_, case.element_bytes)
    return max(of_ranks, key=lambda one: sum(count.received for count in one.values()))
