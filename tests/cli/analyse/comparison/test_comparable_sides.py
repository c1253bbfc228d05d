"""What makes two sides incomparable, what is the same all the same, and what a user may allow."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import pytest
from compared import duet_of, failed, measured, planned, run_of
from rank_runs import on_ranks

from longbench_cli.analyse.comparison.comparable import FIELDS, check_allowed, differences, split_allowed
from longbench_cli.analyse.comparison.types import Difference
from longbench_cli.errors import UsageError
from longbench_cli.measure.types import GpuTelemetry, OtherProcess, Span, Telemetry, Timing, Verdict, Verification
from longbench_cli.record.schema import MeasuredPoint, UnmeasuredPoint
from longbench_cli.record.slim import slim_header

GPU_CASE = planned(device="cuda")
A100 = {"gpus": [{"name": "NVIDIA A100", "driver": "550.54.15"}] * 8}


Sessions = MeasuredPoint | Sequence[MeasuredPoint | UnmeasuredPoint]


def unlike(
    base: Sessions,
    candidate: Sessions,
    environments: tuple[dict[str, Any], dict[str, Any]] = ({}, {}),
    settings: tuple[dict[str, Any], dict[str, Any]] = ({}, {}),
    *,
    paired: bool = False,
) -> dict[str, tuple[str, str]]:
    before, now = ([side] if isinstance(side, MeasuredPoint) else side for side in (base, candidate))
    one, other = (
        run_of(side, environment=environment, settings=changes).header
        for side, environment, changes in zip((before, now), environments, settings, strict=True)
    )
    return {found.field: (found.base, found.candidate) for found in differences(before, now, one, other, paired=paired)}


def on_gpu(
    clock: float = 1410.0,
    others: list[OtherProcess] | None = None,
    throttled: dict[str, float] | None = None,
    **changes: Any,
) -> MeasuredPoint:
    none = dict.fromkeys(GpuTelemetry.model_fields)
    clocks = Span(low=clock, median=clock, high=clock)
    gpu = GpuTelemetry(**(none | {"sm_clock_mhz": clocks, "others": others or [], "throttled": throttled}))
    seen = Telemetry(threads=4, involuntary_switches=0, steal_share=0.0, gpu=gpu)
    return measured(GPU_CASE, telemetry=seen, **changes)


def timed(*, graph: bool = False, cache: Literal["cold", "hot"] = "cold") -> Timing:
    return Timing(cache=cache, graph=graph, blocking_start=True, host_median_ns=None)


def test_the_same_machine_on_another_day_is_the_same() -> None:
    days = ({"hostname": "a", "kernel": "6.1", "git": {"commit": "1"}}, {"hostname": "b", "kernel": "6.2", "git": None})
    assert unlike(measured(median_ns=1e6), measured(median_ns=9e9), days) == {}
    patched = {"gpus": [{"name": "NVIDIA A100", "driver": "550.90.07"}] * 4}
    assert unlike(on_gpu(1410), on_gpu(1400), (A100, patched)) == {}


def test_another_processor_matters_on_the_cpu_alone_and_another_gpu_on_gpus_alone() -> None:
    other = {"cpu": "Another CPU", "gpus": [{"name": "NVIDIA H100", "driver": "535.1"}]}
    assert unlike(measured(), measured(), (A100, other)) == {"cpu": ("Example CPU at 2.10 GHz", "Another CPU")}
    assert unlike(on_gpu(), on_gpu(), (A100, other)) == {
        "gpu": ("NVIDIA A100", "NVIDIA H100"),
        "driver": ("550", "535"),
    }


@pytest.mark.parametrize("paired", [True, False])
def test_another_torch_is_told_even_of_two_interpreters_that_took_turns(paired: bool) -> None:
    torches = ({"packages": {"torch": "2.12.0+cpu"}}, {"packages": {"torch": "2.13.0+cpu"}})
    assert unlike(measured(), measured(), torches, paired=paired) == {"torch": ("2.12.0+cpu", "2.13.0+cpu")}


def test_what_one_side_does_not_tell_is_a_difference_of_stored_runs_and_none_of_a_duet() -> None:
    machines: tuple[dict[str, Any], dict[str, Any]] = ({"cpu": None, "packages": "none of them"}, {})
    assert unlike(measured(), measured(), machines) == {
        "cpu": ("not known", "Example CPU at 2.10 GHz"),
        "torch": ("not known", "2.13.0"),
    }
    assert unlike(measured(), measured(), machines, paired=True) == {}
    assert unlike(on_gpu(), on_gpu(), ({"gpus": [None, {"name": 7}]}, {"gpus": [{"name": 7}]})) == {}


def test_threads_are_those_that_the_points_had_else_those_that_the_runs_asked_for() -> None:
    def on(threads: int) -> MeasuredPoint:
        return measured(telemetry=Telemetry(threads=threads, involuntary_switches=0, steal_share=0.0))

    asked = ({"threads": 4}, {"threads": None})
    assert unlike(measured(), measured(), settings=asked) == {"threads": ("4", "2")}  # cores of the machine
    assert unlike(on(4), on(4), settings=asked) == {}
    assert unlike(on(4), on(8)) == {"threads": ("4", "8")}
    assert unlike(on_gpu(), on_gpu(), (A100, A100), asked) == {}


def test_what_ran_and_how_it_was_timed() -> None:
    streamed = measured(backend="math", execution="streamed", timing=timed(cache="cold"))
    found = unlike(measured(timing=timed(cache="hot")), streamed)
    assert found == {"backend": ("sdpa-flash", "math"), "execution": ("resident", "streamed"), "cache": ("hot", "cold")}
    assert unlike(on_gpu(timing=timed(graph=True)), on_gpu(timing=timed())) == {"graphs": ("replayed", "launched")}
    assert unlike(on_gpu(), on_gpu(), settings=({"cache": "hot"}, {"graphs": "off"})) == {
        "cache": ("hot", "cold"),
        "graphs": ("auto", "off"),
    }


def test_the_odd_session_on_another_back_end_is_not_what_the_side_ran_on() -> None:
    most = [measured(session=number) for number in range(5)]
    assert unlike([*most, measured(session=5, backend="math")], most) == {}


def test_as_many_ranks_on_more_machines_are_not_the_same() -> None:
    case = planned(world_size=4)
    near = on_ranks(case, [1e6] * 4, 1e5, 1e4)
    ranks = [rank.model_copy(update={"host": f"node-{rank.rank // 2}"}) for rank in near.ranks or ()]
    assert unlike(near, near.model_copy(update={"ranks": ranks})) == {"ranks": ("4 on 1 machine", "4 on 2 machines")}
    assert unlike(near, on_ranks(case, [1e6] * 4, 1e5, 1e4, threads=2)) == {"threads": ("1", "2")}


def test_a_result_that_was_not_checked_counts_on_either_side() -> None:
    unchecked = measured(verification=Verification(status="skipped", rows=0, max_error=None, tolerance=0.0))
    assert unlike(unchecked, measured()) == {"verified": ("skipped", "passed")}
    assert unlike(unchecked, unchecked) == {"verified": ("skipped", "skipped")}


def test_throttling_on_one_side_in_half_of_its_sessions() -> None:
    hot, cool = on_gpu(throttled={"sw_thermal_slowdown": 0.05}), on_gpu(throttled={"hw_slowdown": 0.04})
    assert unlike([hot, hot, cool, cool], [cool]) == {"throttled": ("yes", "no")}
    assert unlike([cool, cool, hot], [cool]) == {}
    assert unlike(hot, hot) == {}
    for reason in ("hw_slowdown", "hw_thermal_slowdown", "hw_power_brake_slowdown"):
        assert set(unlike(cool, on_gpu(throttled={reason: 1.0}))) == {"throttled"}


def test_a_power_cap_may_be_what_the_candidate_draws_and_is_no_difference() -> None:
    capped = on_gpu(throttled={"sw_power_cap": 1.0}, verdict=Verdict(kind="throttled", reasons=["clocks held down"]))
    assert unlike(on_gpu(), capped) == {}


def test_fewer_processors_than_before_matter_on_the_cpu_alone() -> None:
    pinned = ({"affinity": 16}, {"affinity": 2})
    assert unlike(measured(), measured(), pinned) == {"affinity": ("16", "2")}
    assert unlike(on_gpu(), on_gpu(), pinned) == {}


def test_a_side_of_a_duet_was_measured_otherwise_than_a_run_and_its_slim_copy_still_says_so() -> None:
    alone, side = run_of([measured()]).header, duet_of([0.0])[1].header
    for header in (side, slim_header(side), slim_header(slim_header(side))):
        found = differences([measured()], [measured()], alone, header, paired=False)
        assert found == [Difference("order", "run", "duet")]
    assert slim_header(side).duet is None
    assert slim_header(alone) == alone


def test_clocks_one_percent_apart() -> None:
    assert unlike(on_gpu(1980), on_gpu(1962)) == {}
    assert unlike(on_gpu(1980), on_gpu(1955)) == {"clocks": ("1980 MHz", "1955 MHz")}
    assert unlike([on_gpu(1980), on_gpu(1100), on_gpu(1980)], [on_gpu(1980)]) == {}  # of one session alone
    assert unlike(on_gpu(0), on_gpu(0)) == unlike(on_gpu(0), on_gpu(1980)) == {}  # no clock


def test_another_process_on_the_gpu_counts_on_either_side_unless_it_computes_nothing() -> None:
    busy = OtherProcess(pid=12, name="python", cpu_share=None, gpu_bytes=1 << 30)
    idle = OtherProcess(pid=13, name="Xorg", cpu_share=None, gpu_bytes=1 << 20)
    assert unlike(on_gpu(others=[idle]), on_gpu(others=[busy, idle])) == {"foreign": ("none", "python (pid 12)")}
    assert set(unlike(on_gpu(others=[busy]), on_gpu(others=[busy]))) == {"foreign"}


def test_a_failure_is_compared_by_its_run_alone() -> None:
    assert unlike(measured(), [failed("oom")]) == {}
    assert unlike(measured(), [failed("oom")], ({}, {"cpu": "Another CPU"})) == {
        "cpu": ("Example CPU at 2.10 GHz", "Another CPU")
    }


def test_allowed_fields_are_set_aside_and_others_refused_by_name() -> None:
    found = [Difference("torch", "1", "2"), Difference("cpu", "a", "b")]
    assert split_allowed(found, ["torch"]) == ([found[1]], [found[0]])
    check_allowed(FIELDS)
    with pytest.raises(UsageError, match=r"--allow colour: no such field: choose from gpu, driver, cpu, torch, "):
        check_allowed(["gpu", "colour"])
