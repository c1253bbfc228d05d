"""From what every rank found to the result of the point; rank 0 puts it together."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any

import torch

from attention_impls.distributed.traffic import Traffic
from longbench_cli.measure.judge import judge_together
from longbench_cli.measure.ranks.breakdown import Breakdown
from longbench_cli.measure.ranks.sharing import Sharing, over_mean
from longbench_cli.measure.ranks.timing import Timed
from longbench_cli.measure.types import (
    Bandwidth,
    CollectiveCount,
    Communication,
    Latency,
    Memory,
    RankRecord,
    Telemetry,
    Verdict,
    Verification,
)
from longbench_cli.sweep.case import Case
from longbench_cli.sweep.parallel import received_bytes


def rank_record(
    rank: int,
    host: str,
    device: str,
    sharing: Sharing,
    timed: Timed,
    memory: Memory,
    counted: Traffic,
    telemetry: Telemetry,
) -> RankRecord:
    """What one rank tells of itself; the time of its compute alone is added by rank 0."""
    return RankRecord(
        rank=rank,
        host=host,
        device=device,
        threads=torch.get_num_threads(),
        tokens=sharing.tokens[rank],
        pairs=None if sharing.pairs is None else sharing.pairs[rank],
        iterations_ns=timed.iterations_ns,
        median_ns=float(median(timed.iterations_ns)),
        compute_ns=None,
        peak_bytes=memory.peak_bytes,
        traffic={
            kind: CollectiveCount(
                calls=count.calls, size_bytes=count.size, sent_bytes=count.sent, received_bytes=count.received
            )
            for kind, count in counted.items()
        },
        telemetry=telemetry,
    )


def tokens_of_energy(case: Case, sharing: Sharing, hosts: Sequence[str], rank: int) -> int:
    """Tokens, of all sequences, of what the rank's energy counter sees: its GPU, or all ranks of its machine."""
    together = [rank] if case.device == "cuda" else [r for r, host in enumerate(hosts) if host == hosts[rank]]
    sequences = case.batch if sharing.shares == "sequence" else 1
    return max(1, sequences * sum(sharing.tokens[r] for r in together))


@dataclass(frozen=True, slots=True)
class Answers:
    """What all ranks found, in their order."""

    ranks: list[RankRecord]
    memories: list[Memory]

    @classmethod
    def of(cls, exchanged: Iterable[dict[str, Any]], breakdown: Breakdown | None) -> Answers:
        """From JSON values, each with a ``rank`` and a ``memory``."""
        ranks, memories = [], []
        for number, answer in enumerate(exchanged):
            compute = None if breakdown is None else breakdown.ranks_compute_ns[number]
            ranks.append(RankRecord.model_validate(answer["rank"] | {"compute_ns": compute}))
            memories.append(Memory.model_validate(answer["memory"]))
        return cls(ranks, memories)

    def memory(self) -> Memory:
        """Inputs of all ranks together; of each peak, that of the rank that needs most."""
        peaks = {
            name: max((value for one in self.memories if (value := getattr(one, name)) is not None), default=None)
            for name in ("peak_bytes", "nvml_peak_bytes", "reserved_peak_bytes", "nvml_process_peak_bytes")
        }
        return Memory(input_bytes=sum(one.input_bytes for one in self.memories), **peaks)

    def verdict(self, latency: Latency, precision: float) -> Verdict:
        """On the slowest rank's times, with what every rank saw of its machine."""
        return judge_together(latency, _seen_once(self.ranks), precision)


def _seen_once(ranks: Sequence[RankRecord]) -> dict[str, Telemetry | None]:
    """Telemetry by how a reason of it begins. The processors of a machine are told of by one rank, who saw most."""
    told_by: dict[str | None, tuple[float, int]] = {}
    for one in ranks:
        cpu = one.telemetry.cpu if one.telemetry is not None else None
        share = (cpu.others_share if cpu is not None else None) or 0.0
        told_by[one.host] = max(told_by.get(one.host, (share, one.rank)), (share, one.rank), key=lambda seen: seen[0])
    found: dict[str, Telemetry | None] = {}
    for one in ranks:
        telemetry = one.telemetry
        if telemetry is not None and told_by[one.host][1] != one.rank:
            telemetry = telemetry.model_copy(update={"cpu": None, "steal_share": None})
        found[f"rank {one.rank}: "] = telemetry
    return found


def communication_of(
    sharing: Sharing, breakdown: Breakdown, spread: float, bandwidth: list[Bandwidth]
) -> Communication:
    """What was exchanged, and what it cost; where nothing is, it costs nothing."""
    received = received_bytes(sharing.traffic)
    silent = received == 0
    return Communication(
        algorithm=sharing.algorithm,
        shares=sharing.shares,
        received_bytes=received,
        received_bytes_most=max(received_bytes([one]) for one in sharing.traffic),
        full_ns=breakdown.full_ns,
        compute_ns=breakdown.compute_ns,
        communication_ns=0.0 if silent else breakdown.communication_ns,
        exposed_ns=0.0 if silent else breakdown.exposed_ns,
        overlap=None if silent else breakdown.overlap,
        straggler_spread=spread,
        imbalance=sharing.imbalance,
        imbalance_measured=over_mean(breakdown.ranks_compute_ns),
        bandwidth=bandwidth,
    )


def of_worst(verifications: Sequence[Verification]) -> Verification:
    """Of what the ranks found of their parts, that which came closest to its tolerance."""
    return max(verifications, key=lambda one: (one.max_error or 0.0) / one.tolerance)
