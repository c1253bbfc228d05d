"""From looks and counters to the record: what falls into an iteration, and what cannot be told."""

from __future__ import annotations

from typing import Any

import pytest

from longbench_cli.measure.telemetry.counters import Counter, Point
from longbench_cli.measure.telemetry.gpu import Health
from longbench_cli.measure.telemetry.looks import Look
from longbench_cli.measure.telemetry.summary import GpuSeen, Seen, summarise

MS = 1_000_000
CALM_GPU = GpuSeen(Health(None, None), Health(None, None), [])


def points(*rows: tuple[int, float, float, float]) -> list[Point]:
    """Milliseconds; busy and own seconds; joules of the GPU."""
    return [
        Point(at * MS, {Counter.BUSY_S: busy, Counter.OWN_S: own, Counter.GPU_J: joules})
        for at, busy, own, joules in rows
    ]


def seen(**changes: Any) -> Seen:
    """400 ms on 2 processors, a period of 100 ms; somebody works on one of them in the second half."""
    fields: dict[str, Any] = {
        "threads": 2,
        "processors": 2,
        "affinity": [0, 1],
        "governor": None,
        "rss_peak_bytes": None,
        "cpu_others": [],
        "gpu": CALM_GPU,
        "looks": [Look(at * MS, sm_clock_mhz=clock) for at, clock in ((50, 1000.0), (150, 1200.0), (350, 900.0))],
        "looked": 3,
        "period_ns": 100 * MS,
        "points": points((0, 0.0, 0.0, 0.0), (200, 0.2, 0.2, 40.0), (400, 0.6, 0.4, 60.0)),
        "totals": {Counter.BUSY_S: 0.6, Counter.OWN_S: 0.4, Counter.GPU_J: 60.0},
        "active_ns": 400 * MS,
        "missing": {},
    }
    return Seen(**(fields | changes))


def test_iterations_of_two_periods_are_told_one_by_one() -> None:
    found = summarise(seen(), [(0, 200 * MS), (200 * MS, 400 * MS)], tokens=10)
    assert found.per_iteration is not None
    assert found.per_iteration.sm_clock_mhz == [1100, 900]
    assert found.per_iteration.energy_j == [40, 20]
    assert found.per_iteration.others_share == pytest.approx([0, 0.5])
    assert (found.joules_per_iteration, found.joules_per_token) == (30, 3)
    assert found.cpu is not None
    assert found.cpu.others_share == pytest.approx(0.25)


def test_shorter_ones_have_their_share_of_the_energy_and_nothing_else() -> None:
    found = summarise(seen(), [(0, 100 * MS), (200 * MS, 250 * MS)], tokens=1)
    assert found.per_iteration is None
    assert found.joules_per_iteration == (20 + 5) / 2


def test_an_iteration_that_readings_do_not_reach_is_null_alone() -> None:
    found = summarise(seen(), [(0, 200 * MS), (300 * MS, 900 * MS)], tokens=1)
    assert found.per_iteration is not None
    assert found.per_iteration.energy_j == [40, None]
    assert found.per_iteration.others_share == [0, None]
    assert found.per_iteration.sm_clock_mhz == [1100, 900]


def test_what_is_missing_is_null_in_every_place() -> None:
    totals = {Counter.OWN_S: 0.4}
    found = summarise(
        seen(totals=totals, missing={"gpu.sm_clock_mhz": "why"}), [(0, 200 * MS), (200 * MS, 400 * MS)], tokens=1
    )
    assert found.gpu is not None
    assert found.cpu is not None
    assert (found.gpu.sm_clock_mhz, found.gpu.energy_j, found.cpu.others_share) == (None, None, None)
    assert found.per_iteration is not None
    per_iteration = found.per_iteration
    assert (per_iteration.sm_clock_mhz, per_iteration.energy_j, per_iteration.others_share) == (None, None, None)


def test_pcie_bytes_are_the_mean_rate_over_the_time() -> None:
    looks = [Look(1, pcie_rates=(100.0, 0.0)), Look(2), Look(3, pcie_rates=(300.0, 50.0))]
    found = summarise(seen(looks=looks), [(0, 1)], tokens=1).gpu
    assert found is not None
    assert (found.pcie_rx_bytes, found.pcie_tx_bytes) == (80, 10)


def test_without_a_look_spans_are_null_and_it_is_said_why() -> None:
    found = summarise(seen(looks=[], looked=0), [(0, 1)], tokens=1)
    assert found.gpu is not None
    assert (found.gpu.sm_clock_mhz, found.gpu.throttled) == (None, None)
    assert {"samples", "gpu.throttled"} <= found.missing.keys()


def test_on_a_cpu_energy_is_of_its_packages() -> None:
    readings = [Point(0, {Counter.CPU_J: 1.0}), Point(100, {Counter.CPU_J: 3.0})]
    found = summarise(seen(gpu=None, points=readings, totals={Counter.CPU_J: 2.0}), [(0, 50), (50, 100)], tokens=4)
    assert (found.joules_per_iteration, found.joules_per_token) == (1, 0.25)
    assert found.gpu is None


def test_a_short_time_never_makes_others_negative() -> None:
    """Processor time is counted in ticks, this process's own exactly."""
    found = summarise(seen(totals={Counter.BUSY_S: 0.1, Counter.OWN_S: 0.104}), [(0, 1)], tokens=1)
    assert found.cpu is not None
    assert found.cpu.others_share == 0
