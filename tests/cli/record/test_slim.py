"""A slim copy keeps every figure, says what it left out, and names nobody."""

from __future__ import annotations

import statistics

from hypothesis import given
from hypothesis import strategies as st
from sample_runs import make_case, measured, unmeasured

from longbench_cli.analyse.sessions import merged
from longbench_cli.measure.judge import judge
from longbench_cli.measure.types import CpuTelemetry, GpuTelemetry, OtherProcess, Telemetry
from longbench_cli.record.schema import POINT, MeasuredPoint, dump_line
from longbench_cli.record.slim import KEPT, slim

NEIGHBOUR = OtherProcess(pid=4711, name="secret  project", cpu_share=0.4, gpu_bytes=3 << 30)
_NO_GPU = dict.fromkeys(name for name in GpuTelemetry.model_fields if name != "others")


def crowded(times: list[int]) -> MeasuredPoint:
    cpu = CpuTelemetry(
        rss_peak_bytes=1, frequency_mhz=None, governor=None, affinity=[0, 1], others_share=0.4, others=[NEIGHBOUR],
        voluntary_switches=0, energy_j=None,
    )  # fmt: skip
    gpu = GpuTelemetry(**_NO_GPU, others=[NEIGHBOUR])
    telemetry = Telemetry(threads=2, involuntary_switches=3, steal_share=None, cpu=cpu, gpu=gpu)
    point = measured(make_case(), statistics.median(times), noise=0)
    latency = point.latency.model_copy(update={"iterations_ns": times, "turns": [len(times)]})
    verdict = judge(latency, telemetry, 0.01)
    return point.model_copy(update={"latency": latency, "telemetry": telemetry, "verdict": verdict})


@given(st.lists(st.integers(10**9, 2 * 10**9), min_size=1, max_size=500))
def test_the_distribution_stays_and_the_count_is_told(times: list[int]) -> None:
    thin = slim(crowded(times))
    assert isinstance(thin, MeasuredPoint)
    kept = thin.latency.iterations_ns
    assert thin.latency.count == len(times)
    assert len(kept) == min(len(times), KEPT)
    assert (min(kept), max(kept)) == (min(times), max(times))
    places = iter(times)
    assert all(time in places for time in kept)  # in the order they were taken
    middle = sorted(times)
    assert middle[(len(times) - 1) // 2 - 1 if len(times) > 2 else 0] <= statistics.median(kept)
    assert statistics.median(kept) <= middle[min(len(times) // 2 + 1, len(times) - 1)]
    assert slim(thin) == thin


def test_it_names_nobody_but_still_says_that_somebody_was_there() -> None:
    full = crowded([10**9 + number for number in range(300)])
    assert full.verdict is not None
    assert "secret project (pid 4711)" in full.verdict.reasons[0]
    thin = slim(full)
    line = dump_line(thin)
    assert "secret" not in line
    assert "4711" not in line
    assert POINT.validate_json(line) == thin
    assert isinstance(thin, MeasuredPoint)
    assert thin.verdict is not None
    assert thin.verdict.kind == full.verdict.kind == "contended"
    assert "other processes took 40% of the processors: a process 40%" in thin.verdict.reasons[0]
    assert thin.telemetry is not None
    assert thin.telemetry.gpu is not None
    assert thin.telemetry.gpu.others is not None
    assert thin.telemetry.gpu.others[0].gpu_bytes == 3 << 30
    assert (thin.latency.median_ns, thin.memory, thin.cost) == (full.latency.median_ns, full.memory, full.cost)


def test_sessions_of_slim_copies_count_all_iterations() -> None:
    sessions = [
        slim(crowded([10**9 + number for number in range(300)])).model_copy(update={"session": k}) for k in (0, 1)
    ]
    point = merged(sessions, None)
    assert isinstance(point, MeasuredPoint)
    assert point.latency.count == 600


def test_what_a_failed_worker_printed_stays_at_home() -> None:
    point = unmeasured(make_case(), "crashed", "signal 11", stderr_tail=["/home/me/secret.py", "boom"])
    thin = slim(point)
    assert "secret" not in dump_line(thin)
    assert (thin.status, thin.reason) == ("crashed", "signal 11")
