"""Whether a latency is to be trusted, and every reason why it may not be."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Final

from longbench_cli.measure.interval import LEAST_FOR_95, is_precise
from longbench_cli.measure.telemetry.throttle import LIMITING
from longbench_cli.measure.time_shape import trend, two_modes
from longbench_cli.measure.types import Latency, OtherProcess, Telemetry, Verdict, VerdictKind

SEVERITY: Final[tuple[VerdictKind, ...]] = ("throttled", "contended", "drifting", "noisy", "trusted")
"""Worst first: a throttled or shared machine measured something else; drift and noise are of the thing itself."""

THROTTLED_SHARE = 0.05
"""Clocks held down in fewer than 1 of 20 iterations do not move a median by more than neighbouring ranks."""

OTHERS_SHARE = 0.05
"""Processor time of others: below 5% most iterations were left alone, and the median is of those."""

LEAST_PROCESSOR_NS = 900_000_000
"""Processor time is counted in ticks of 10 ms for each processor, rounded at both ends of a turn: in turns of 50 ms
that is some 2% of a second of it. Below this much of it, rounding would be taken for others' work."""

NAMED_SHARE = 0.01
"""Of the others, those are named that took 1% or more: who took less explains nothing."""

STEAL_SHARE = 0.01
"""Time that the hypervisor took: unlike a process it takes all processors at once, and 1% is the precision asked."""

IDLE_GPU_BYTES = 64 << 20
"""A process that holds less on a GPU has no CUDA context (which takes more than 100 MiB) and computes nothing."""

MODES_APART = 2.0
"""Two modes matter where they are further apart than the whole interval asked for: 2 x precision."""


def judge(latency: Latency, telemetry: Telemetry | None, precision: float) -> Verdict:
    """The verdict on one point of one process; ``precision`` is the half width asked for, as a share of the median.

    Its kind is the worst that applies, by :data:`SEVERITY`; its reasons are those of all kinds, worst
    first. A memory error that was not corrected, which may make anything slow or wrong, counts as noise.
    """
    return judge_together(latency, {"": telemetry}, precision)


def judge_together(latency: Latency, telemetry: Mapping[str, Telemetry | None], precision: float) -> Verdict:
    """The same of a point of several processes: by what its reasons begin with, what each of them saw."""

    def seen(find: Callable[[Telemetry | None], Iterator[str]]) -> list[str]:
        return [name + reason for name, one in telemetry.items() for reason in find(one)]

    reasons: dict[VerdictKind, list[str]] = {
        "throttled": seen(_throttled),
        "contended": seen(lambda one: _contended(latency, one)),
        "drifting": list(_drifting(latency, precision)),
        "noisy": [*seen(_memory_errors), *_noisy(latency, precision)],
    }
    kind = next((kind for kind in SEVERITY if reasons.get(kind)), "trusted")
    return Verdict(kind=kind, reasons=[reason for found in reasons.values() for reason in found])


def percent(share: float) -> str:
    """``0.0123`` as ``1.2%``, ``0.996`` as ``100%``."""
    return f"{100 * share:.2g}%" if share < 0.995 else f"{100 * share:.0f}%"


def too_wide(noise: float, precision: float) -> str:
    """The reason of an interval that is wider than asked for; both are half widths as shares of the median."""
    return f"the 95% interval is ±{percent(noise)}, wider than ±{percent(precision)}"


def _throttled(telemetry: Telemetry | None) -> Iterator[str]:
    shares = (telemetry.gpu.throttled if telemetry and telemetry.gpu else None) or {}
    for reason, share in sorted(shares.items(), key=lambda item: -item[1]):
        if reason in LIMITING and share >= THROTTLED_SHARE:
            yield f"clocks held down by {reason} in {percent(share)} of the iterations"


def _contended(latency: Latency, telemetry: Telemetry | None) -> Iterator[str]:
    if telemetry is None:
        return
    cpu, gpu = telemetry.cpu, telemetry.gpu
    long_enough = sum(latency.iterations_ns) * len((cpu and cpu.affinity) or [0]) >= LEAST_PROCESSOR_NS
    if cpu is not None and long_enough and cpu.others_share is not None and cpu.others_share >= OTHERS_SHARE:
        whom = ", ".join(_named(one) for one in cpu.others if one.cpu_share is None or one.cpu_share >= NAMED_SHARE)
        yield f"other processes took {percent(cpu.others_share)} of the processors{f': {whom}' if whom else ''}"
    if telemetry.steal_share is not None and telemetry.steal_share >= STEAL_SHARE:
        yield f"the hypervisor took {percent(telemetry.steal_share)} of the processors (steal time)"
    for one in (gpu.others if gpu else None) or []:
        if one.gpu_bytes is None or one.gpu_bytes >= IDLE_GPU_BYTES:
            yield f"another process on the GPU: {_named(one)}"


def who(process: OtherProcess) -> str:
    """What a verdict calls another process: its name and number."""
    return f"{' '.join((process.name or 'a process').split())} (pid {process.pid})"


def _named(process: OtherProcess) -> str:
    share = f" {percent(process.cpu_share)}" if process.cpu_share is not None else ""
    held = f" holds {process.gpu_bytes / (1 << 20):.0f} MiB" if process.gpu_bytes is not None else ""
    return f"{who(process)}{share}{held}"


def _drifting(latency: Latency, precision: float) -> Iterator[str]:
    change = trend(latency.iterations_ns)
    if change is not None and abs(change) > precision:
        verb = "rose" if change > 0 else "fell"
        yield f"times {verb} by {percent(abs(change))} from the first third of the point to the last"


def _memory_errors(telemetry: Telemetry | None) -> Iterator[str]:
    errors = telemetry.gpu.ecc_uncorrected if telemetry and telemetry.gpu else None
    if errors:
        yield f"{errors} uncorrected memory error{'' if errors == 1 else 's'} (ECC) on the GPU while it ran"


def _noisy(latency: Latency, precision: float) -> Iterator[str]:
    count, noise = len(latency.iterations_ns), latency.noise
    if noise is None:
        yield "1 iteration: its spread is not known"
    elif count < LEAST_FOR_95:
        yield f"{count} iterations, a spread of ±{percent(noise)}: {LEAST_FOR_95} are needed for a 95% interval"
    elif not is_precise(noise, latency.ci95_ns, precision):
        if latency.ci95_ns is not None:
            yield too_wide(noise, precision)
        else:
            yield (
                f"{count} iterations, a spread of ±{percent(noise)}, are worth {latency.effective_iterations or 0:.1f} "
                f"independent ones: {LEAST_FOR_95} are needed for a 95% interval"
            )
    modes = two_modes(latency.iterations_ns)
    if modes is not None and modes[1] - modes[0] > MODES_APART * precision * latency.median_ns:
        low, high, share = modes
        longer = f"{percent(high / low - 1)} longer than the others" if low >= 1 else "longer than the clock can see"
        yield f"two modes: {percent(share)} of the iterations take {longer}"
