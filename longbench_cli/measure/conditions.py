"""What the machine did meanwhile: read before and after the timed iterations."""

from __future__ import annotations

import resource
from dataclasses import dataclass

import psutil
import torch

from longbench_cli.measure.types import Telemetry


@dataclass(frozen=True, slots=True)
class _Counters:
    involuntary_switches: int
    steal: float | None
    total: float

    @classmethod
    def now(cls) -> _Counters:
        times = psutil.cpu_times()
        return cls(
            resource.getrusage(resource.RUSAGE_SELF).ru_nivcsw,
            getattr(times, "steal", None),
            sum(times),
        )


class Conditions:
    """Counters since construction."""

    def __init__(self) -> None:
        self._before = _Counters.now()

    def telemetry(self) -> Telemetry:
        before, after = self._before, _Counters.now()
        spent = after.total - before.total
        steal = None
        if before.steal is not None and after.steal is not None and spent > 0:
            steal = (after.steal - before.steal) / spent
        return Telemetry(
            threads=torch.get_num_threads(),
            involuntary_switches=after.involuntary_switches - before.involuntary_switches,
            steal_share=steal,
        )
