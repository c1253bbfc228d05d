"""From what was seen while a watch was open to the record: a pure function."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from operator import attrgetter
from statistics import fmean, median

from longbench_cli.measure.telemetry.counters import Counter, Curve, Point
from longbench_cli.measure.telemetry.gpu import Health
from longbench_cli.measure.telemetry.looks import Look
from longbench_cli.measure.telemetry.throttle import shares
from longbench_cli.measure.types import CpuTelemetry, GpuTelemetry, OtherProcess, PerIteration, Span, Telemetry

LEAST_PERIODS = 2
"""Iterations are told of one by one where the median one lasts at least so many periods."""

Windows = Sequence[tuple[int, int]]
"""Start and end of each iteration in their order, by the clock perf_counter_ns."""


@dataclass(frozen=True, slots=True)
class GpuSeen:
    """What is known of the GPU beside looks and counters."""

    before: Health
    after: Health
    others: list[OtherProcess] | None


@dataclass(frozen=True, slots=True)
class Seen:
    """Everything that was seen. ``gpu`` is None where there is none to ask.

    ``processors`` is how many the process may run on, ``active_ns`` how long it had its turn,
    ``looked`` how often was looked, of which ``looks`` are kept.
    """

    threads: int
    processors: int
    affinity: list[int] | None
    governor: str | None
    rss_peak_bytes: int | None
    cpu_others: list[OtherProcess]
    gpu: GpuSeen | None
    looks: Sequence[Look]
    looked: int
    period_ns: int
    points: Sequence[Point]
    totals: Mapping[Counter, float]
    active_ns: int
    missing: Mapping[str, str]


def summarise(seen: Seen, windows: Windows, tokens: int) -> Telemetry:
    """The record; ``tokens`` are those of one iteration, of all its sequences."""
    missing = dict(seen.missing)
    if not seen.looks:
        missing["samples"] = "the iterations were over before the first look"
    throttled = shares(seen.looks, windows, seen.period_ns)
    if seen.gpu is not None and throttled is None:
        missing.setdefault("gpu.throttled", "no look near an iteration")
    on_gpu = seen.gpu is not None or "gpu" in missing
    energies = _moved(seen, windows, Counter.GPU_J if on_gpu else Counter.CPU_J)
    known = [joules for joules in energies if joules is not None]
    joules = fmean(known) if known else None
    return Telemetry(
        threads=seen.threads,
        involuntary_switches=_whole(seen.totals.get(Counter.INVOLUNTARY)),
        steal_share=_share(seen, seen.totals.get(Counter.STEAL_S), seen.active_ns),
        samples=seen.looked,
        period_ms=seen.period_ns / 1e6,
        cpu=_cpu(seen),
        gpu=_gpu(seen, seen.gpu, throttled, missing) if seen.gpu is not None else None,
        joules_per_iteration=joules,
        joules_per_token=joules / tokens if joules is not None else None,
        per_iteration=_per_iteration(seen, windows, energies),
        missing=missing,
    )


def _cpu(seen: Seen) -> CpuTelemetry:
    return CpuTelemetry(
        rss_peak_bytes=seen.rss_peak_bytes,
        frequency_mhz=_span(seen, "cpu.frequency_mhz"),
        governor=seen.governor,
        affinity=seen.affinity,
        others_share=_others_share(
            seen, seen.totals.get(Counter.BUSY_S), seen.totals.get(Counter.OWN_S), seen.active_ns
        ),
        others=seen.cpu_others,
        voluntary_switches=_whole(seen.totals.get(Counter.VOLUNTARY)),
        energy_j=seen.totals.get(Counter.CPU_J),
    )


def _gpu(seen: Seen, gpu: GpuSeen, throttled: dict[str, float] | None, missing: dict[str, str]) -> GpuTelemetry:
    received, sent = _pcie(seen)
    corrected, uncorrected = _ecc(gpu, missing)
    remapped = gpu.after.remapped
    return GpuTelemetry(
        sm_clock_mhz=_span(seen, "gpu.sm_clock_mhz"),
        memory_clock_mhz=_span(seen, "gpu.memory_clock_mhz"),
        power_w=_span(seen, "gpu.power_w"),
        energy_j=seen.totals.get(Counter.GPU_J),
        temperature_c=_span(seen, "gpu.temperature_c"),
        utilisation=_span(seen, "gpu.utilisation"),
        memory_utilisation=_span(seen, "gpu.memory_utilisation"),
        throttled=None if "gpu.throttled" in missing else throttled,
        ecc_corrected=corrected,
        ecc_uncorrected=uncorrected,
        remapped_rows=remapped.rows if remapped is not None else None,
        remap_pending=remapped.pending if remapped is not None else None,
        pcie_rx_bytes=received,
        pcie_tx_bytes=sent,
        nvlink_rx_bytes=_whole(seen.totals.get(Counter.NVLINK_RX)),
        nvlink_tx_bytes=_whole(seen.totals.get(Counter.NVLINK_TX)),
        others=gpu.others,
    )


def _span(seen: Seen, field: str) -> Span | None:
    """Of the looks' attribute by the field's name; None also where it stopped being told."""
    value: Callable[[Look], float | None] = attrgetter(field.partition(".")[2])
    found = [known for look in seen.looks if (known := value(look)) is not None]
    if not found or field in seen.missing:
        return None
    return Span(low=min(found), median=median(found), high=max(found))


def _pcie(seen: Seen) -> tuple[int | None, int | None]:
    """Bytes: the mean of the rates that were seen, times the time."""
    rates = [look.pcie_rates for look in seen.looks if look.pcie_rates is not None]
    if not rates or "gpu.pcie_rx_bytes" in seen.missing:
        return None, None
    received, sent = (round(fmean(side) * seen.active_ns / 1e9) for side in zip(*rates, strict=True))
    return received, sent


def _ecc(gpu: GpuSeen, missing: dict[str, str]) -> tuple[int | None, int | None]:
    before, after = gpu.before.ecc, gpu.after.ecc
    if before is None or after is None:
        return None, None
    corrected, uncorrected = after.corrected - before.corrected, after.uncorrected - before.uncorrected
    if corrected < 0 or uncorrected < 0:
        for name in ("gpu.ecc_corrected", "gpu.ecc_uncorrected"):
            missing[name] = "the counter went backwards"
        return None, None
    return corrected, uncorrected


def _whole(value: float | None) -> int | None:
    return None if value is None else round(value)


def _share(seen: Seen, seconds: float | None, lasted_ns: int) -> float | None:
    """Of the time of all processors; both are counted in ticks, so that short times may seem to be below 0."""
    if seconds is None or lasted_ns <= 0:
        return None
    return min(1.0, max(0.0, seconds / (seen.processors * lasted_ns / 1e9)))


def _others_share(seen: Seen, busy_s: float | None, own_s: float | None, lasted_ns: int) -> float | None:
    """What the processors worked, less what this process took."""
    return None if busy_s is None or own_s is None else _share(seen, busy_s - own_s, lasted_ns)


def _moved(seen: Seen, windows: Windows, counter: Counter) -> list[float | None]:
    """By how much in each iteration. Between two readings a counter is taken to move steadily."""
    if counter not in seen.totals:
        return [None] * len(windows)
    curve = Curve(seen.points, counter)
    return [curve.moved(*window) for window in windows]


def _per_iteration(seen: Seen, windows: Windows, joules: list[float | None]) -> PerIteration | None:
    if not windows or median(end - start for start, end in windows) < LEAST_PERIODS * seen.period_ns:
        return None
    used = zip(windows, _moved(seen, windows, Counter.BUSY_S), _moved(seen, windows, Counter.OWN_S), strict=True)
    return PerIteration(
        sm_clock_mhz=_unless_empty(_clocks(seen, windows)),
        energy_j=_unless_empty(joules),
        others_share=_unless_empty([_others_share(seen, busy, own, end - start) for (start, end), busy, own in used]),
    )


def _clocks(seen: Seen, windows: Windows) -> list[float | None]:
    """The mean of the looks within each iteration."""
    if "gpu.sm_clock_mhz" in seen.missing:
        return []
    known = [(look.at_ns, look.sm_clock_mhz) for look in seen.looks if look.sm_clock_mhz is not None]
    at, clocks = [when for when, _ in known], [clock for _, clock in known]
    inside = [clocks[bisect_left(at, start) : bisect_right(at, end)] for start, end in windows]
    return [fmean(found) if found else None for found in inside]


def _unless_empty(values: list[float | None]) -> list[float | None] | None:
    return values if any(value is not None for value in values) else None
