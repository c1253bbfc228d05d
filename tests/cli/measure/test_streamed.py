"""A streamed point: verified, timed and accounted for like a resident one."""

from __future__ import annotations

import itertools
from dataclasses import replace
from typing import Any

import pytest
import torch
from worker_process import work

from attention_impls.api import Unsupported
from attention_impls.dilated.pattern import DilatedPattern
from attention_impls.dilated.schedule import Schedule
from attention_impls.dilated.streaming import DilatedStream
from attention_impls.kernels.math import MATH
from attention_impls.streams import Event, Gradients, Outputs
from longbench_cli.measure import sampling, streamed_point
from longbench_cli.measure.inputs import InputSource
from longbench_cli.measure.stream_check import StreamCheck
from longbench_cli.measure.streamed import Group, run_pass
from longbench_cli.measure.streamed_point import measure_streamed_point
from longbench_cli.sweep.case import Case
from longbench_cli.sweep.settings import Settings

OPTIONS = {"segments": [64, 512, 4096], "dilations": [1, 4, 16]}
SCHEDULE = Schedule.of(OPTIONS["segments"], OPTIONS["dilations"])


def case(**change: Any) -> Case:
    values: dict[str, Any] = {
        "impl": "dilated", "backend": "math", "pass": "bwd", "seq_len": 3000, "batch": 1, "heads": 4, "kv_heads": 2,
        "head_dim": 8, "dtype": "float32", "causal": False, "world_size": 1, "device": "cpu", "options": OPTIONS,
    }  # fmt: skip
    return Case.model_validate(values | change)


@pytest.mark.parametrize("pass_", ["fwd", "bwd", "fwd+bwd"])
@pytest.mark.parametrize("causal", [False, True])
def test_a_worker_streams_verifies_and_tells_generation_apart(pass_: str, causal: bool) -> None:
    result, _ = work(
        "streamed", {"chunk": 1024}, impl="dilated", seq_len=3000, causal=causal, options=OPTIONS, **{"pass": pass_}
    )
    assert (result or {}).get("status") == "ok", result
    assert result is not None
    assert result["execution"] == "streamed"
    assert result["verification"]["status"] == "passed"
    assert result["verification"]["max_error"] > 0
    streaming = result["streaming"]
    assert (streaming["chunk"], streaming["chunks"]) == (1024, 3)
    assert streaming["generation_ns"] > 0
    assert (streaming["recompute_ns"] > 0) == (pass_ == "bwd")


def test_what_cannot_be_streamed_says_so() -> None:
    result, _ = work("streamed", impl="vanilla")
    assert result == {"type": "result", "status": "unsupported", "reason": "vanilla cannot be streamed"}


def groups_of(the_case: Case, together: int = 1) -> list[Group]:
    """The batch, ``together`` sequences at a time."""
    found = []
    for first in range(0, the_case.batch, together):
        count = min(together, the_case.batch - first)
        shape = replace(the_case.shape, batch=count)
        stream = DilatedStream(shape, SCHEDULE, "paper", MATH, chunk_limit=1024, row_limit=10**6)
        found.append(Group(first, count, stream))
    return found


def events_of(the_case: Case, spoil: Any = None, seed: int = 0, together: int = 1) -> StreamCheck:
    draw = InputSource(the_case, seed).draw()
    check = StreamCheck(the_case, DilatedPattern(the_case.shape, SCHEDULE), draw, seed)

    def take(first: int, event: Event) -> None:
        if spoil is not None:
            spoil(event)
        check.take(first, event)

    groups = groups_of(the_case, together)
    run_pass(the_case, groups, draw, take, lambda *_: None, itertools.count(step=1).__next__)
    return check


def test_a_right_stream_passes() -> None:
    verdict = events_of(case()).verified()
    assert verdict.reason is None
    assert verdict.verification.max_error is not None
    assert verdict.verification.max_error < 1e-4


@pytest.mark.parametrize("together", [1, 2, 5])
def test_a_batch_is_streamed_some_sequences_at_a_time_with_the_same_result(together: int) -> None:
    batch = case(batch=5, seq_len=1500)
    assert events_of(batch, together=together).verified().reason is None
    draw = InputSource(batch, 3).draw()
    whole = draw.inputs().q
    parts = [draw.sequences(group.first, group.count) for group in groups_of(batch, together)]
    assert torch.equal(torch.cat([part.chunk("q", 0, 1500) for part in parts]), whole)
    assert torch.equal(torch.cat([part.strided("q", 2, range(7, 1500, 31)) for part in parts]), whole[:, 7::31, 2])
    assert torch.equal(torch.cat([part.chunk("q", 100, 700) for part in parts]), whole[:, 100:700])


def test_an_error_in_a_late_sequence_of_the_batch_is_found() -> None:
    def in_the_last(event: Event) -> None:
        if isinstance(event, Outputs) and event.out.shape[0] == 1:
            event.out.mul_(1.5)

    reason = events_of(case(batch=5, seq_len=300), in_the_last, together=2).verified().reason
    assert reason is not None
    assert "at batch 4" in reason


def test_a_stream_that_leaves_a_chunk_out_is_found() -> None:
    the_case = case(**{"pass": "fwd"})
    check = StreamCheck(the_case, DilatedPattern(the_case.shape, SCHEDULE), InputSource(the_case, 0).draw(), 0)
    reason = check.verified().reason
    assert reason is not None
    assert reason.startswith("output: the stream never gave batch 0, head")


def test_a_huge_batch_of_short_sequences_is_cut_along_the_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    little = 16 * 8 * 4 * 8 * 4 * 3000  # a chunk may take a 16th of it: 3000 tokens of 4 heads of 8 features in fp32
    monkeypatch.setattr(streamed_point, "free_bytes", lambda _device: little)
    many = case(batch=50, seq_len=700, **{"pass": "fwd"})
    result = measure_streamed_point(many, Settings(max_iterations=1), lambda *_: None)
    assert result["status"] == "ok"
    assert (result["streaming"]["sequences"], result["streaming"]["chunk"]) == (4, 700)
    assert result["streaming"]["chunks"] == 13


def test_a_short_pass_is_measured_as_often_as_it_ran(monkeypatch: pytest.MonkeyPatch) -> None:
    """A trial is called again until its times add up: the pass that was checked must not be counted twice."""
    ran: list[int] = []

    def counted(*arguments: Any) -> Any:
        ran.append(1)
        return run_pass(*arguments)

    monkeypatch.setattr(streamed_point, "run_pass", counted)
    monkeypatch.setattr(sampling, "SHORT_NS", 0)  # every pass is recorded
    short = case(seq_len=300, **{"pass": "fwd"})
    result = measure_streamed_point(short, Settings(min_iterations=1, max_iterations=4), lambda *_: None)
    assert len(result["latency"]["iterations_ns"]) == len(ran) == 4


def outputs(event: Event) -> None:
    if isinstance(event, Outputs):
        event.out.mul_(1.01)


def one_unwritten_row(event: Event) -> None:
    if isinstance(event, Outputs) and event.start == 1024:
        event.out[0, 777, 2] = float("nan")


def key_gradients(event: Event) -> None:
    if isinstance(event, Gradients):
        event.dk.mul_(1.01)


def query_gradients(event: Event) -> None:
    if isinstance(event, Gradients):
        event.dq.neg_()


@pytest.mark.parametrize(
    ("spoil", "says"),
    [
        (outputs, "output: differs"),
        (one_unwritten_row, "output: (differs|not every row of the chunk at 1024)"),
        (key_gradients, "dk: differs from the float64 oracle at batch 0, key head"),
        (query_gradients, "dq: differs"),
    ],
)
def test_a_wrong_stream_is_found(spoil: Any, says: str) -> None:
    import re

    reason = events_of(case(), spoil).verified().reason
    assert reason is not None
    assert re.match(says, reason), reason


def test_generation_and_checking_are_not_counted_as_attention() -> None:
    """A clock that only making inputs and checking results moves: attention took no time."""
    now = [0]

    class SlowDraw:
        def __init__(self, draw: Any) -> None:
            self.draw = draw

        def sequences(self, _first: int, _count: int) -> Any:
            return self

        def chunk(self, name: str, start: int, stop: int) -> torch.Tensor:
            now[0] += 1000
            return self.draw.chunk(name, start, stop)

        def strided(self, name: str, head: int, positions: range) -> torch.Tensor:
            now[0] += 10
            return self.draw.strided(name, head, positions)

    the_case = case()
    seen: list[tuple[int, int]] = []

    def sink(_first: int, _event: Event) -> None:
        now[0] += 7

    draw: Any = SlowDraw(InputSource(the_case, 0).draw())
    times = run_pass(
        the_case, groups_of(the_case), draw, sink, lambda done, of, _s: seen.append((done, of)), lambda: now[0]
    )
    assert (times.forward, times.backward) == (0, 0)
    assert times.generation >= 12 * 1000
    assert seen == [(1, 3), (2, 3), (3, 3)]


@pytest.mark.parametrize("asked", [{"cache": "cold"}, {"graphs": "on"}])
def test_what_a_stream_cannot_do_is_refused_and_not_ignored(asked: dict[str, Any]) -> None:
    with pytest.raises(Unsupported, match="stream"):
        measure_streamed_point(case(seq_len=300, **{"pass": "fwd"}), Settings(**asked), lambda *_: None)
