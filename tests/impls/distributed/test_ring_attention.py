"""Ring and zigzag attention over 1 to 8 processes against the whole sequence in one."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from shared_vanilla import NAMES, assert_exact, inputs, saved_numbers, shared, three_ways, whole
from torch import Tensor
from worlds import run_ranks

from attention_impls.distributed import vanilla_plan
from attention_impls.distributed.comm import Pending
from attention_impls.distributed.ring import Ring
from attention_impls.kernels.base import Backend
from attention_impls.kernels.math import MATH
from attention_impls.pattern import FullPattern
from attention_impls.shape import AttentionShape


@pytest.mark.parametrize("world", range(1, 9))
@pytest.mark.parametrize("parallel", ["ring", "zigzag"])
@pytest.mark.parametrize("causal", [False, True])
def test_any_world_gives_the_result_of_one_process(world: int, parallel: str, causal: bool) -> None:
    shape = AttentionShape(4 * world + 3, 2, 4, 2, 8, causal, world)  # ragged: 3 more tokens than go up
    parts = assert_exact(shape, parallel, "sdpa-flash")
    assert [part.pairs for part in parts] == list(vanilla_plan.pairs(shape, {"parallel": parallel}))
    if parallel == "zigzag":
        assert [part.calls for part in parts] == [world] * world
    else:
        assert [part.calls for part in parts] == [rank + 1 if causal else world for rank in range(world)]


@given(st.data())
@settings(max_examples=60)
def test_drawn_shapes_give_the_result_of_one_process(data: st.DataObject) -> None:
    world = data.draw(st.integers(2, 8), label="world")
    parallel = data.draw(st.sampled_from(["ring", "zigzag"]), label="parallel")
    kv_heads, group = data.draw(st.integers(1, 3), label="kv heads"), data.draw(st.integers(1, 3), label="group")
    shape = AttentionShape(
        seq_len=data.draw(st.integers(world * (2 if parallel == "zigzag" else 1), 40), label="tokens"),
        batch=data.draw(st.integers(1, 3), label="batch"),
        heads=kv_heads * group,
        kv_heads=kv_heads,
        head_dim=data.draw(st.sampled_from([1, 4, 7]), label="head dim"),
        causal=data.draw(st.booleans(), label="causal"),
        world_size=world,
    )
    parts = assert_exact(shape, parallel, data.draw(st.sampled_from(["math", "sdpa-flash"]), label="back end"))
    assert sum(part.pairs for part in parts) == FullPattern(shape).pairs()


@pytest.mark.parametrize(
    ("parallel", "seq", "world"),
    [
        ("ring", 8, 8),  # a token a rank
        ("zigzag", 16, 8),  # a token a run
        ("zigzag", 17, 8),
        ("zigzag", 31, 8),  # one run is short
        ("ring", 5, 3),
        ("zigzag", 4, 2),
    ],
)
def test_shares_of_a_token_or_two(parallel: str, seq: int, world: int) -> None:
    assert_exact(AttentionShape(seq, 1, 3, 1, 4, True, world), parallel)


def test_the_causal_ring_sends_nothing_that_nobody_reads() -> None:
    """Rank i reads i blocks, and passes them on with its own; the last rank sends none."""
    parts = assert_exact(AttentionShape(12, 1, 2, 2, 4, True, 4), "ring")
    block = 2 * 3 * 2 * 4 * 8  # k|v of 3 tokens
    assert [part.fwd["send_recv"].received for part in parts] == [0, block, 2 * block, 3 * block]
    assert [part.fwd["send_recv"].sent for part in parts] == [block, 2 * block, 3 * block, 0]


@pytest.mark.parametrize("parallel", ["ring", "zigzag"])
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_rounding_does_not_grow_with_the_ranks(parallel: str, dtype: torch.dtype) -> None:
    shape = AttentionShape(131, 1, 4, 2, 16, False, 8)
    exact = whole(shape)
    shares, _ = shared(shape, parallel, dtype)
    for name, found, single, truth in zip(NAMES, shares, whole(shape, dtype), exact, strict=True):
        assert found.dtype == single.dtype, name
        error, single_error = ((x.double() - truth).square().mean().sqrt() for x in (found, single))
        assert error <= 1.25 * single_error + 1e-7, name  # 1.5 if out were merged in its own type


@pytest.mark.parametrize("parallel", ["ring", "zigzag"])
def test_only_q_k_v_out_and_lse_are_kept_for_the_backward(parallel: str) -> None:
    for kept, own in run_ranks(3, saved_numbers, AttentionShape(20, 1, 4, 2, 8, True, 3), parallel):
        assert kept == own


@pytest.mark.parametrize("parallel", ["ring", "zigzag"])
def test_what_was_received_is_left_as_it_came(parallel: str) -> None:
    """So that a pass without its collectives, given the same parts again, computes the same again."""
    for same in run_ranks(4, three_ways, AttentionShape(23, 1, 4, 2, 8, True, 4), parallel):
        assert all(same)


class _Logged:
    """One of three ranks, alone: what it receives is zeros, and what it does is written down."""

    rank, world_size = 1, 3

    def __init__(self) -> None:
        self.log: list[str] = []

    def send_recv(self, sent: Tensor, to: int, size: int, source: int) -> Pending:
        assert (to, source) == (2, 0)
        self.log.append("begin")
        return Pending(sent.new_zeros(size), (), lambda: self.log.append("wait"))

    def leave(self, calls: int) -> None:
        assert calls == 1


def _logging(log: list[str]) -> Backend:
    def forward(*args: Any) -> Any:
        log.append("work")
        return MATH.forward(*args)

    def backward(*args: Any) -> Any:
        log.append("work")
        return MATH.backward(*args)

    return Backend("logging", "", frozenset({"cpu"}), MATH.dtypes, forward, backward, lambda: None)


def test_messages_are_under_way_while_blocks_are_worked_on() -> None:
    shape = AttentionShape(9, 1, 2, 2, 4, False, 3)
    comm = _Logged()
    ring = Ring(comm, shape, "ring", 0.5, _logging(comm.log))  # type: ignore[arg-type]
    q, k, v, grad = (x[:, 3:6] for x in inputs(shape))
    out, lse = ring.forward(q, k, v)
    assert comm.log == ["begin", "work", "wait", "begin", "work", "wait", "work"]
    comm.log.clear()
    ring.backward(grad, q, k, v, out, lse)
    assert comm.log == [
        *("begin", "wait"),
        *("begin", "work"),  # the next block is on its way
        *("begin", "wait", "work", "wait"),  # so are the sums of this one
        *("begin", "work", "wait"),  # and those that go home
    ]
