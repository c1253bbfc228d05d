"""How long collectives take: a time for each step from rank to rank, and one for each byte (alpha and beta).

With n ranks of which L share a node, and m = n / L nodes, a call of the sizes that ``distributed/traffic.py``
counts takes::

    call + (steps - between) alpha_within + between alpha_between
         + max(bytes / bandwidth_within, bytes_between / bandwidth_between)

It is the model by which NCCL chooses its algorithms (src/graph/tuning.cc), of a ring: n - 1 steps, m - 1 of them
between nodes, twice as many for an all-reduce, one for a message to a neighbour (Thakur, Rabenseifner and Gropp,
Optimization of Collective Communication Operations in MPICH, IJHPCA 19, 2005, for the alternatives). Of a gathered
buffer a node fetches what it lacks once, through the adapters of all its ranks; what an all-to-all or a message
carries between nodes goes through the rank's own. Ranks of a CPU copy with its cores: where there are more ranks
than cores, steps and bytes take as many times longer.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from attention_impls.distributed.traffic import KINDS, Count, Kind, Traffic, bus_factor
from longbench_cli.analyse.prediction.law import fit_law
from longbench_cli.analyse.prediction.work import Layout, recorded_work
from longbench_cli.record.schema import MeasuredPoint
from longbench_cli.sweep.hardware import Network

_SHARED = frozenset({"all_gather", "reduce_scatter", "all_reduce"})
"""Kinds whose result, or terms, a node needs once for all of its ranks."""


@dataclass(frozen=True, slots=True)
class Cost:
    """Seconds of a step and of a byte; ``measured`` or from a profile."""

    step: float
    byte: float
    measured: bool


@dataclass(frozen=True, slots=True)
class Collectives:
    """What collectives cost on a machine.

    Attributes:
        call: seconds of each call of a kind that was not measured; steps have it in them where one was.
        within: between ranks of one node, by kind.
        between: between nodes, whatever the kind.
    """

    call: float
    within: Mapping[Kind, Cost]
    between: Cost

    def seconds(self, traffic: Traffic, layout: Layout) -> float:
        """The collectives of one iteration of a rank, one after another."""
        return sum(self._kind(kind, count, layout) for kind, count in traffic.items())

    def measured(self, traffic: Traffic, layout: Layout) -> bool:
        """Whether all that it takes has been measured on the machine."""
        return layout.nodes == 1 and all(self.within[kind].measured for kind in traffic)

    def _kind(self, kind: Kind, count: Count, layout: Layout) -> float:
        near, crowd = self.within[kind], layout.crowd
        steps, moved = _steps(kind, count), max(count.sent, count.received)
        calls = 0.0 if near.measured else count.calls * self.call
        if layout.nodes == 1:
            return calls + crowd * (steps * near.step + moved * near.byte)
        crossing, far = _crossing(kind, count, layout)
        latency = (steps - crossing) * near.step + crossing * self.between.step
        return calls + crowd * (latency + max(moved * near.byte, far * self.between.byte))


def group_size(kind: Kind, count: Count) -> float:
    """Ranks of a collective, from its sizes; the mean of several calls, weighed by size."""
    if kind == "send_recv" or not count.size:
        return 2.0
    moved = max(count.sent, count.received)
    if kind == "all_reduce":
        return 2 * count.size / max(1, 2 * count.size - moved)
    other = count.received if kind == "all_gather" else count.sent
    return count.size / max(1, count.size - other)


def collectives_of(points: Sequence[MeasuredPoint], cores: int | None, network: Network) -> Collectives:
    """Fitted to records of several ranks on one node, kind by kind; the rest is the profile's."""
    near, far = network.links[network.within], network.links[network.between]
    rows: list[tuple[tuple[float, ...], float]] = []
    for point in points:
        rows += _observed(point, cores)
    kinds = {kind for index, kind in enumerate(KINDS) for row, _ in rows if row[2 * index + 1]}
    within = {kind: Cost(near.latency_seconds, 1 / near.bandwidth, measured=False) for kind in KINDS}
    if rows:
        law = fit_law([row for row, _ in rows], [value for _, value in rows])
        for index, kind in enumerate(KINDS):
            if kind in kinds:
                within[kind] = Cost(law.costs[2 * index], law.costs[2 * index + 1], measured=True)
    between = Cost(far.latency_seconds, 1 / far.bandwidth, measured=False)
    return Collectives(network.call_seconds, within, between)


def _observed(point: MeasuredPoint, cores: int | None) -> list[tuple[tuple[float, ...], float]]:
    """Steps and bytes of each kind, and seconds: of the pass's collectives together, and of each kind alone."""
    found = point.communication
    work = recorded_work(point, cores)
    if found is None or work.layout.nodes > 1:
        return []
    crowd = work.layout.crowd
    rows = []
    if found.communication_ns > 0 and work.traffic:
        parts = [
            (_steps(kind, work.traffic[kind]), max(work.traffic[kind].sent, work.traffic[kind].received))
            if kind in work.traffic
            else (0.0, 0)
            for kind in KINDS
        ]
        rows.append((tuple(crowd * value for part in parts for value in part), found.communication_ns / 1e9))
    for one in found.bandwidth:
        if one.kind not in KINDS:
            continue
        kind = one.kind
        factor, at = bus_factor(kind, one.ranks), 2 * KINDS.index(kind)
        steps = _ring_steps(kind, one.ranks)
        peak = one.peak_size_bytes * factor / one.peak_bus_bytes_per_s if one.peak_bus_bytes_per_s > 0 else 0.0
        for size, seconds in ((one.size_bytes, one.time_ns / 1e9), (one.peak_size_bytes, peak)):
            if seconds > 0 and size > 0:
                row = [0.0] * (2 * len(KINDS))
                row[at : at + 2] = [crowd * steps, crowd * size * factor]
                rows.append((tuple(row), seconds))
    return rows


def _steps(kind: Kind, count: Count) -> float:
    return count.calls * _ring_steps(kind, group_size(kind, count))


def _ring_steps(kind: Kind, ranks: float) -> float:
    if kind == "send_recv":
        return 1.0
    return (2.0 if kind == "all_reduce" else 1.0) * (ranks - 1)


def _crossing(kind: Kind, count: Count, layout: Layout) -> tuple[float, float]:
    """Steps between nodes, and the bytes that a rank's adapter has to carry for them."""
    moved = max(count.sent, count.received)
    if kind == "send_recv":
        return float(count.calls), float(moved)
    ranks = group_size(kind, count)
    nodes = max(1.0, ranks / layout.per_node)
    if nodes == 1.0 or ranks <= 1:
        return 0.0, 0.0
    crossing = _steps(kind, count) * (nodes - 1) / (ranks - 1)
    if kind in _SHARED:
        of_node = moved * ((nodes - 1) / nodes) / ((ranks - 1) / ranks)
        return crossing, of_node / min(ranks, layout.per_node)
    return _steps(kind, count) * (ranks - layout.per_node) / (ranks - 1), moved * (ranks - layout.per_node) / (
        ranks - 1
    )
