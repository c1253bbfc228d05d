"""Whether two sides may be compared: what differs between them that would change a time by itself."""

from __future__ import annotations

import statistics
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any, Final

from longbench_cli.analyse.comparison.types import Difference
from longbench_cli.analyse.sessions import ran_alike
from longbench_cli.errors import UsageError
from longbench_cli.measure.judge import IDLE_GPU_BYTES, THROTTLED_SHARE
from longbench_cli.measure.types import GpuTelemetry
from longbench_cli.record.loading import RecordedPoint
from longbench_cli.record.schema import MeasuredPoint, RunHeader
from longbench_cli.record.slim import took_turns
from longbench_cli.sweep.case import Device

FIELDS: Final[Mapping[str, str]] = {
    "gpu": "model of the GPUs",
    "driver": "major version of the NVIDIA driver",
    "cpu": "model of the processor, of points on the CPU",
    "torch": "version of torch",
    "threads": "CPU threads, of points on the CPU",
    "affinity": "processors that the run may use, of points on the CPU",
    "ranks": "how many ranks on how many machines",
    "backend": "the back end that ran",
    "execution": "resident or streamed",
    "cache": "caches overwritten before an iteration, or not",
    "graphs": "replayed as a CUDA graph, or not",
    "verified": "a result that was not checked",
    "order": "measured in turns with another side (duet), or alone (run)",
    "throttled": "clocks held down by heat or by the hardware, on one side only",
    "clocks": "SM clocks more than 1% apart",
    "foreign": "another process on the GPU",
}
"""What ``--allow`` takes, and what each means."""

MACHINE: Final = ("gpu", "cpu", "threads", "affinity")
"""Of a fingerprint, what noise belongs to."""

CLOCKS_APART: Final = 0.01

SLOWDOWNS: Final = frozenset({"hw_slowdown", "hw_thermal_slowdown", "hw_power_brake_slowdown", "sw_thermal_slowdown"})
"""Reasons for lower clocks that are the machine's. A cap on power may be met by what the code itself draws."""

_NOT_KNOWN = "not known"


def check_allowed(allow: Collection[str]) -> None:
    """Raises UsageError, naming the fields there are, where one of ``allow`` is none of :data:`FIELDS`."""
    for name in allow:
        if name not in FIELDS:
            raise UsageError(f"--allow {name}: no such field: choose from {', '.join(FIELDS)}")


def split_allowed(
    differences: Iterable[Difference], allow: Collection[str]
) -> tuple[list[Difference], list[Difference]]:
    """Those that nobody allowed, and those that ``allow`` names."""
    found = list(differences)
    return [one for one in found if one.field not in allow], [one for one in found if one.field in allow]


def fingerprint(header: RunHeader, device: Device) -> dict[str, str | None]:
    """By field, the machine, software and settings of a run as far as they bear on times on ``device``.

    None is what the run does not tell.
    """
    machine, settings = header.environment, header.settings
    packages = machine.get("packages")
    told: dict[str, str | None] = {"torch": _text(packages.get("torch")) if isinstance(packages, dict) else None}
    told["order"] = "duet" if took_turns(header) else "run"
    if device == "cuda":
        told["gpu"] = _gpus(machine, "name")
        driver = _gpus(machine, "driver")
        told["driver"] = driver.partition(".")[0] if driver else None
        told["cache"] = _text(settings.get("cache")) or "cold"
        told["graphs"] = _text(settings.get("graphs")) or "auto"
    else:
        told["cpu"] = _text(machine.get("cpu"))
        told["threads"] = _text(settings.get("threads") or machine.get("cores"))
        told["affinity"] = _text(machine.get("affinity"))
        told["cache"] = _text(settings.get("cache")) or "hot"
    return told


def differences(
    base: Sequence[RecordedPoint],
    candidate: Sequence[RecordedPoint],
    base_run: RunHeader,
    candidate_run: RunHeader,
    *,
    paired: bool,
) -> list[Difference]:
    """What differs between the sessions of one key on both sides, in the order of :data:`FIELDS`.

    A run says what it is to the best of its knowledge: ``paired`` sides took turns on one machine, so what one of them
    does not tell is no difference; of stored runs it is one. What single sessions saw (throttling, other processes)
    counts where at least half of a side's sessions saw it. Points that failed are compared by their runs alone, as are
    those that one side lacks; never both do.
    """
    sides = (_measured(base), _measured(candidate))
    device = [*base, *candidate][0].case.device
    runs = tuple(fingerprint(run, device) for run in (base_run, candidate_run))
    found = _unlike_facts(sides, runs, paired=paired)
    for name, tell in (("verified", _unverified), ("foreign", _foreign)):
        seen = [tell(side) for side in sides]
        if any(seen):
            found[name] = (seen[0] or _QUIET[name], seen[1] or _QUIET[name])
    if all(sides):
        held = [2 * sum(_is_throttled(one) for one in side) >= len(side) for side in sides]
        if held[0] != held[1]:
            found["throttled"] = ("yes", "no") if held[0] else ("no", "yes")
        clocks = [_clock(side) for side in sides]
        low, high = min(one or 0.0 for one in clocks), max(one or 0.0 for one in clocks)
        if low > 0 and high / low - 1 > CLOCKS_APART:
            found["clocks"] = (f"{clocks[0]:.0f} MHz", f"{clocks[1]:.0f} MHz")
    return [Difference(name, *found[name]) for name in FIELDS if name in found]


_QUIET: Final = {"verified": "passed", "foreign": "none"}


def _unlike_facts(
    sides: Sequence[Sequence[MeasuredPoint]], runs: Sequence[Mapping[str, str | None]], *, paired: bool
) -> dict[str, tuple[str, str]]:
    """What the points say of themselves, where both sides do; else what their runs say."""
    points = [_facts(side) for side in sides]
    found = {}
    for name in FIELDS:
        base, candidate = (facts.get(name) for facts in points)
        if base is None or candidate is None:
            base, candidate = (facts.get(name) for facts in runs)
        if base != candidate and not (paired and (base is None or candidate is None)):
            found[name] = (base or _NOT_KNOWN, candidate or _NOT_KNOWN)
    return found


def _facts(points: Iterable[MeasuredPoint]) -> dict[str, str]:
    """What sessions say of themselves; where they do not agree, all that they say."""
    said: dict[str, set[str]] = {}
    for point in points:
        facts = {"backend": point.case.backend, "execution": point.execution}
        if point.ranks:
            machines = len({rank.host for rank in point.ranks})
            facts["ranks"] = f"{len(point.ranks)} on {machines} machine{'' if machines == 1 else 's'}"
        if point.timing is not None:
            facts["cache"] = point.timing.cache
        if point.case.device == "cpu":
            facts |= _threads(point)
        elif point.timing is not None:
            facts["graphs"] = "replayed" if point.timing.graph else "launched"
        for name, value in facts.items():
            said.setdefault(name, set()).add(value)
    return {name: " or ".join(sorted(values)) for name, values in said.items()}


def _threads(point: MeasuredPoint) -> dict[str, str]:
    if point.ranks:
        return {"threads": ", ".join(map(str, sorted({rank.threads for rank in point.ranks})))}
    return {"threads": str(point.telemetry.threads)} if point.telemetry is not None else {}


def _measured(points: Iterable[RecordedPoint]) -> list[MeasuredPoint]:
    return ran_alike([point for point in points if isinstance(point, MeasuredPoint)])


def _unverified(points: Sequence[MeasuredPoint]) -> str | None:
    return next((one.verification.status for one in points if one.verification.status != "passed"), None)


def _is_throttled(point: MeasuredPoint) -> bool:
    """Whether heat or the hardware held the clocks down for long enough to move a median."""
    return any(
        share >= THROTTLED_SHARE
        for gpu in _gpu_telemetry(point)
        for reason, share in (gpu.throttled or {}).items()
        if reason in SLOWDOWNS
    )


def _gpu_telemetry(point: MeasuredPoint) -> list[GpuTelemetry]:
    """What the point saw of its GPU, or each of its ranks of theirs."""
    seen = [rank.telemetry for rank in point.ranks] if point.ranks else [point.telemetry]
    return [one.gpu for one in seen if one is not None and one.gpu is not None]


def _clock(points: Sequence[MeasuredPoint]) -> float | None:
    """Median over the sessions, MHz, of the SM clock of the slowest GPU."""
    clocks = [
        min(known)
        for point in points
        if (known := [gpu.sm_clock_mhz.median for gpu in _gpu_telemetry(point) if gpu.sm_clock_mhz is not None])
    ]
    return statistics.median(clocks) if clocks else None


def _foreign(points: Sequence[MeasuredPoint]) -> str | None:
    """Who else was on the GPU in at least half of the sessions; a process without a context there computes nothing."""
    seen = [
        [
            f"{other.name or 'a process'} (pid {other.pid})"
            for gpu in _gpu_telemetry(point)
            for other in gpu.others or ()
            if other.gpu_bytes is None or other.gpu_bytes >= IDLE_GPU_BYTES
        ]
        for point in points
    ]
    disturbed = [names for names in seen if names]
    return ", ".join(dict.fromkeys(disturbed[0])) if disturbed and 2 * len(disturbed) >= len(points) else None


def _gpus(machine: Mapping[str, Any], name: str) -> str | None:
    """What the machine's GPUs say of themselves, each answer once; None where none is known."""
    gpus = machine.get("gpus")
    told = {_text(gpu.get(name)) for gpu in gpus if isinstance(gpu, dict)} if isinstance(gpus, list) else set()
    return " + ".join(sorted(one for one in told if one)) or None


def _text(value: object) -> str | None:
    return str(value) if isinstance(value, str | int) and str(value) else None
