"""From what ranks saw to what is recorded: verdicts that name the rank, memory, energy, and who is no disturbance."""

from __future__ import annotations

import os
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist
from fake_machine import write_machine, write_process, write_times
from worlds import run_ranks

from attention_impls.api import Unsupported
from attention_impls.distributed import comm
from attention_impls.distributed.comm import Communicator
from attention_impls.distributed.traffic import all_gather
from longbench_cli.measure.clock import CpuTimer
from longbench_cli.measure.ranks import job
from longbench_cli.measure.ranks.breakdown import Breakdown
from longbench_cli.measure.ranks.control import GlooControl
from longbench_cli.measure.ranks.job import Place, take_device
from longbench_cli.measure.ranks.model_subject import batch_share
from longbench_cli.measure.ranks.result import Answers, communication_of, of_worst, tokens_of_energy
from longbench_cli.measure.ranks.sharing import Sharing
from longbench_cli.measure.telemetry.processes import busiest, is_fellow, seconds_of, snapshot
from longbench_cli.measure.telemetry.watch import Watch
from longbench_cli.measure.types import CpuTelemetry, GpuTelemetry, Latency, Telemetry, Verification
from longbench_cli.sweep.case import Case

FIXTURES = Path(__file__).resolve().parents[3] / "fixtures"
SECOND = 10**9


def saw(others: float = 0.0, steal: float = 0.0, throttled: dict[str, float] | None = None) -> Telemetry:
    cpu = CpuTelemetry(
        rss_peak_bytes=None, frequency_mhz=None, governor=None, affinity=[0, 1], others_share=others, others=[],
        voluntary_switches=None, energy_j=None,
    )  # fmt: skip
    gpu = dict.fromkeys(GpuTelemetry.model_fields) | {"throttled": throttled}
    return Telemetry(
        threads=1, involuntary_switches=None, steal_share=steal, cpu=cpu,
        gpu=GpuTelemetry.model_validate(gpu) if throttled is not None else None,
    )  # fmt: skip


def answer(rank: int, telemetry: Telemetry | None, host: str = "one", **memory: int | None) -> dict[str, Any]:
    peaks = {"peak_bytes": 10, "nvml_peak_bytes": None, "reserved_peak_bytes": None} | memory
    return {
        "rank": {
            "rank": rank, "host": host, "device": "cpu", "threads": 1, "tokens": 5, "pairs": 3,
            "iterations_ns": [SECOND], "median_ns": SECOND, "compute_ns": None, "peak_bytes": peaks["peak_bytes"],
            "traffic": {}, "telemetry": telemetry.model_dump() if telemetry is not None else None,
        },
        "memory": {"input_bytes": 100, **peaks},
    }  # fmt: skip


STEADY = Latency(
    iterations_ns=[SECOND] * 10, median_ns=SECOND, ci95_ns=(SECOND, SECOND), mean_ns=SECOND, p95_ns=SECOND, noise=0.0,
    stopped_by="converged", effective_iterations=10.0,
)  # fmt: skip


def test_a_rank_that_was_held_back_is_named() -> None:
    answers = Answers.of(
        [answer(0, saw()), answer(1, saw(throttled={"sw_thermal_slowdown": 0.5})), answer(2, None)], None
    )
    verdict = answers.verdict(STEADY, 0.01)
    assert verdict.kind == "throttled"
    assert verdict.reasons == ["rank 1: clocks held down by sw_thermal_slowdown in 50% of the iterations"]
    assert Answers.of([answer(0, saw()), answer(1, saw())], None).verdict(STEADY, 0.01).kind == "trusted"


def test_the_processors_of_a_machine_are_told_of_once_by_the_rank_that_saw_most() -> None:
    answers = Answers.of(
        [answer(0, saw(others=0.2)), answer(1, saw(others=0.3, steal=0.02)), answer(2, saw(others=0.1), host="two")],
        None,
    )
    assert answers.verdict(STEADY, 0.01).reasons == [
        "rank 1: other processes took 30% of the processors",
        "rank 1: the hypervisor took 2% of the processors (steal time)",
        "rank 2: other processes took 10% of the processors",
    ]


def test_memory_is_all_inputs_and_the_peak_of_the_rank_that_needs_most() -> None:
    answers = Answers.of([answer(0, None, peak_bytes=7), answer(1, None, peak_bytes=9, nvml_peak_bytes=4)], None)
    memory = answers.memory()
    assert (memory.input_bytes, memory.peak_bytes, memory.nvml_peak_bytes) == (200, 9, 4)
    assert memory.reserved_peak_bytes is None
    compute = Answers.of([answer(0, None), answer(1, None)], Breakdown(9, 8, 1, (8, 7))).ranks
    assert [one.compute_ns for one in compute] == [8, 7]


def test_what_is_recorded_of_communication() -> None:
    gathered: Any = ({"all_gather": all_gather(100, 250, 2)}, {"all_gather": all_gather(150, 250, 2)})
    sharing = Sharing("sequence", "gather", (), (2, 3), (30, 50), gathered)
    found = communication_of(sharing, Breakdown(100, 80, 40, (80, 60)), 0.1, [])
    assert (found.received_bytes, found.received_bytes_most) == (250, 150)
    assert (found.exposed_ns, found.overlap) == (20, 0.5)
    assert (found.imbalance, found.imbalance_measured) == (pytest.approx(0.25), pytest.approx(1 / 7))
    silent = communication_of(
        Sharing("batch", "data", (), (2, 2), None, ({}, {})), Breakdown(100, 80, 40, (1, 1)), 0, []
    )
    assert (silent.communication_ns, silent.exposed_ns, silent.overlap, silent.imbalance) == (0, 0, None, None)


@pytest.mark.parametrize(
    ("device", "shares", "tokens"), [("cuda", "sequence", 2 * 5), ("cpu", "sequence", 2 * 11), ("cpu", "batch", 11)]
)
def test_energy_is_of_a_gpu_or_of_all_ranks_of_a_machine(device: str, shares: Any, tokens: int) -> None:
    case: Any = type("Case", (), {"device": device, "batch": 2})()
    sharing = Sharing(shares, "x", (), (5, 6, 7), None, ())
    assert tokens_of_energy(case, sharing, ["one", "one", "two"], 0) == tokens


def test_the_verification_recorded_came_closest_to_its_tolerance() -> None:
    def found(error: float | None, tolerance: float) -> Verification:
        return Verification(status="passed", rows=1, max_error=error, tolerance=tolerance)

    assert of_worst([found(0.1, 1.0), found(0.01, 0.02), found(None, 1.0)]) == found(0.01, 0.02)


def test_other_ranks_of_the_point_are_no_disturbance(tmp_path: Path) -> None:
    """Of 10 s of two processors, the ranks 70 and 71 worked 9 s, this process hardly, and a stranger 2 s."""
    write_machine(tmp_path)
    strangers = (70, 71, 72)
    for pid in strangers:
        write_process(tmp_path, pid, f"p{pid}")
    before = snapshot(tmp_path)
    for pid, seconds in zip(strangers, (5, 4, 2), strict=True):
        write_process(tmp_path, pid, f"p{pid}", seconds=seconds)
    assert seconds_of(tmp_path, [70, 71, 9999]) == 9
    assert [one.pid for one in busiest(before, snapshot(tmp_path), 10.0, [0, 1], tmp_path, [70, 71])] == [72]


@pytest.mark.parametrize("own", [(), (70,)])
def test_what_own_processes_take_of_the_processors_is_not_others_share(tmp_path: Path, own: tuple[int, ...]) -> None:
    write_machine(tmp_path)
    write_process(tmp_path, 70, "rank")
    with Watch("cpu", own=own, root=tmp_path, period_ns=3600 * SECOND) as watch:
        processors = sorted(os.sched_getaffinity(0))
        write_times(tmp_path, {number: [1000, *[0] * 7] for number in processors})
        write_process(tmp_path, 70, "rank", seconds=1000 * len(processors))
    cpu = watch.telemetry([], 1).cpu
    assert cpu is not None
    assert cpu.others_share == (0.0 if own else 1.0)
    assert [one.pid for one in cpu.others] == ([] if own else [70])


def test_ranks_of_another_point_of_the_sweep_wait_for_their_turn(tmp_path: Path) -> None:
    """A launcher stands between them and their guard; those of another sweep (600) are others."""
    rank = ("python", "-m", "longbench_cli.measure.ranks.process", "--folder", "x")
    launch = ("python", "-m", "longbench_cli.execute.launch", "--result-fd", "5")
    write_process(tmp_path, 500, "longbench", parent=400)
    write_process(tmp_path, 600, "longbench", parent=400)
    for pid, sweep in ((os.getpid(), 500), (40, 500), (41, 600)):
        guard, launcher = pid + 1_000_000, pid + 2_000_000
        write_process(tmp_path, guard, "guard", parent=sweep)
        write_process(tmp_path, launcher, "python", parent=guard, command=launch)
        write_process(tmp_path, pid, "python", parent=launcher, command=rank)
    assert {pid: is_fellow(tmp_path, pid) for pid in (40, 41)} == {40: True, 41: False}


def test_ranks_line_up_right_before_the_clock_starts() -> None:
    done: list[str] = []
    times = iter([5, 12])

    def clock() -> int:
        done.append("clock")
        return next(times)

    timer = CpuTimer(lambda: done.append("flush"), clock, lambda: done.append("line up"))
    assert timer.bind(lambda: done.append("work"))() == 7
    assert done == ["flush", "line up", "clock", "work", "clock"]


def test_torchrun_says_which_rank_this_is() -> None:
    environment = {"RANK": "5", "WORLD_SIZE": "8", "LOCAL_RANK": "1", "LOCAL_WORLD_SIZE": "4"}
    assert Place.of(environment) == Place(5, 8, 1, 4)
    del environment["LOCAL_WORLD_SIZE"]
    assert Place.of(environment).local_size == 8


def test_more_ranks_than_gpus_are_refused_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(job.torch.cuda, "device_count", lambda: 2)
    with pytest.raises(Unsupported, match="rank 6: 4 ranks on this machine, but 2 GPUs"):
        take_device(Place(6, 8, 2, 4), "cuda")
    assert take_device(Place(6, 8, 2, 4), "cpu") == "cpu"


def test_no_group_of_a_job_gives_up_before_whoever_watches_the_point(monkeypatch: pytest.MonkeyPatch) -> None:
    """A group of its own would else have torch's timeout: 10 minutes for NCCL."""
    made: list[dict[str, Any]] = []
    store = dist.TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)
    monkeypatch.setenv("GLOO_SOCKET_IFNAME", "lo")
    joined = job.join(Place(0, 1, 0, 1), "cpu", {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(store.port)})
    try:
        monkeypatch.setattr(comm.dist, "new_group", lambda _ranks, **given: made.append(given))
        joined.groups.prepare([range(1, 3)])
    finally:
        dist.destroy_process_group()
    assert [given["timeout"] >= timedelta(days=1) for given in made] == [True]


def _verdict_of_shares(comm: Communicator, summed: bool) -> str | None:
    """Of a model on two sequences a rank, whose gradients are summed as they should, or left as each rank's."""
    import sys

    sys.path.insert(0, str(FIXTURES))
    import tiny_models

    control = GlooControl(comm.rank, comm.world_size, comm._groups.of(range(comm.world_size)))
    case = Case.model_validate(
        {
            "impl": "tiny_models:right", "kind": "model", "backend": "auto", "pass": "bwd", "seq_len": 40, "batch": 4,
            "heads": 1, "kv_heads": 1, "head_dim": 8, "dtype": "float32", "causal": True, "world_size": 2,
            "device": "cpu", "options": {},
        }
    )  # fmt: skip

    class Unsummed:
        rank, world_size = comm.rank, comm.world_size

        def all_reduce(self, terms: torch.Tensor) -> Any:
            return type("Done", (), {"wait": lambda _self: terms * comm.world_size})()

    way: Any = comm if summed else Unsummed()
    share = batch_share(case, tiny_models.right.model, None, 0, range(2 * comm.rank, 2 * comm.rank + 2), way, control)
    return share.verify(share.draw()).reason


@pytest.mark.parametrize("summed", [True, False])
def test_gradients_that_are_not_the_whole_batchs_are_found(summed: bool) -> None:
    """Each rank's own gradients are right, and its own reference says so."""
    reasons = run_ranks(2, _verdict_of_shares, summed)
    if summed:
        assert reasons == [None, None]
    else:
        assert reasons[0] == reasons[1]
        assert "gradient of" in reasons[0]
        assert "differs from the float64 reference of the whole batch" in reasons[0]
