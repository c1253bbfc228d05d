"""A stream yields what resident attention yields, whatever the chunk."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from multiset import dense_attention, multiplicity

from attention_impls import dilated_attention
from attention_impls.api import Unsupported
from attention_impls.dilated.pattern import DilatedPattern
from attention_impls.dilated.schedule import Schedule
from attention_impls.dilated.stream_plan import plan_stream
from attention_impls.dilated.streaming import DilatedStream
from attention_impls.kernels.math import MATH
from attention_impls.oracle import Problem, TensorRows
from attention_impls.oracle_keys import CachedRows, Key, oracle_key_gradient
from attention_impls.shape import AttentionShape
from attention_impls.streams import Collected, Gradients, Outputs, SpanningGradients


@dataclass
class Resident:
    """Tensors that are at hand, as a stream's source; notes the longest chunk it was asked for."""

    tensors: dict[str, torch.Tensor]
    longest: int = 0

    def chunk(self, name: str, start: int, stop: int) -> torch.Tensor:
        self.longest = max(self.longest, stop - start)
        return self.tensors[name][:, start:stop]

    def strided(self, name: str, head: int, positions: range) -> torch.Tensor:
        return self.tensors[name][:, positions.start : positions.stop : positions.step, head]


@st.composite
def cases(draw: st.DrawFn) -> tuple[AttentionShape, Schedule, str, int]:
    kv, group = draw(st.integers(1, 2)), draw(st.integers(1, 2))
    shape = AttentionShape(
        draw(st.integers(1, 60)), draw(st.integers(1, 2)), kv * group, kv, draw(st.sampled_from([1, 4])),
        draw(st.booleans()),
    )  # fmt: skip
    branches = draw(st.lists(st.tuples(st.integers(1, 70), st.integers(1, 12)), min_size=1, max_size=4))
    return shape, Schedule(tuple(branches)), draw(st.sampled_from(["paper", "grouped"])), draw(st.integers(1, 80))


def drawn(shape: AttentionShape) -> dict[str, torch.Tensor]:
    heads = {"q": shape.heads, "k": shape.kv_heads, "v": shape.kv_heads, "grad_out": shape.heads}
    return {
        name: torch.randn(shape.batch, shape.seq_len, count, shape.head_dim, dtype=torch.float64)
        for name, count in heads.items()
    }


@settings(max_examples=150, deadline=None)
@given(cases())
def test_streamed_outputs_and_gradients_are_the_resident_ones(case: tuple) -> None:
    shape, schedule, offsets, limit = case
    tensors = drawn(shape)
    source = Resident(tensors)
    stream = DilatedStream(shape, schedule, offsets, MATH, chunk_limit=limit, row_limit=10**9)
    q, k, v = (tensors[name].clone().requires_grad_() for name in ("q", "k", "v"))
    expected, expected_lse = dilated_attention(
        q, k, v, segments=schedule.segments, dilations=schedule.dilations, offsets=offsets,
        causal=shape.causal, backend="math", return_lse=True,
    )  # fmt: skip
    expected_grads = torch.autograd.grad(expected, (q, k, v), tensors["grad_out"])
    out, lse = torch.full_like(expected, float("nan")), torch.full_like(expected_lse, float("nan"))
    grads = [torch.full_like(g, float("nan")) for g in expected_grads]
    for event in stream.forward(source):
        if isinstance(event, Outputs):
            n = event.out.shape[1]
            out[:, event.start : event.start + n] = event.out
            lse[:, :, event.start : event.start + n] = event.lse
    torch.testing.assert_close(out, expected, rtol=0, atol=1e-12)
    torch.testing.assert_close(lse, expected_lse, rtol=0, atol=1e-12)
    for event in stream.backward(source):
        if isinstance(event, Gradients):
            for whole, part in zip(grads, (event.dq, event.dk, event.dv), strict=True):
                whole[:, event.start : event.start + part.shape[1]] = part
        elif isinstance(event, SpanningGradients):
            at = slice(event.positions.start, event.positions.stop, event.positions.step)
            kv_head = event.head // shape.group_size
            for whole, head, part in zip(
                grads, (event.head, kv_head, kv_head), (event.dq, event.dk, event.dv), strict=True
            ):
                whole[:, at, head] += part
    for whole, reference in zip(grads, expected_grads, strict=True):
        torch.testing.assert_close(whole, reference, rtol=0, atol=1e-12)
    assert source.longest <= limit


def test_the_plan_cuts_no_local_segment_and_leaves_the_others_to_rows() -> None:
    schedule = Schedule(((2048, 1), (8192, 4), (32768, 16), (131072, 64)))
    plan = plan_stream(schedule, 1 << 20, chunk_limit=40_000)
    assert plan.chunk == 32768
    assert plan.local.branches == ((2048, 1), (8192, 4), (32768, 16))
    assert plan.spanning.branches == ((131072, 64),)
    assert plan.kept_rows(AttentionShape(1 << 20, heads=2, kv_heads=2)) == 2 * (1 << 20) // 64
    odd = plan_stream(Schedule(((6, 1), (10, 1), (7, 1))), 1000, chunk_limit=100)
    assert (odd.chunk, odd.local.segments, odd.spanning.segments) == (84, [6, 7], [10])


def test_a_branch_that_would_keep_everything_is_refused_with_its_size() -> None:
    shape = AttentionShape(1 << 20, heads=1, kv_heads=1)
    with pytest.raises(
        Unsupported, match=r"keeps 1048576 rows .* more than 1000: raise the dilation rate of w=1048576"
    ):
        DilatedStream(shape, Schedule(((2048, 1), (1 << 20, 1))), "paper", MATH, chunk_limit=4096, row_limit=1000)


def test_the_forward_collects_first_and_then_passes_once() -> None:
    shape = AttentionShape(64, heads=2, kv_heads=2, head_dim=4)
    stream = DilatedStream(shape, Schedule(((8, 1), (64, 8))), "paper", MATH, chunk_limit=16, row_limit=1000)
    events = list(stream.forward(Resident(drawn(shape))))
    assert isinstance(events[0], Collected)
    assert [e.start for e in events[1:] if isinstance(e, Outputs)] == [0, 16, 32, 48]


@settings(max_examples=40, deadline=None)
@given(cases())
def test_the_gradient_of_a_key_is_the_sum_over_the_queries_that_see_it(case: tuple) -> None:
    shape, schedule, offsets, seed = case
    pattern = DilatedPattern(shape, schedule, offsets)
    tensors = drawn(shape)
    q, k, v = (tensors[name].clone().requires_grad_() for name in ("q", "k", "v"))
    dense = dense_attention(q, k, v, multiplicity(pattern), 0.3)
    _, dk, dv = torch.autograd.grad(dense, (q, k, v), tensors["grad_out"])
    sources = {name: CachedRows(TensorRows(x), entries=2) for name, x in tensors.items()}
    problem = Problem(pattern, sources["q"], sources["k"], sources["v"], 0.3)
    key = Key(shape.batch - 1, shape.kv_heads - 1, seed % shape.seq_len)
    found_dk, found_dv = oracle_key_gradient(problem, pattern, sources["grad_out"], key)
    torch.testing.assert_close(found_dk.value, dk[key.batch, key.position, key.kv_head], rtol=0, atol=1e-12)
    torch.testing.assert_close(found_dv.value, dv[key.batch, key.position, key.kv_head], rtol=0, atol=1e-12)


@pytest.mark.parametrize("offsets", ["paper", "grouped"])
def test_coverage_is_the_share_of_rows_a_branch_touches(offsets: str) -> None:
    shape = AttentionShape(50, heads=3, kv_heads=3)
    schedule = Schedule(((7, 1), (20, 3), (64, 5)))
    pattern = DilatedPattern(shape, schedule, offsets)
    for branch, share in zip(schedule.branches, pattern.coverage(), strict=True):
        alone = DilatedPattern(shape, Schedule((branch,)), offsets)
        touched = sum(bool(alone.key_ranges(h, t)) for h in range(3) for t in range(50))
        assert share == touched / 150
    assert pattern.coverage()[0] == 1
