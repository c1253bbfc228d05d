"""The verdict: every reason is told, the worst names the kind, and nothing else makes a number doubtful."""

from __future__ import annotations

import random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from longbench_cli.measure.judge import (
    LEAST_PROCESSOR_NS,
    OTHERS_SHARE,
    SEVERITY,
    STEAL_SHARE,
    THROTTLED_SHARE,
    judge,
    percent,
)
from longbench_cli.measure.sampling import summarise
from longbench_cli.measure.time_shape import trend, two_modes
from longbench_cli.measure.types import CpuTelemetry, GpuTelemetry, Latency, OtherProcess, Telemetry

QUIET_CPU: dict[str, Any] = {
    "rss_peak_bytes": 1 << 30, "frequency_mhz": None, "governor": "performance", "affinity": [0, 1],
    "others_share": 0.0, "voluntary_switches": 3, "energy_j": None,
}  # fmt: skip
QUIET_GPU: dict[str, Any] = dict.fromkeys(GpuTelemetry.model_fields) | {"throttled": {}, "others": []}


def latency_of(times: list[int]) -> Latency:
    return summarise(times, sorted(times), "max_time")


def steady(n: int = 100, spread: float = 0.01, seed: int = 0) -> list[int]:
    draw = random.Random(seed)
    return [round(1e7 * draw.lognormvariate(0, spread)) for _ in range(n)]


def machine(
    steal: float | None = 0.0, cpu: dict[str, Any] | None = None, gpu: dict[str, Any] | None = None
) -> Telemetry:
    return Telemetry(
        threads=2,
        involuntary_switches=0,
        steal_share=steal,
        cpu=CpuTelemetry(**(QUIET_CPU | (cpu or {}))),
        gpu=None if gpu is None else GpuTelemetry(**(QUIET_GPU | gpu)),
    )


def only(latency: Latency, telemetry: Telemetry | None = None, precision: float = 0.01) -> tuple[str, str]:
    """Kind and the one reason."""
    verdict = judge(latency, telemetry, precision)
    (reason,) = verdict.reasons
    return verdict.kind, reason


@pytest.mark.parametrize("telemetry", [None, machine(), machine(gpu={}), machine(steal=None, gpu={"throttled": None})])
def test_a_quiet_point_is_trusted_whatever_the_machine_cannot_tell(telemetry: Telemetry | None) -> None:
    verdict = judge(latency_of(steady()), telemetry, 0.01)
    assert (verdict.kind, verdict.reasons) == ("trusted", [])


def test_a_wide_interval_is_noisy_and_says_how_wide() -> None:
    latency = latency_of(steady(spread=0.2))
    kind, reason = only(latency)
    assert kind == "noisy"
    assert latency.noise is not None
    assert f"±{100 * latency.noise:.2g}%" in reason
    assert "±1%" in reason
    assert judge(latency, None, precision=0.1).kind == "trusted"


@pytest.mark.parametrize(("times", "words"), [([5], "1 iteration"), ([10_000, 10_010, 10_020], "3 iterations")])
def test_too_few_iterations_are_noisy_however_close_they_are(times: list[int], words: str) -> None:
    kind, reason = only(latency_of(times))
    assert kind == "noisy"
    assert words in reason


def test_iterations_that_are_worth_few_say_so() -> None:
    wave = [10_000 + 300 * (i >= 50) + i % 7 for i in range(100)]
    verdict = judge(latency_of(wave), None, 0.01)
    assert any("independent ones" in reason for reason in verdict.reasons)


def test_two_modes_are_told_even_where_the_interval_is_narrow() -> None:
    draw = random.Random(1)
    times = [round(1e7 * draw.lognormvariate(0, 0.003) * draw.choices((1, 1.25), (7, 3))[0]) for _ in range(400)]
    kind, reason = only(latency_of(times))
    assert kind == "noisy"
    assert "two modes" in reason
    assert "25% longer" in reason
    assert judge(latency_of(times), None, 0.2).kind == "trusted"  # no further apart than what was asked for


def test_modes_of_which_a_coarse_clock_does_not_see_one_are_told() -> None:
    verdict = judge(latency_of([0, 1000] * 15), None, 0.01)
    assert verdict.kind == "noisy"
    assert "two modes: 50% of the iterations take longer than the clock can see" in verdict.reasons


@pytest.mark.parametrize(
    ("share", "words"),
    [(0.0123, "1.2%"), (0.3, "30%"), (0.994, "99%"), (0.995, "100%"), (0.9999, "100%"), (1.0, "100%"), (2.5, "250%")],
)
def test_a_share_is_a_plain_percentage(share: float, words: str) -> None:
    assert percent(share) == words


def test_limiting_clock_events_are_throttled_and_name_reason_and_share() -> None:
    seen = {"sw_power_cap": 0.8, "gpu_idle": 1.0, "applications_clocks_setting": 1.0, "hw_slowdown": 0.0}
    kind, reason = only(latency_of(steady()), machine(gpu={"throttled": seen}))
    assert kind == "throttled"
    assert "sw_power_cap in 80% of the iterations" in reason


def test_rare_or_harmless_events_do_not_throttle() -> None:
    seen = {"sw_thermal_slowdown": THROTTLED_SHARE / 2, "gpu_idle": 1.0}
    assert judge(latency_of(steady()), machine(gpu={"throttled": seen}), 0.01).kind == "trusted"


def test_contention_says_by_whom() -> None:
    chrome = OtherProcess(pid=42, name="chro\nme", cpu_share=0.3)
    shell = OtherProcess(pid=43, name="bash", cpu_share=0.001)
    kind, reason = only(latency_of(steady()), machine(cpu={"others_share": 0.31, "others": [chrome, shell]}))
    assert kind == "contended"
    assert "31%" in reason
    assert "chro me (pid 42) 30%" in reason
    assert "bash" not in reason
    kind, reason = only(latency_of(steady()), machine(steal=2 * STEAL_SHARE))
    assert (kind, "hypervisor" in reason) == ("contended", True)


@pytest.mark.parametrize(("held", "kind"), [(8 << 30, "contended"), (None, "contended"), (4 << 20, "trusted")])
def test_another_process_on_the_gpu_contends_unless_it_is_too_small_to_compute(held: int | None, kind: str) -> None:
    other = OtherProcess(pid=7, name="train.py", gpu_bytes=held)
    verdict = judge(latency_of(steady()), machine(gpu={"others": [other]}), 0.01)
    assert verdict.kind == kind
    assert kind == "trusted" or "train.py (pid 7)" in verdict.reasons[0]


@pytest.mark.parametrize(("last", "word"), [(1.1, "rose"), (0.9, "fell")])
def test_a_trend_is_drifting(last: float, word: str) -> None:
    times = [round(t * (1 + (last - 1) * i / 300)) for i, t in enumerate(steady(300))]
    verdict = judge(latency_of(times), None, 0.01)
    assert verdict.kind == "drifting"
    assert f"times {word} by" in verdict.reasons[0]
    slow = [round(t * (1 + (last - 1) * i / 300 / 50)) for i, t in enumerate(steady(300, spread=0.0001))]
    assert trend(slow) is not None
    assert judge(latency_of(slow), None, 0.01).kind == "trusted"  # a trend, but within what was asked for


def test_memory_errors_are_told() -> None:
    kind, reason = only(latency_of(steady()), machine(gpu={"ecc_uncorrected": 2}))
    assert kind != "trusted"
    assert "2 uncorrected memory errors" in reason


def test_all_reasons_are_told_worst_first() -> None:
    everything = machine(
        steal=0.5, cpu={"others_share": 0.5}, gpu={"throttled": {"hw_thermal_slowdown": 1.0}, "ecc_uncorrected": 1}
    )
    times = [round(t * (1 + i / 300)) for i, t in enumerate(steady(300))]
    verdict = judge(latency_of(times), everything, 0.001)
    assert verdict.kind == "throttled"
    words = ("hw_thermal_slowdown", "other processes", "hypervisor", "times rose", "memory error", "spread of")
    assert [word in reason for word, reason in zip(words, verdict.reasons, strict=True)] == [True] * len(words)


shares = st.one_of(st.none(), st.floats(0, 1))


@given(
    st.lists(st.integers(0, 10**9), min_size=1, max_size=80), shares, shares,
    st.dictionaries(st.sampled_from(["sw_power_cap", "gpu_idle", "hw_slowdown", "unheard_of"]), st.floats(0, 1)),
    st.floats(1e-4, 0.5),
)  # fmt: skip
def test_a_verdict_has_reasons_if_and_only_if_it_is_not_trusted(
    times: list[int],
    steal: float | None,
    others: float | None,
    seen: dict[str, float],
    asked: float,
) -> None:
    calm, worse = machine(), machine(steal, {"others_share": others}, {"throttled": seen})
    for telemetry in (None, calm, worse):
        verdict = judge(latency_of(times), telemetry, asked)
        assert (verdict.kind == "trusted") == (not verdict.reasons)
        assert all(reason and "\n" not in reason for reason in verdict.reasons)
    assert SEVERITY.index(verdict.kind) <= SEVERITY.index(judge(latency_of(times), calm, asked).kind)
    assert (verdict.kind == "throttled") == any(
        seen.get(name, 0) >= THROTTLED_SHARE for name in ("sw_power_cap", "hw_slowdown")
    )
    if others is not None and others >= OTHERS_SHARE and sum(times) >= LEAST_PROCESSOR_NS:
        assert verdict.kind in ("throttled", "contended")


@given(st.lists(st.integers(1, 10**6), min_size=1, max_size=60), st.integers(2, 1000))
def test_shapes_do_not_depend_on_the_unit(times: list[int], unit: int) -> None:
    scaled = [time * unit for time in times]
    assert trend(scaled) == pytest.approx(trend(times))
    assert (two_modes(scaled) is None) == (two_modes(times) is None)


def false_alarms(make: Any, n: int) -> tuple[float, float]:
    """Shares of 150 points of ``n`` times in which a trend of 1%, and two modes, are seen."""
    draw = random.Random(n)
    trends = modes = 0
    for _ in range(150):
        times = [make(draw) for _ in range(n)]
        change = trend(times)
        trends += change is not None and abs(change) > 0.01
        modes += two_modes(times) is not None
    return trends / 150, modes / 150


@pytest.mark.parametrize("n", [12, 30, 200])
@pytest.mark.parametrize(
    "make",
    [
        lambda draw: draw.lognormvariate(0, 0.05),
        lambda draw: draw.lognormvariate(0, 0.5),
        lambda draw: 1 + draw.expovariate(1),
        lambda draw: 1 + draw.random(),
        lambda draw: draw.lognormvariate(0, 0.02) * (3 if draw.random() < 0.05 else 1),
    ],
)
def test_noise_of_one_mode_without_a_trend_raises_few_alarms(make: Any, n: int) -> None:
    trends, modes = false_alarms(make, n)
    assert trends <= 0.04
    assert modes <= 0.06
