"""Points of several ranks in real processes: right ones are timed, and what is wrong on one rank ends them all."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from rank_points import Zygote

from attention_impls.api import get_implementation
from longbench_cli.execute.states import behind
from longbench_cli.measure.interval import median
from longbench_cli.measure.ranks.process import ENDED
from longbench_cli.record.schema import MeasuredPoint, dump_line
from longbench_cli.sweep.parallel import traffic_of

FIXTURES = Path(__file__).resolve().parents[3] / "fixtures"
SHARED = {"heads": 6, "kv_heads": 6, "seq_len": 96, "batch": 1}
DILATED = {"impl": "dilated", "options": {"segments": [16, 96], "dilations": [1, 2]}, **SHARED}


def vanilla(parallel: str, **change: Any) -> dict[str, Any]:
    return {"impl": "vanilla", "options": {"parallel": parallel}, **SHARED, **change}


@pytest.fixture(autouse=True)
def fixtures(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(FIXTURES))


@pytest.fixture(scope="module")
def ranks() -> Iterator[Zygote]:
    with Zygote() as zygote:
        yield zygote


@pytest.mark.parametrize(
    "change",
    [
        {"pass": "fwd+bwd"},
        {"pass": "bwd", "world_size": 3, "options": {"layout": "zigzag"}, "seq_len": 53},
        {"pass": "fwd", "world_size": 1},
        {"pass": "fwd+bwd", "world_size": 3, **DILATED},
        {"pass": "bwd", "world_size": 2, "causal": False, **DILATED},
        {"pass": "fwd+bwd", "world_size": 3, **vanilla("ring")},
        {"pass": "fwd+bwd", "world_size": 2, **vanilla("zigzag", dtype="bfloat16")},
        {"pass": "bwd", "world_size": 3, **vanilla("ulysses")},
        {"pass": "fwd", "world_size": 2, **vanilla("allgather")},
    ],
    ids=lambda change: "-".join(str(change.get(name, "")) for name in ("impl", "pass", "world_size", "options")),
)
def test_a_point_is_verified_timed_and_taken_apart(ranks: Zygote, tmp_path: Path, change: dict[str, Any]) -> None:
    ended = ranks.run(tmp_path, **change)
    record, case = ended.record, ended.case
    assert set(ended.codes) == {0}
    assert MeasuredPoint.model_validate_json(dump_line(record)) == record
    assert record.verification.status == "passed"
    assert 0 < (record.verification.max_error or 0) <= record.verification.tolerance
    assert record.ranks is not None
    assert [one.rank for one in record.ranks] == list(range(case.world_size))
    slowest = [max(times) for times in zip(*(one.iterations_ns for one in record.ranks), strict=True)]
    assert slowest == record.latency.iterations_ns
    assert [one.median_ns for one in record.ranks] == [median(sorted(one.iterations_ns)) for one in record.ranks]
    assert sum(one.tokens for one in record.ranks) == case.seq_len
    assert record.memory.peak_bytes == max(one.peak_bytes or 0 for one in record.ranks)
    per_token = case.batch * case.head_dim * case.element_bytes
    assert record.memory.input_bytes == case.seq_len * per_token * (case.heads + 2 * case.kv_heads)
    assert all(one.telemetry is not None for one in record.ranks)
    assert behind(ended.states) is None

    impl = get_implementation(case.impl)
    assert impl.parallel is not None
    predicted = impl.parallel.traffic(case.shape, case.options, case.pass_, case.element_bytes)
    assert case.world_size == 1 or predicted == traffic_of(case, impl)
    counted = [
        {kind: tuple(count.model_dump().values()) for kind, count in one.traffic.items()} for one in record.ranks
    ]
    assert counted == [
        {kind: (count.calls, count.size, count.sent, count.received) for kind, count in one.items()}
        for one in predicted
    ]
    found = record.communication
    assert found is not None
    received = [sum(count.received for count in one.values()) for one in predicted]
    assert (found.received_bytes, found.received_bytes_most) == (sum(received), max(received))
    assert record.cost.comm_bytes == sum(received)
    assert found.shares == "sequence"
    assert found.algorithm == case.options.get("parallel", found.algorithm)
    computed = [one.compute_ns or 0.0 for one in record.ranks]
    assert found.imbalance_measured == pytest.approx(max(computed) * len(computed) / sum(computed) - 1)
    assert 0 <= found.straggler_spread <= 1
    assert {one.kind for one in found.bandwidth} == {kind for one in predicted for kind in one if any(received)}
    assert all(one.peak_bus_bytes_per_s >= one.bus_bytes_per_s > 0 for one in found.bandwidth)
    if case.world_size == 1:
        assert (found.communication_ns, found.exposed_ns, found.overlap) == (0, 0, None)
    else:
        assert found.exposed_ns == max(0.0, found.full_ns - found.compute_ns)
        assert found.communication_ns > 0
        assert found.overlap == min(1.0, max(0.0, 1 - found.exposed_ns / found.communication_ns))


@pytest.mark.parametrize(
    ("name", "change", "says"),
    [
        ("wrong_output", {}, r"rank 1: output: \d+ of \d+ sampled rows differ .* query (2[5-9]|[34]\d): error 0.0"),
        ("unwritten", {"world_size": 3}, r"rank 1: output: .* query 33"),
        ("wrong_gradient", {"pass": "bwd", "causal": False}, r"rank 1: dv: (differs|not zero)"),
        ("leaky", {"dtype": "bfloat16", "options": {"layout": "zigzag"}}, r"rank 1: causal: \d+ rows at or before"),
        ("wrong_prediction", {}, r"exchanged 2 calls of size 12800 .*6400 received\) by all_gather .* but 4 calls"),
        ("held_by_none", {}, r"the ranks' shares end at 10 of 50"),
    ],
)
def test_what_is_wrong_on_one_rank_is_incorrect_and_names_it(
    ranks: Zygote, tmp_path: Path, name: str, change: dict[str, Any], says: str
) -> None:
    ended = ranks.run(tmp_path, impl=f"gathered_attention:{name}", **change)
    assert ended.result["status"] == "incorrect", ended.result
    assert re.match(says, ended.result["reason"]), ended.result["reason"]
    assert "latency" not in ended.result
    assert set(ended.codes) == {0}


def test_a_rank_without_memory_ends_the_point_and_nobody_hangs(ranks: Zygote, tmp_path: Path) -> None:
    ended = ranks.run(tmp_path, impl="gathered_attention:out_of_memory", world_size=3)
    assert (ended.result["status"], ended.result["reason"]) == ("oom", "rank 1: not enough of it")
    assert ended.codes[1] == ENDED
    assert 0 not in ended.codes


def test_where_one_rank_has_no_room_communication_is_not_taken_apart(ranks: Zygote, tmp_path: Path) -> None:
    ended = ranks.run(tmp_path, impl="gathered_attention:no_room")
    assert set(ended.codes) == {0}
    assert ended.record.communication is None
    assert [one.compute_ns for one in ended.record.ranks or []] == [None, None]


@pytest.mark.parametrize(
    ("name", "code", "words"),
    [("faulty", 1, "ZeroDivisionError: a bug of its own"), ("killed", -9, "")],
)
def test_a_rank_that_fails_says_why_and_has_no_result(
    ranks: Zygote, tmp_path: Path, name: str, code: int, words: str
) -> None:
    ended = ranks.run(tmp_path, impl=f"gathered_attention:{name}")
    assert ended.codes[1] == code
    assert 0 not in ended.codes
    assert not any(message["type"] == "result" for message in ended.said)
    assert words in ended.printed


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"impl": "gathered_attention:unsupported"}, "no such kernel"),
        ({"settings": {"graphs": "on"}}, "--graphs on: what several ranks exchange"),
        ({"pass": "step"}, "step is an optimiser step: only models have parameters"),
        ({"seq_len": 3}, "3 tokens cannot be cut into 4 parts for 2 ranks"),
        ({**vanilla("ring"), "backend": "sdpa-cudnn"}, "back end 'sdpa-cudnn' runs on cuda only"),
        ({"impl": "sparse"}, "sparse cannot be shared by 2 ranks"),
        ({"impl": "tiny_models:right", "kind": "model", "batch": 3}, "the 2 ranks of a model share the batch"),
    ],
)
def test_what_ranks_cannot_do_is_unsupported(ranks: Zygote, tmp_path: Path, change: dict[str, Any], says: str) -> None:
    ended = ranks.run(tmp_path, **change)
    assert ended.result["status"] == "unsupported", ended.result
    assert ended.result["reason"].startswith(says)
    assert ENDED in ended.codes


def test_rank_0_waits_for_turns_and_no_rank_works_before(ranks: Zygote, tmp_path: Path) -> None:
    seen: list[str] = []

    def answer(message: dict[str, Any]) -> bytes | None:
        seen.append(message["type"])
        return b"turn\n" if message["type"] == "waiting" else None

    ended = ranks.run(tmp_path, on_message=answer)
    assert ended.record.latency.iterations_ns
    assert seen[0] == "waiting"
    assert seen[-1] == "result"


@pytest.mark.parametrize("pass_", ["fwd", "bwd", "fwd+bwd", "step"])
def test_the_ranks_of_a_model_share_the_batch(ranks: Zygote, tmp_path: Path, pass_: str) -> None:
    change = {"impl": "tiny_models:right", "kind": "model", "batch": 6, "heads": 1, "kv_heads": 1, "world_size": 3}
    ended = ranks.run(tmp_path, **change, **{"pass": pass_})
    record = ended.record
    assert record.ranks is not None
    assert [(one.tokens, one.pairs) for one in record.ranks] == [(2 * 50, None)] * 3
    assert record.memory.input_bytes == 6 * 50 * 8
    found = record.communication
    assert found is not None
    assert (found.algorithm, found.shares, found.imbalance) == ("data", "batch", None)
    parameters = 379
    moved = 0 if pass_ == "fwd" else 3 * (2 * 4 * parameters * 2 // 3)
    assert found.received_bytes == moved
    assert (found.overlap is None) == (pass_ == "fwd")


def test_a_model_that_is_wrong_on_its_share_names_the_rank(ranks: Zygote, tmp_path: Path) -> None:
    change = {"impl": "tiny_models:wrong_on_rank_1", "kind": "model", "heads": 1, "kv_heads": 1, "pass": "bwd"}
    ended = ranks.run(tmp_path, **change)
    assert ended.result["status"] == "incorrect"
    assert ended.result["reason"].startswith("rank 1: logits: ")
