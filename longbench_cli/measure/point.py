"""Measure one case in this process, all inputs resident: pick the back end, verify, then time."""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator
from typing import Any

import torch

from attention_impls.api import get_implementation
from longbench_cli.measure.clock import Timer, now_ns, timer_for
from longbench_cli.measure.conditions import Conditions
from longbench_cli.measure.memory import held_bytes, peak_bytes
from longbench_cli.measure.nvml import NvmlPeak
from longbench_cli.measure.passes import iteration
from longbench_cli.measure.pick import pick_backend
from longbench_cli.measure.sampling import Trial, sample, warm_up
from longbench_cli.measure.subjects import Subject, subject_of
from longbench_cli.measure.types import CostRecord, Latency, Memory, Telemetry
from longbench_cli.measure.verify import Verdict
from longbench_cli.sweep.case import Case
from longbench_cli.sweep.settings import Settings
from longbench_cli.sweep.workload import workload

WARM_UP_SHARE = 0.2
"""Warm-up takes at most this share of the sampling time."""

Report = Callable[[int, int | None, str, float | None], None]
"""Called as a point goes on: (units done, units in all if known, unit, units a second if known)."""


def measure_point(case: Case, settings: Settings, report: Report) -> dict[str, Any]:
    """The worker's result for one case, as JSON-ready values (see ``execute/channel.py``).

    Raises:
        Unsupported: the implementation or back end does not do this case on this machine.
        torch.OutOfMemoryError, MemoryError: it did not fit.
    """
    timer = timer_for(case.device)
    backend = pick_backend(case, timer, settings.seed)
    subject = subject_of(case, backend, settings.seed)
    subject.load_code()

    held = held_bytes(case.device)
    inputs = subject.draw()
    input_bytes = inputs.nbytes
    begin = now_ns()
    peak = peak_bytes(case.device, None if held is None else held - subject.held_bytes, subject.work(inputs))
    first_ns = now_ns() - begin
    verdict = subject.verify(inputs)
    if verdict.reason is not None:
        return as_incorrect(backend, "resident", verdict)
    del inputs
    subject.renew()
    gc.collect()

    trials = _trials(subject, timer)
    warm_up_ns = round(settings.max_time * WARM_UP_SHARE * 1e9)
    conditions = Conditions()
    with NvmlPeak(case.device) as nvml:
        if first_ns < warm_up_ns:  # else the calls so far have warmed whatever there is to warm
            warm_up(next(trials), now_ns, warm_up_ns)
        latency = sample(trials, settings, now_ns, lambda count: report(count, None, "iterations", None))
    memory = Memory(input_bytes=input_bytes, peak_bytes=peak, nvml_peak_bytes=nvml.peak_bytes)
    return as_measured(case, backend, "resident", verdict, latency, memory, conditions.telemetry())


def as_incorrect(backend: str, execution: str, verdict: Verdict) -> dict[str, Any]:
    """The result of a point whose output is wrong: no latency."""
    return {
        "backend": backend,
        "execution": execution,
        "status": "incorrect",
        "reason": verdict.reason,
        "verification": verdict.verification.model_dump(),
    }


def as_measured(
    case: Case,
    backend: str,
    execution: str,
    verdict: Verdict,
    latency: Latency,
    memory: Memory,
    telemetry: Telemetry,
) -> dict[str, Any]:
    """The result of a point that was verified and timed."""
    cost = workload(case, get_implementation(case.impl)).cost
    counted = CostRecord(
        flops=cost.flops, dense_flops=cost.dense_flops, io_bytes=cost.io_bytes, comm_bytes=cost.comm_bytes
    )
    return {
        "backend": backend,
        "execution": execution,
        "status": "ok",
        "reason": None,
        "verification": verdict.verification.model_dump(),
        "latency": latency.model_dump(),
        "memory": memory.model_dump(),
        "telemetry": telemetry.model_dump(),
        "cost": counted.model_dump(),
    }


def _trials(subject: Subject[Any], timer: Timer) -> Iterator[Trial]:
    """Endless trials, each on inputs drawn anew; the last draw is freed before the next is made."""
    while True:
        yield Trial(iteration(subject.work(subject.draw()), timer))


def configure_threads(settings: Settings, physical_cores: int | None) -> None:
    """Use the threads asked for, else one a physical core."""
    count = settings.threads or physical_cores
    if count:
        torch.set_num_threads(count)
