"""Measure one case in this process, all inputs resident: pick the back end, verify, then time."""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch

from attention_impls.api import get_implementation
from longbench_cli.measure.clock import Timer, now_ns, timer_for
from longbench_cli.measure.gate import Gate
from longbench_cli.measure.judge import judge
from longbench_cli.measure.memory import held_bytes, peak_bytes, reserved_peak_bytes
from longbench_cli.measure.pick import pick_backend
from longbench_cli.measure.sampling import Sample, Trial, sample, warm_up
from longbench_cli.measure.slowed import slowed
from longbench_cli.measure.subjects import Subject, subject_of
from longbench_cli.measure.telemetry.watch import Watch
from longbench_cli.measure.types import CostRecord, Memory, Telemetry, Timing
from longbench_cli.measure.verify import Verified
from longbench_cli.sweep.case import Case
from longbench_cli.sweep.settings import Settings
from longbench_cli.sweep.workload import workload

WARM_UP_SHARE = 0.2
"""Warm-up takes at most this share of the sampling time."""

Report = Callable[[int, int | None, str, float | None], None]
"""Called as a point goes on: (units done, units in all if known, unit, units a second if known)."""


def measure_point(
    case: Case, settings: Settings, report: Report, gate: Gate, *, full_time: bool = False, slowdown: float = 0.0
) -> dict[str, Any]:
    """The worker's result for one case, as JSON-ready values (see ``execute/channel.py``).

    ``full_time``: sample for as long as the settings allow, however precise. ``slowdown``: the share by which
    each iteration is made to take longer.

    Raises:
        Unsupported: the implementation or back end does not do this case on this machine.
        torch.OutOfMemoryError, MemoryError: it did not fit.
    """
    timer = slowed(timer_for(case.device, settings), slowdown, case.device)
    backend = pick_backend(case, settings)
    subject = subject_of(case, backend, settings.seed)
    subject.load_code()

    first = run_first(subject, case.device)
    verified = subject.verify(first.inputs)
    if verified.reason is not None:
        return as_incorrect(backend, "resident", verified)
    first.inputs = None
    subject.renew()
    gc.collect()

    _prepare(subject, timer, first.took_ns, round(settings.max_time * WARM_UP_SHARE * 1e9))
    with Watch(case.device) as watch:
        taken = sample(
            _trials(subject, timer, gate, watch),
            settings,
            now_ns,
            lambda count: report(count, None, "iterations", None),
            waited_ns=lambda: gate.waited_ns,
            full_time=full_time,
        )
    memory = Memory(
        input_bytes=first.input_bytes,
        peak_bytes=first.peak_bytes,
        nvml_peak_bytes=watch.nvml_peak_bytes,
        reserved_peak_bytes=first.reserved_peak_bytes,
        nvml_process_peak_bytes=watch.nvml_process_peak_bytes,
    )
    telemetry = watch.telemetry(taken.windows, case.batch * case.seq_len)
    return as_measured(case, settings, backend, "resident", verified, taken, memory, telemetry, timer.timing())


@dataclass(slots=True)
class First:
    """The first iteration of a point, which is weighed. ``inputs`` are to be let go when they have been verified."""

    inputs: Any
    input_bytes: int
    peak_bytes: int | None
    reserved_peak_bytes: int | None
    took_ns: int


def run_first(subject: Subject[Any], device: str, on_start: Callable[[], object] = lambda: None) -> First:
    """Run one iteration on fresh inputs and see how much memory it takes; ``on_start`` is called right before it."""
    held = held_bytes(device)
    inputs = subject.draw()
    begin = now_ns()
    work = subject.work(inputs)
    on_start()
    peak = peak_bytes(device, None if held is None else held - subject.held_bytes, work)
    return First(inputs, inputs.nbytes, peak, reserved_peak_bytes(device), now_ns() - begin)


def as_incorrect(backend: str, execution: str, verified: Verified) -> dict[str, Any]:
    """The result of a point whose output is wrong: no latency."""
    return {
        "backend": backend,
        "execution": execution,
        "status": "incorrect",
        "reason": verified.reason,
        "verification": verified.verification.model_dump(),
    }


def as_measured(
    case: Case,
    settings: Settings,
    backend: str,
    execution: str,
    verified: Verified,
    taken: Sample,
    memory: Memory,
    telemetry: Telemetry,
    timing: Timing,
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
        "verification": verified.verification.model_dump(),
        "latency": taken.latency.model_dump(),
        "timing": timing.model_dump(),
        "memory": memory.model_dump(),
        "telemetry": telemetry.model_dump(),
        "cost": counted.model_dump(),
        "verdict": judge(taken.latency, telemetry, settings.precision).model_dump(),
    }


def _prepare(subject: Subject[Any], timer: Timer, first_ns: int, limit_ns: int) -> None:
    """Warm up, unless the first call was so long that it warmed all there is to warm; and let the timer settle."""
    if first_ns >= limit_ns and timer.settled:
        return
    trial = Trial(timer.bind(subject.work(subject.draw())))
    if first_ns < limit_ns:
        warm_up(trial, now_ns, limit_ns)
    while not timer.settled:
        trial.run()


def _trials(subject: Subject[Any], timer: Timer, gate: Gate, watch: Watch) -> Iterator[Trial]:
    """Endless trials, each a turn on inputs drawn anew; the last draw is freed before the next is made."""
    while True:
        watch.pause()  # what others do in their turns is no disturbance of ours
        gate.wait()
        watch.resume()
        yield Trial(timer.bind(subject.work(subject.draw())))


def configure_threads(settings: Settings, physical_cores: int | None, processes: int = 1) -> None:
    """Use the threads asked for, else one a physical core; ``processes`` of this machine share them evenly."""
    count = settings.threads or physical_cores
    if count:
        torch.set_num_threads(max(1, count // processes))
