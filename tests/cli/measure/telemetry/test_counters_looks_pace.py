"""Counters that stop or go back, lists that stay short, and a pace that looks cannot make dear."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from longbench_cli.measure.telemetry.counters import Counter, Curve, Point, Totals
from longbench_cli.measure.telemetry.looks import Look, Thinned, merge_looks
from longbench_cli.measure.telemetry.sampler import DEAREST_SHARE, Pace


def totals(readings: list[tuple[dict[Counter, float], bool]]) -> tuple[Totals, dict[str, str]]:
    lost: dict[str, str] = {}
    (first, _), *rest = readings
    found = Totals(Point(0, first), lambda name, reason: lost.setdefault(name, reason) and None)
    for number, (reading, counts) in enumerate(rest, 1):
        found.advance(Point(1000 * number, reading), counts=counts)
    return found, lost


def test_only_what_moved_while_it_counts_is_summed() -> None:
    steps = [(0.0, True), (5.0, True), (105.0, False), (106.0, True)]
    found, lost = totals([({Counter.GPU_J: value}, counts) for value, counts in steps])
    assert found.sums == {Counter.GPU_J: 6.0}
    assert (found.counted_ns, lost) == (2000, {})


def test_a_counter_that_goes_backwards_has_no_sum_and_harms_no_other() -> None:
    readings = [(10.0, 1.0), (12.0, 2.0), (3.0, 4.0), (90.0, 5.0)]
    found, lost = totals([({Counter.GPU_J: joules, Counter.OWN_S: own}, True) for joules, own in readings])
    assert found.sums == {Counter.OWN_S: 4.0}
    assert lost == {"gpu.energy_j": "the counter went backwards"}


def test_a_counter_that_was_silent_once_has_no_sum() -> None:
    found, _ = totals([({Counter.GPU_J: 1.0}, True), ({}, True), ({Counter.GPU_J: 9.0}, True)])
    assert found.sums == {}


@given(st.lists(st.integers(1, 10**9), min_size=1, max_size=20), st.data())
def test_a_curve_adds_up(steps: list[int], data: st.DataObject) -> None:
    """From start to a moment and from there to the end is the whole, wherever the moment lies."""
    at, points = 0, [Point(0, {Counter.CPU_J: 0.0})]
    for number, step in enumerate(steps, 1):
        at += step
        points.append(Point(at, {Counter.CPU_J: 3.0 * number}))
    curve = Curve(points, Counter.CPU_J)
    middle = data.draw(st.integers(0, at))
    first, second = curve.moved(0, middle), curve.moved(middle, at)
    assert first is not None
    assert second is not None
    assert first + second == pytest.approx(3.0 * len(steps))
    assert curve.moved(0, at + 1) is None
    assert Curve([], Counter.CPU_J).moved(0, 0) is None


def test_a_long_list_is_thinned_and_keeps_its_ends() -> None:
    kept = Thinned[int](8, lambda first, _second: first)
    for number in range(1000):
        kept.add(number)
        assert len(kept.items) <= 8
        assert kept.items[-1] == number
    assert kept.items[0] == 0
    assert kept.items == sorted(kept.items)
    assert kept.stride >= 128


def test_thinning_loses_no_reason_and_no_rate() -> None:
    first, second = Look(1, reasons=frozenset({"a"})), Look(2, reasons=frozenset({"b"}), pcie_rates=(1.0, 2.0))
    merged = merge_looks(first, second)
    assert (merged.at_ns, merged.reasons, merged.pcie_rates) == (1, {"a", "b"}, (1.0, 2.0))
    assert merge_looks(second, Look(3)).reasons == {"b"}
    assert merge_looks(Look(3), Look(4)).reasons is None


@given(st.lists(st.integers(0, 10**10), min_size=1, max_size=50))
def test_dear_looks_are_rare(costs: list[int]) -> None:
    """Of steady looks the share of a processor is bounded, whatever one costs, and cheap ones keep their pace."""
    pace = Pace(100_000_000)
    for cost in costs:
        pace.note(cost)
    for _ in range(300):
        pace.note(costs[-1])
    assert pace.period_ns >= 100_000_000
    assert costs[-1] <= pace.period_ns * DEAREST_SHARE * 1.01
    assert pace.rest_ns(0) == pace.period_ns
    assert pace.rest_ns(10**18) >= pace.period_ns // 5 - 1


def test_a_thinned_list_slows_the_pace() -> None:
    pace = Pace(100)
    pace.stride = 4
    assert pace.period_ns == 400
