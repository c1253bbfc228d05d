"""How fast and how steady a device is: matrix products, copies, the timer, the noise floor.

Every function takes the clock it reads (nanoseconds) and the work it times, so that tests can fake both.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise

Clock = Callable[[], int]
"""Monotonic nanoseconds."""

Work = Callable[[], object]

SECOND = 1_000_000_000
NOISE_WORK_NS = 5_000_000
"""Length of the fixed computation whose repeats give the noise floor: 5 ms, as a short point takes."""

BLOCKS = 8
"""Consecutive stretches of the noise measurement whose medians are compared."""

_LEAST_REPEATS = 3


@dataclass(frozen=True, slots=True)
class Timer:
    """The clock itself, in nanoseconds: its smallest step, and what reading it costs."""

    resolution_ns: float
    overhead_ns: float


@dataclass(frozen=True, slots=True)
class Noise:
    """How much repeats of one fixed computation differ, as shares of their median.

    Attributes:
        repeats: how often it ran.
        median_ns: its median time.
        iqr: interquartile range of single repeats.
        drift: range of the medians of :data:`BLOCKS` consecutive stretches. Differences between two
            runs that are smaller than this are not to be believed.
    """

    repeats: int
    median_ns: float
    iqr: float
    drift: float


@dataclass(frozen=True, slots=True)
class DeviceRates:
    """What a device does: floating-point operations a second by element type, bytes copied a second."""

    device: str
    matmul_flops: dict[str, float]
    copy_bytes: float
    noise: Noise


def measure_timer(now: Clock = time.perf_counter_ns, reads: int = 20_000) -> Timer:
    """Smallest step and cost of ``now`` over ``reads`` readings."""
    stamps = [now() for _ in range(reads)]
    steps = [b - a for a, b in pairwise(stamps) if b > a]
    return Timer(
        resolution_ns=float(min(steps, default=0)),
        overhead_ns=(stamps[-1] - stamps[0]) / (reads - 1),
    )


def repeat(work: Work, budget_ns: int, now: Clock = time.perf_counter_ns) -> list[int]:
    """Times of ``work``, repeated for ``budget_ns`` but at least three times, after one warm-up."""
    work()
    times: list[int] = []
    start = now()
    while len(times) < _LEAST_REPEATS or now() - start < budget_ns:
        before = now()
        work()
        times.append(now() - before)
    return times


def measure_rate(work: Work, amount: float, budget_ns: int, now: Clock = time.perf_counter_ns) -> float:
    """``amount`` a second: by the median time of ``work``, which does that much."""
    return amount * SECOND / max(statistics.median(repeat(work, budget_ns, now)), 1)


def measure_noise(unit: Work, budget_ns: int, now: Clock = time.perf_counter_ns) -> Noise:
    """Repeat ``unit`` as often as makes 5 ms, again and again for ``budget_ns``; see :class:`Noise`."""
    each = max(min(repeat(unit, NOISE_WORK_NS, now)), 1)
    count = max(1, round(NOISE_WORK_NS / each))

    def work() -> None:
        for _ in range(count):
            unit()

    return summarise_noise(repeat(work, budget_ns, now))


def summarise_noise(times_ns: list[int]) -> Noise:
    """The :class:`Noise` of at least three repeats, given in the order they were taken."""
    median = statistics.median(times_ns)
    low, _, high = statistics.quantiles(times_ns, n=4, method="inclusive")
    size = -(-len(times_ns) // BLOCKS)
    blocks = [statistics.median(times_ns[at : at + size]) for at in range(0, len(times_ns), size)]
    return Noise(
        repeats=len(times_ns),
        median_ns=float(median),
        iqr=(high - low) / median if median else 0.0,
        drift=(max(blocks) - min(blocks)) / median if median else 0.0,
    )
