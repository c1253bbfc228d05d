"""What several ranks change in a plan: sizes, algorithms, what is refused, what is exchanged and held."""

from __future__ import annotations

import io
import json
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console

from attention_impls.api import Implementation, Parallel, get_implementation
from attention_impls.distributed import sharding
from attention_impls.distributed.traffic import Count, Traffic
from attention_impls.shape import AttentionShape
from longbench_cli.commands.plan_view import print_plan
from longbench_cli.commands.run_file import from_argv, make_header
from longbench_cli.errors import UsageError
from longbench_cli.sweep import variants
from longbench_cli.sweep.options import resolve
from longbench_cli.sweep.parallel import buffer_bytes, received_bytes, refusal, traffic_of
from longbench_cli.sweep.plan import Plan, PlannedPoint, make_plan
from longbench_cli.sweep.predict import bytes_here, prune_reason
from longbench_cli.sweep.settings import Settings
from longbench_cli.sweep.workload import workload


def plan(**cli: object) -> Plan:
    return make_plan(resolve({"device": "cpu", "impl": "vanilla", "threads": 2, **cli}))


def points(**cli: object) -> Sequence[PlannedPoint]:
    return plan(**cli).points


def refused(**cli: object) -> str:
    with pytest.raises(UsageError) as caught:
        plan(**cli)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_one_rank_names_no_algorithm_and_its_key_is_what_it_was() -> None:
    key = "vanilla/auto/fwd/n8192/b1/h8/kv8/d64/bfloat16/full/w1/cpu"
    [alone] = points(seq="8k")
    assert alone.key == key
    found = points(seq="8k", gpus="1,2", parallel="ulysses,ring")
    assert [(p.case.world_size, p.case.options["parallel"]) for p in found] == [
        (1, None), (2, "ulysses"), (2, "ring"),
    ]  # fmt: skip
    assert found[0].key == key
    assert found[1].key == "vanilla/auto/fwd/n8192/b1/h8/kv8/d64/bfloat16/full/w2/cpu/parallel=ulysses"


def test_several_ranks_have_the_first_algorithm_unless_one_is_chosen() -> None:
    assert [p.case.options["parallel"] for p in points(seq="8k", gpus="2,4")] == ["ring", "ring"]
    [dilated] = points(impl="dilated", seq="8k", gpus="2")
    assert "parallel" not in dilated.case.options


def test_weak_scaling_gives_every_rank_as_much() -> None:
    weak = points(seq="1k,2k", gpus="1,2,4", scaling="weak")
    assert [(p.case.seq_len, p.case.world_size) for p in weak] == [
        (1024, 1), (2048, 2), (4096, 4), (2048, 1), (4096, 2), (8192, 4),
    ]  # fmt: skip
    strong = points(seq="1k", gpus="1,2", scaling="strong")
    assert [(p.case.seq_len, p.case.world_size) for p in strong] == [(1024, 1), (1024, 2)]
    models = points(impl="longnet", seq="1k", batch="2", gpus="1,4", scaling="weak")
    assert [(p.case.seq_len, p.case.batch) for p in models] == [(1024, 2), (1024, 8)]


@pytest.mark.parametrize(
    ("cli", "parts"),
    [
        ({"parallel": "ring"}, ("--parallel", "no effect on one rank", "--gpus 2")),
        ({"scaling": "weak"}, ("--scaling", "no effect on one rank", "--gpus 2")),
        ({"parallel": "rng", "gpus": "2"}, ("--parallel rng", "did you mean ring?", "ulysses")),
        ({"parallel": "ring", "impl": "dilated", "gpus": "2"}, ("--parallel", "(dilated)", "vanilla")),
        ({"scaling": "strog", "gpus": "2"}, ("--scaling 'strog'", "did you mean strong?")),
        ({"scaling": "strong,weak", "gpus": "2"}, ("--scaling 'strong,weak'", "one of")),
        ({"scaling": "weak", "gpus": "4", "seq": str(2**50)}, ("--scaling weak", "1048576b tokens", "4 ranks")),
        ({"gpus": "32k"}, ("--gpus", "less than or equal to 16384")),
    ],
)
def test_what_cannot_be_meant_is_one_line(cli: dict[str, object], parts: tuple[str, ...]) -> None:
    message = refused(**cli)
    for part in parts:
        assert part in message


def test_a_profile_says_it_alike_and_may_idle_under_another_command_line(tmp_path: Path) -> None:
    file = tmp_path / "ranks.toml"
    file.write_text('impl = "vanilla"\nseq = "1k"\ngpus = [1, 2]\nparallel = ["ring", "ulysses"]\nscaling = "weak"\n')
    found = make_plan(resolve({"profile": str(file), "device": "cpu"})).points
    assert [(p.case.seq_len, p.case.options["parallel"]) for p in found] == [
        (1024, None), (2048, "ring"), (2048, "ulysses"),
    ]  # fmt: skip
    [alone] = make_plan(resolve({"profile": str(file), "device": "cpu", "gpus": "1"})).points
    assert alone.case.world_size == 1


def test_a_resume_asks_for_the_same_again() -> None:
    asked = {
        "impl": "vanilla", "seq": "1k", "gpus": "1,2", "parallel": "ring", "scaling": "weak", "device": "cpu",
    }  # fmt: skip
    first = make_plan(resolve(asked))
    again = make_plan(resolve(from_argv(make_header(first, asked), Path("run.jsonl"))))
    assert [point.key for point in again.points] == [point.key for point in first.points]


@pytest.mark.parametrize("name", ["sparse", "sliding-window"])
def test_what_has_no_way_of_sharing_a_sequence_says_why(name: str) -> None:
    one, two = points(impl=name, seq="1k", gpus="1,2")
    assert one.refused is None
    assert two.refused is not None
    assert "sequence parallelism is not defined for it" in two.refused
    assert two.cost.comm_bytes == 0


def test_the_ranks_of_a_model_need_a_batch_that_they_can_share() -> None:
    even, odd = points(impl="longnet", seq="1k", batch="4,3", gpus="2")
    assert even.refused is None
    assert odd.refused is not None
    assert "3 is no multiple of 2" in odd.refused
    assert "--batch 4" in odd.refused


def test_the_ranks_of_a_model_sum_their_gradients_and_exchange_nothing_forward() -> None:
    model = get_implementation("longnet")
    forward, step = points(impl="longnet", seq="1k", batch="4", gpus="4", pass_="fwd,step", dtype="fp32")
    assert traffic_of(forward.case, model) == ({},) * 4
    assert forward.cost.comm_bytes == 0
    size = step.details["parameters"] * 4
    each = Count(1, size, 2 * size * 3 // 4, 2 * size * 3 // 4)
    assert traffic_of(step.case, model) == ({"all_reduce": each},) * 4
    assert step.cost.comm_bytes == 4 * each.received


def test_a_rank_of_a_model_has_all_tokens_of_its_sequences() -> None:
    """A schedule by tokens a rank is of those that share a sequence; no rank of a model does."""
    one, two = points(impl="longnet", seq="16k", batch="2", gpus="1,2", schedule="runtime")
    assert one.details == two.details
    assert one.cost.flops == two.cost.flops
    assert two.predicted_bytes > one.predicted_bytes / 2  # each has all of the weights


def made_up(refuse: str | None = None, pairs: tuple[int, ...] = (1, 3)) -> Implementation:
    """Vanilla attention whose two ranks gather 100 and 300 bytes, and do unequal work."""

    def traffic(_shape: AttentionShape, _options: object, _passes: str, _element: int) -> tuple[Traffic, ...]:
        return tuple({"all_gather": Count(1, 400, received, received)} for received in (300, 100))

    parallel = Parallel(
        algorithms=("made-up",),
        refuse=lambda _shape, _options: refuse,
        spans=lambda shape, _options, rank: sharding.contiguous(shape, rank),
        traffic=traffic,
        pairs=lambda _shape, _options: pairs,
        load=lambda: None,  # type: ignore[arg-type, return-value]
    )
    return replace(get_implementation("vanilla"), name="mine", defaults={}, parallel=parallel)


def test_the_bytes_of_all_ranks_are_the_cost_and_buffers_are_held() -> None:
    case = points(seq="1k", gpus="2")[0].case
    work = workload(case, made_up())
    assert work.cost.comm_bytes == 400
    assert work.peak_bytes == workload(case, made_up(refuse="no")).peak_bytes + 400
    assert workload(case, made_up(refuse="no")).cost.comm_bytes == 0


def test_messages_to_and_fro_take_two_buffers_and_what_is_begun_at_once_takes_all() -> None:
    ring: Traffic = {"send_recv": Count(8, 800, 800, 800)}
    gather: Traffic = {"all_gather": Count(2, 700, 300, 400), "reduce_scatter": Count(1, 50, 20, 20)}
    assert buffer_bytes([ring]) == 200
    assert buffer_bytes([ring, gather]) == 750
    assert received_bytes([ring, gather]) == 1220


def test_the_slowest_rank_sets_the_time(monkeypatch: pytest.MonkeyPatch) -> None:
    def time(impl: Implementation, device: str, threads: int) -> float:
        monkeypatch.setattr(variants, "get_implementation", lambda _name: impl)
        [point] = make_plan(
            resolve({"impl": impl.name, "seq": "64k", "gpus": "2", "device": device, "threads": threads})
        ).points
        return point.predicted_seconds

    even, uneven = made_up(pairs=(2, 2)), made_up()
    assert time(uneven, "cuda", 2) == pytest.approx(1.5 * time(even, "cuda", 2), rel=0.01)
    assert time(uneven, "cpu", 2) == pytest.approx(1.5 * time(even, "cpu", 2), rel=0.01)
    # Two ranks of one core take turns on it: all of the work is done by it, however it is shared.
    assert time(uneven, "cpu", 1) == pytest.approx(time(even, "cpu", 1), rel=0.01)
    assert time(even, "cpu", 3) == pytest.approx(time(even, "cpu", 2), rel=0.01)  # a core of three is idle


def test_ranks_of_a_processor_share_its_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TORCHELASTIC_RUN_ID", raising=False)
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "1")  # of a job of one process, say, which starts the ranks itself
    [point] = points(seq="64k", gpus="4")
    assert bytes_here(point) == 4 * point.predicted_bytes
    assert prune_reason(point, Settings(), bytes_here(point), 1.0) is None
    assert "of memory" in str(prune_reason(point, Settings(), bytes_here(point) - 1, 1.0))
    for name, value in (("TORCHELASTIC_RUN_ID", "7"), ("WORLD_SIZE", "4"), ("LOCAL_WORLD_SIZE", "2")):
        monkeypatch.setenv(name, value)  # torchrun has two of them on a node
    assert bytes_here(point) == 2 * point.predicted_bytes
    [gpu] = make_plan(resolve({"impl": "vanilla", "seq": "64k", "gpus": "4", "device": "cuda"})).points
    assert bytes_here(gpu) == gpu.predicted_bytes


def test_several_ranks_are_never_streamed() -> None:
    assert [p.streams for p in points(impl="dilated", seq="8k", gpus="1,2")] == [True, False]


def shown(*, as_json: bool = False, **cli: object) -> str:
    out = io.StringIO()
    console = Console(file=out, width=220, highlight=False)
    print_plan(plan(**cli), as_json=as_json, console=console, free=lambda _device: 2**40)
    return out.getvalue()


def test_the_plan_lists_what_is_refused_with_its_reason() -> None:
    text = shown(impl="vanilla,sparse", seq="1k", gpus="1,2")
    [row] = [line for line in text.splitlines() if "unsupported: " in line]
    assert row.startswith("sparse")
    assert "sequence parallelism is not defined" in row
    assert "4 points: 3 to measure, 0 pruned, 1 unsupported" in text
    assert "exchanged" in text.splitlines()[0]
    rows = [line for line in text.splitlines() if line.startswith(("vanilla ", "sparse "))]
    assert ["parallel=ring" in row for row in rows] == [False, False, True, False]
    assert not any("pattern=strided" in row for row in rows)  # what does not vary is said once, below
    assert "sparse: pattern=strided" in text
    told = [json.loads(line) for line in shown(as_json=True, impl="vanilla,sparse", seq="1k", gpus="1,2").splitlines()]
    assert [(one["case"]["world_size"], one["unsupported_reason"] is None) for one in told] == [
        (1, True), (1, True), (2, True), (2, False),
    ]  # fmt: skip
    assert told[2]["cost"]["comm_bytes"] > 0


def test_a_refused_point_is_not_also_pruned() -> None:
    text = shown(impl="sparse", seq="1b", gpus="2")
    assert "1 points: 0 to measure, 0 pruned, 1 unsupported" in text


def test_one_rank_can_always_be_run() -> None:
    [point] = points(impl="sparse", seq="1k")
    assert refusal(point.case, get_implementation("sparse")) is None
    assert traffic_of(point.case, get_implementation("sparse")) == ({},)


def test_planning_ranks_needs_no_torch() -> None:
    code = (
        "import sys\n"
        "from longbench_cli.sweep.options import resolve\n"
        "from longbench_cli.sweep.plan import make_plan\n"
        "asked = {'impl': 'dilated,vanilla,longnet', 'seq': '8k:1m', 'batch': 8, 'pass': 'fwd,bwd', 'device': 'cpu',\n"
        "         'gpus': '1,3,8', 'parallel': 'ring,zigzag,ulysses,allgather'}\n"
        "assert make_plan(resolve(asked)).points\n"
        "assert 'torch' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
