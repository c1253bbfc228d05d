"""What the slowest rank of a case computes and exchanges, as planned or as recorded, and what it shares a node with."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from attention_impls.api import Implementation
from attention_impls.distributed.traffic import KINDS, Count, Traffic
from longbench_cli.analyse.prediction.drift import Place
from longbench_cli.analyse.prediction.law import Features
from longbench_cli.record.schema import MeasuredPoint
from longbench_cli.sweep.case import Case
from longbench_cli.sweep.parallel import traffic_of
from longbench_cli.sweep.workload import workload


@dataclass(frozen=True, slots=True)
class Layout:
    """Where ranks run.

    Attributes:
        ranks: in all.
        per_node: most of them on one node.
        cores: of a node, which its ranks share; None where each rank has a device of its own.
    """

    ranks: int
    per_node: int
    cores: int | None

    @property
    def nodes(self) -> int:
        return -(-self.ranks // self.per_node)

    @property
    def crowd(self) -> float:
        """Ranks of a node over its cores, at least 1: how many take turns where each needs one."""
        return max(1.0, self.per_node / self.cores) if self.cores else 1.0


@dataclass(frozen=True, slots=True)
class RankWork:
    """One iteration of the rank with most to do.

    Attributes:
        flops, io_bytes: its part of the work and of the least memory traffic.
        slowdown: how many times longer that takes than on a whole node, since others of the node need it too.
        traffic: of the rank that receives most.
        layout: of all ranks.
    """

    flops: float
    io_bytes: float
    slowdown: float
    traffic: Traffic
    layout: Layout

    @property
    def features(self) -> Features:
        """Calls, FLOPs and bytes, the last two as often as they fit in the time of a whole node."""
        return (1.0, self.flops * self.slowdown, self.io_bytes * self.slowdown)


def place_of(case: Case) -> Place:
    """Sequence length, ranks, and sequences times heads, in doublings."""
    return Place((math.log2(case.seq_len), math.log2(case.batch * case.heads)), math.log2(case.world_size))


def planned_work(case: Case, impl: Implementation, layout: Layout) -> RankWork:
    """What the case comes to; it is not one that its ranks cannot share."""
    whole = workload(case, impl)
    threads = max(1, layout.cores // layout.per_node) if layout.cores else None
    return _rank_work(
        whole.cost.flops, whole.cost.io_bytes, whole.slowest_share, traffic_of(case, impl), layout, threads
    )


def recorded_work(point: MeasuredPoint, cores: int | None) -> RankWork:
    """What a record says; ``cores`` are the threads that one rank alone has on this machine, None of a GPU."""
    case, ranks = point.case, point.ranks or []
    cost = point.cost
    hosts = [rank.host for rank in ranks]
    per_node = max((hosts.count(host) for host in hosts), default=case.world_size)
    layout = Layout(case.world_size, per_node, cores)
    pairs = [rank.pairs for rank in ranks if rank.pairs is not None]
    slowest = max(pairs) / sum(pairs) if pairs and sum(pairs) else 1 / case.world_size
    traffic = [
        {
            kind: Count(one.calls, one.size_bytes, one.sent_bytes, one.received_bytes)
            for kind, one in rank.traffic.items()
            if kind in KINDS
        }
        for rank in ranks
    ]
    threads = min((rank.threads for rank in ranks), default=cores)
    return _rank_work(cost.flops, cost.io_bytes, slowest, traffic, layout, threads)


def received(traffic: Traffic) -> int:
    """Bytes that come to a rank."""
    return sum(count.received for count in traffic.values())


def _rank_work(
    flops: float, io_bytes: float, slowest: float, traffic: Sequence[Traffic], layout: Layout, threads: int | None
) -> RankWork:
    """The rank of the share ``slowest``, on a node of which it has ``threads`` of the cores.

    It runs at its threads' share of the node's rate, and not before the node has done all of its ranks' work.
    """
    slowdown = 1.0
    if layout.cores and layout.ranks > 1:
        of_node = layout.per_node / layout.ranks
        slowdown = max(1.0, of_node / slowest, layout.cores / max(1, threads or layout.cores))
    most: Traffic = max(traffic, key=received, default={})
    return RankWork(flops * slowest, io_bytes / layout.ranks, slowdown, most, layout)
