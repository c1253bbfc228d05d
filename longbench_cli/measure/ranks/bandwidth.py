"""How fast each kind of collective of a pass is alone, at its own size and at larger ones.

Sizes and bandwidths are nccl-tests' (doc/PERFORMANCE.md): algorithm bandwidth is size over time, bus bandwidth that
times a factor which makes it comparable with the speed of the links.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import groupby
from statistics import median
from typing import Any

import torch

from attention_impls.distributed.comm import Communicator
from attention_impls.distributed.traffic import KINDS, Kind, Traffic, bus_factor
from longbench_cli.measure.clock import Timer
from longbench_cli.measure.ranks.control import Control
from longbench_cli.measure.ranks.steps import Action, Call, in_step
from longbench_cli.measure.types import Bandwidth

LARGER = (2**20, 2**22, 2**24, 2**26)
"""Sizes that the peak is looked for at, beside the pass's own."""

REPEATS = 5
_TENSORS = 4
"""Buffers of a collective's size that it may need at once."""

_ONCE = "once"


@dataclass(frozen=True, slots=True)
class Probe:
    """One kind of collective, of about so many bytes."""

    kind: Kind
    size: int


def probes_of(traffic: Sequence[Traffic], free_bytes: int) -> list[Probe]:
    """For each kind that moves anything: the mean size of the pass's calls, then larger ones that fit."""
    found: list[Probe] = []
    for kind in KINDS:
        counts = [of_rank[kind] for of_rank in traffic if kind in of_rank]
        calls = sum(count.calls for count in counts)
        if any(count.received for count in counts):
            mean = sum(count.size for count in counts) // calls
            larger = [size for size in LARGER if size > mean and size * _TENSORS <= free_bytes]
            found += [Probe(kind, size) for size in (mean, *larger)]
    return found


def collective(comm: Communicator, probe: Probe, device: str) -> tuple[int, Callable[[], Any]]:
    """The bytes of one such call, by nccl-tests' definition, and the call."""
    ranks, rank = comm.world_size, comm.rank
    each = max(1, probe.size // (4 * ranks))
    whole, all_alike = each * ranks, [each] * ranks
    mine = torch.ones(each if probe.kind == "all_gather" else whole, dtype=torch.float32, device=device)
    calls: dict[Kind, Callable[[], Any]] = {
        "all_gather": lambda: comm.all_gather(mine, all_alike, range(ranks)).wait(),
        "reduce_scatter": lambda: comm.reduce_scatter(mine, all_alike, range(ranks)).wait(),
        "send_recv": lambda: comm.send_recv(mine, (rank + 1) % ranks, whole, (rank - 1) % ranks).wait(),
        "all_to_all": lambda: comm.all_to_all(mine, all_alike, all_alike).wait(),
        "all_reduce": lambda: comm.all_reduce(mine).wait(),
    }
    return whole * 4, calls[probe.kind]


class _Hand:
    """This rank's collective that is being looked at."""

    def __init__(self, comm: Communicator, timer: Timer, device: str) -> None:
        self._comm, self._timer, self._device = comm, timer, device
        self._once: Action | None = None

    def take(self, probe: Probe) -> int:
        """Make its buffers, those of the one before being freed, and tell its bytes."""
        self._once = None
        size, call = collective(self._comm, probe, self._device)
        self._once = self._timer.bind(call)
        return size

    def once(self) -> int:
        if self._once is None:
            raise RuntimeError("no collective is taken")
        return self._once()


def measure_bandwidth(
    control: Control,
    comm: Communicator,
    timer: Timer,
    device: str,
    probes: Sequence[Probe],
    now_ns: Callable[[], int],
    limit_ns: int,
) -> list[Bandwidth]:
    """On rank 0, in about ``limit_ns`` but for the pass's own sizes; nothing on the others. ``probes`` are alike."""
    hand = _Hand(comm, timer, device)
    actions: dict[str, Action] = {_ONCE: hand.once}
    actions |= {str(number): partial(hand.take, probe) for number, probe in enumerate(probes)}

    def lead(call: Call) -> list[Bandwidth]:
        deadline = now_ns() + limit_ns
        found: list[Bandwidth] = []
        for kind, numbered in groupby(enumerate(probes), lambda item: item[1].kind):
            points: list[tuple[int, float]] = []
            for number, probe in numbered:
                if points and now_ns() + points[-1][1] * probe.size / points[-1][0] * REPEATS > deadline:
                    break
                size = call(str(number))[0]
                points.append((size, _time_of(call, deadline, now_ns)))
            found.append(_summary(kind, comm.world_size, points))
        return found

    found = in_step(control, actions, lead) or []
    comm.take_counts()
    return found


def _time_of(call: Call, deadline: int, now_ns: Callable[[], int]) -> float:
    """Median of the slowest rank's times; the first counts only where there is no time for others."""
    first = max(call(_ONCE))
    times: list[int] = []
    while len(times) < REPEATS and now_ns() + first < deadline:
        times.append(max(call(_ONCE)))
    return float(median(times or [first]))


def _summary(kind: Kind, ranks: int, points: Sequence[tuple[int, float]]) -> Bandwidth:
    """``points``: (size, nanoseconds), the first being the pass's own."""
    size, time_ns = points[0]
    factor = bus_factor(kind, ranks)
    rates = {at: at / max(1.0, took) * 1e9 for at, took in points}
    peak = max(rates, key=lambda at: rates[at])
    return Bandwidth(
        kind=kind,
        ranks=ranks,
        size_bytes=size,
        time_ns=time_ns,
        algorithm_bytes_per_s=rates[size],
        bus_bytes_per_s=rates[size] * factor,
        peak_size_bytes=peak,
        peak_bus_bytes_per_s=rates[peak] * factor,
    )
