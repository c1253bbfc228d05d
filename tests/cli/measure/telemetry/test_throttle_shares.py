"""Which share of the iterations was throttled, from looks that fall into some of them."""

from __future__ import annotations

from longbench_cli.measure.telemetry.looks import Look
from longbench_cli.measure.telemetry.throttle import LIMITING, shares
from longbench_cli.nvml import CLOCK_REASONS

HEAT, CAP = frozenset({"hw_thermal_slowdown"}), frozenset({"sw_power_cap"})
NONE = frozenset[str]()


def looks(*reasons: tuple[int, frozenset[str] | None]) -> list[Look]:
    return [Look(at, reasons=seen) for at, seen in reasons]


def test_long_iterations_have_all_looks_in_their_window() -> None:
    seen = looks((10, NONE), (20, HEAT), (30, CAP), (110, NONE), (120, NONE), (210, CAP), (310, NONE))
    windows = [(0, 100), (100, 200), (200, 300), (300, 400)]
    assert shares(seen, windows, 10) == {"hw_thermal_slowdown": 0.25, "sw_power_cap": 0.5}


def test_short_iterations_have_the_look_next_to_them() -> None:
    seen = looks((100, HEAT), (200, NONE))
    windows = [(90, 91), (110, 111), (148, 149), (152, 153), (190, 191)]
    assert shares(seen, windows, 100) == {"hw_thermal_slowdown": 0.6}


def test_iterations_without_a_look_near_do_not_count() -> None:
    seen = looks((100, CAP), (105, None))
    assert shares(seen, [(90, 95), (10_000, 10_001)], 10) == {"sw_power_cap": 1.0}
    assert shares(seen, [(10_000, 10_001)], 10) is None
    assert shares([], [(0, 1)], 10) is None
    assert shares(looks((0, None)), [(0, 1)], 10) is None


def test_a_device_that_is_never_held_down_has_no_reason_and_that_is_known() -> None:
    assert shares(looks((5, NONE)), [(0, 10)], 10) == {}


def test_what_slows_a_measurement_is_named_as_nvml_names_it() -> None:
    assert set(CLOCK_REASONS.values()) > LIMITING
    assert not LIMITING & {"gpu_idle", "applications_clocks_setting", "display_clock_setting"}
