import math
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from longbench_cli.sweep import hardware as hardware_module
from longbench_cli.sweep.hardware import Hardware, free_bytes, hardware_of, load_hardware, usable_cores
from longbench_cli.sweep.options import resolve
from longbench_cli.sweep.plan import PlannedPoint, make_plan
from longbench_cli.sweep.predict import WORKING_SHARE, execution_of, prune_reason
from longbench_cli.sweep.settings import Settings
from longbench_cli.sweep.units import format_bytes, format_flops, format_seconds

GPUS = ("a100", "h100", "h200", "b200")
SETTINGS = Settings()


def point(**cli: object) -> PlannedPoint:
    [only] = make_plan(resolve({"device": "cpu", "impl": "vanilla", "seq": "4k", "threads": 2, **cli})).points
    return only


@pytest.fixture
def no_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hardware_module, "gpu_name", lambda: None)


def test_two_cores_reach_the_rates_that_were_measured() -> None:
    forward, backward = point(seq="8k"), point(seq="8k", pass_="bwd")
    assert forward.cost.flops / forward.predicted_seconds == pytest.approx(0.17e12, rel=0.05)
    assert backward.cost.flops / backward.predicted_seconds == pytest.approx(0.25e12, rel=0.05)


def test_time_follows_the_work_the_cores_and_the_passes() -> None:
    assert point(seq="8k").predicted_seconds == pytest.approx(4 * point(seq="4k").predicted_seconds, rel=0.01)
    assert point(threads=4).predicted_seconds == pytest.approx(point(threads=2).predicted_seconds / 2, rel=0.01)
    both = point(pass_="fwd").predicted_seconds + point(pass_="bwd").predicted_seconds
    assert point(pass_="fwd+bwd").predicted_seconds == pytest.approx(both)


def test_gpus_share_the_work_and_processes_on_one_cpu_share_its_cores(no_gpu: None) -> None:
    one, eight = (point(device="cuda", seq="1m", gpus=gpus) for gpus in ("1", "8"))
    assert one.predicted_seconds == pytest.approx(8 * eight.predicted_seconds, rel=0.01)
    assert one.predicted_bytes / 8 < eight.predicted_bytes < one.predicted_bytes / 4  # its share, and buffers
    assert one.input_bytes == eight.input_bytes
    assert point(gpus="2").predicted_seconds == pytest.approx(point().predicted_seconds)


def test_where_there_is_little_arithmetic_memory_bounds_it(no_gpu: None) -> None:
    sparse = point(device="cuda", impl="dilated", seq="64m", segments="16", dilations="1")
    traffic = sparse.cost.io_bytes / load_hardware("h100").memory_bandwidth
    assert sparse.predicted_seconds == pytest.approx(traffic, rel=0.01)


def test_memory_counts_every_tensor_that_must_exist() -> None:
    like_q = 4096 * 8 * 64 * 2
    lse = 4096 * 8 * 4
    forward = point(kv_heads="2")
    assert forward.input_bytes == like_q + 2 * like_q // 4
    assert forward.predicted_bytes == round(WORKING_SHARE * (2 * like_q + 2 * like_q // 4 + lse))
    backward = point(kv_heads="2", pass_="bwd")
    assert backward.input_bytes == 2 * like_q + 2 * like_q // 4
    assert backward.predicted_bytes == round(WORKING_SHARE * (4 * like_q + 4 * like_q // 4 + lse))


@pytest.mark.parametrize("causal", ["true", "false"])
def test_the_back_end_that_writes_out_its_scores_is_charged_for_them(causal: str) -> None:
    scores = 8 * 4096**2 * 4
    more = point(backend="math", causal=causal).predicted_bytes - point(causal=causal).predicted_bytes
    assert 2 * scores <= more <= 2.01 * scores


def test_vanilla_at_1b_is_pruned_with_both_numbers_in_one_line() -> None:
    reason = prune_reason(hopeless := point(seq="1b"), SETTINGS, 2**60, hopeless.predicted_seconds)
    assert reason is not None
    assert reason.startswith("predicted ")
    assert reason.endswith("days per iteration > --max-point-time 60 s")


def test_pruning_by_time_goes_by_the_prediction_it_is_given() -> None:
    small = point()
    assert prune_reason(small, SETTINGS, 2**40, 59.0) is None
    assert (
        prune_reason(small, Settings(max_point_time=5), 2**40, 4320.0)
        == "predicted 72 min per iteration > --max-point-time 5 s"
    )


def test_pruning_by_memory_counts_all_processes_of_a_cpu_but_one_of_a_gpu(no_gpu: None) -> None:
    on_cpu = point(gpus="2")
    whole = 2 * on_cpu.predicted_bytes
    assert prune_reason(on_cpu, SETTINGS, whole, 1.0) is None
    reason = prune_reason(on_cpu, SETTINGS, whole - 1, 1.0)
    assert reason == f"predicted {format_bytes(whole)} of memory > {format_bytes(whole - 1)} free"
    on_gpu = point(gpus="2", device="cuda")
    assert prune_reason(on_gpu, SETTINGS, on_gpu.predicted_bytes, 1.0) is None
    assert prune_reason(on_gpu, SETTINGS, None, 1.0) is None


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("NVIDIA A100-SXM4-80GB", "a100"),
        ("NVIDIA H100 80GB HBM3", "h100"),
        ("NVIDIA H200", "h200"),
        ("NVIDIA B200", "b200"),
        ("Some GPU of tomorrow", "h100"),
        (None, "h100"),
    ],
)
def test_a_gpu_is_predicted_by_its_own_profile(
    monkeypatch: pytest.MonkeyPatch, name: str | None, expected: str
) -> None:
    monkeypatch.setattr(hardware_module, "gpu_name", lambda: name)
    assert hardware_of("cuda") is load_hardware(expected)


@pytest.mark.parametrize("name", ["cpu", *GPUS])
def test_hardware_profiles_name_their_sources_and_are_plausible(name: str) -> None:
    profile: Hardware = load_hardware(name)
    assert len(profile.source) > 60
    for efficiency in (profile.forward_efficiency, profile.backward_efficiency):
        assert efficiency.keys() == profile.peak_flops.keys() == {"float32", "float16", "bfloat16"}
        assert all(0 < share < 1 for share in efficiency.values())


def test_newer_gpus_are_not_slower() -> None:
    profiles = [load_hardware(name) for name in GPUS]
    for older, newer in pairwise(profiles):
        assert newer.peak_flops["bfloat16"] >= older.peak_flops["bfloat16"]
        assert newer.memory_bandwidth > older.memory_bandwidth


def test_free_memory_of_what_is_here_and_of_what_is_not(no_gpu: None) -> None:
    assert free_bytes("cuda") == load_hardware("h100").memory_bytes
    assert 0 < free_bytes("cpu") < 2**50
    assert usable_cores() >= 1


@given(st.floats(1e-7, 1e12))
def test_a_time_is_written_within_half_a_percent(seconds: float) -> None:
    number, unit = format_seconds(seconds).split(" ")
    sizes: dict[str, Any] = {"us": 1e-6, "ms": 1e-3, "s": 1, "min": 60, "h": 3600, "days": 86400}
    assert math.isclose(float(number.replace(",", "")) * sizes[unit], seconds, rel_tol=5.1e-3)


def test_quantities_as_people_read_them() -> None:
    assert [format_seconds(s) for s in (2e-4, 0.05, 60, 150, 4320, 10_000)] == [
        "200 us", "50 ms", "60 s", "2.5 min", "72 min", "2.78 h",
    ]  # fmt: skip
    assert [format_bytes(b) for b in (512, 1536, 3 * 2**40)] == ["512 B", "1.5 KiB", "3 TiB"]
    assert format_flops(1.07e9) == "1.07 GFLOP"


def test_only_what_does_not_fit_well_is_streamed_and_only_if_it_can_be() -> None:
    dilated, vanilla = point(impl="dilated"), point(impl="vanilla")
    roomy, tight = 4 * dilated.predicted_bytes, 4 * dilated.predicted_bytes - 4
    assert execution_of(dilated, SETTINGS, roomy) == "resident"
    assert execution_of(dilated, SETTINGS, tight) == "streamed"
    assert execution_of(dilated, SETTINGS, None) == "resident"
    assert execution_of(dilated, Settings(stream=True), roomy) == "streamed"
    assert execution_of(vanilla, Settings(stream=True), 1) == "resident"


def test_what_can_be_streamed_fits_any_memory_and_is_pruned_for_time_only_if_asked() -> None:
    long = point(impl="dilated", seq="1b")
    assert prune_reason(long, SETTINGS, 2**30, 1e6) is None
    assert prune_reason(long, SETTINGS, 2**50, 1e6) is None  # resident, on a machine with that much memory
    reason = prune_reason(long, Settings(max_point_time=100), 2**30, 1e6)
    assert reason is not None
    assert reason.endswith("> --max-point-time 100 s")
