"""Dilated attention of a sequence that ranks share is that of one process, whatever the shapes and the ranks."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from itertools import combinations
from typing import Any
from unittest import mock

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from multiset import dense_attention, multiplicity
from shared_sequences import Attended, Problem, attend, joined, largest_difference
from torch import Tensor
from worlds import run_ranks

from attention_impls import dilated_attention, oracle
from attention_impls.api import get_implementation
from attention_impls.dilated.schedule import Schedule
from attention_impls.dilated.spec import schedule_of
from attention_impls.distributed import dilated
from attention_impls.distributed.comm import Communicator
from attention_impls.distributed.dilated import dilated_parallel
from attention_impls.distributed.sharding import contiguous
from attention_impls.distributed.traffic import Traffic
from attention_impls.merging import pieces
from attention_impls.shape import AttentionShape

EXACT = 1e-12


def problem(
    branches: list[tuple[int, int]],
    seq_len: int,
    world_size: int,
    *,
    heads: int = 4,
    kv_heads: int | None = None,
    batch: int = 1,
    head_dim: int = 3,
    causal: bool = False,
    backend: str = "sdpa-flash",
    seed: int = 0,
    dtype: torch.dtype = torch.float64,
    **options: Any,
) -> Problem:
    shape = AttentionShape(seq_len, batch, heads, kv_heads or heads, head_dim, causal, world_size)
    options |= {"segments": [w for w, _ in branches], "dilations": [r for _, r in branches]}
    return Problem("dilated", options, shape, seed, backend, dtype)


def dense(p: Problem) -> Attended:
    """The definition: one softmax over the multiset of keys, every score held."""
    q, k, v, grad = p.inputs()
    leaves = [x.requires_grad_() for x in (q, k, v)]
    counts = multiplicity(get_implementation("dilated").pattern(p.shape, p.options))
    out, lse = dense_attention(*leaves, counts, p.shape.head_dim**-0.5, return_lse=True)
    return Attended(out.detach(), lse.detach(), *torch.autograd.grad(out, leaves, grad))


def single(p: Problem) -> Attended:
    """The operator on one process."""
    q, k, v, grad = p.inputs()
    leaves = [x.requires_grad_() for x in (q, k, v)]
    out, lse = dilated_attention(*leaves, causal=p.shape.causal, return_lse=True, **p.options)
    return Attended(out.detach(), lse, *torch.autograd.grad(out, leaves, grad))


@contextmanager
def kernels_served_by(layout: str) -> Iterator[None]:
    """Rows copied for kernels as on a CPU, however few; or strided views as on CUDA, in slices as small as they get."""
    with ExitStack() as stack:
        if layout == "views":
            stack.enter_context(mock.patch.object(pieces, "copies_rows", return_value=False))
            stack.enter_context(mock.patch.object(pieces, "LEAST_ROWS", 1))
        elif layout == "copies":
            stack.enter_context(mock.patch.object(pieces, "LEAST_COPIED_MEMBERS", 1))
        yield


def attend_in(comm: Communicator, p: Problem, layout: str) -> tuple[Attended, Traffic, Traffic]:
    with kernels_served_by(layout):
        return attend(comm, p)


def check(p: Problem, expected: Attended, layout: str = "plain") -> Attended:
    """The ranks find ``expected``, and exchange what was predicted, each rank and pass and kind."""
    found = run_ranks(p.shape.world_size, attend_in, p, layout)
    together = joined(p, [part for part, _, _ in found])
    assert largest_difference(together, expected) <= EXACT
    assert tuple(forward for _, forward, _ in found) == p.predicted("fwd")
    assert tuple(backward for _, _, backward in found) == p.predicted("bwd")
    return together


@st.composite
def problems(draw: st.DrawFn) -> Problem:
    world_size = draw(st.integers(1, 8))
    kv_heads = draw(st.integers(1, 3))
    branches = draw(st.lists(st.tuples(st.integers(1, 80), st.integers(1, 12)), min_size=1, max_size=3))
    return problem(
        branches,
        draw(st.integers(world_size, 64)),
        world_size,
        heads=kv_heads * draw(st.integers(1, 3)),
        kv_heads=kv_heads,
        batch=draw(st.integers(1, 2)),
        head_dim=draw(st.sampled_from([1, 3, 8])),
        causal=draw(st.booleans()),
        backend=draw(st.sampled_from(["math", "sdpa-flash"])),
        seed=draw(st.integers(0, 2**31)),
        offsets=draw(st.sampled_from(["paper", "grouped"])),
    )


@settings(max_examples=60)
@given(problems(), st.sampled_from(["plain", "views", "copies"]))
def test_output_lse_and_gradients_are_those_of_one_softmax_over_the_multiset(p: Problem, layout: str) -> None:
    check(p, dense(p), layout)


@settings(max_examples=15)
@given(problems())
def test_detached_mixing_is_that_of_one_process(p: Problem) -> None:
    p = replace(p, options=p.options | {"mixing_gradient": "detached"})
    check(p, single(p))


HARD = {
    "a segment of all": problem([(61, 1)], 61, 7),
    "longer than all": problem([(500, 3)], 61, 5),
    "a segment of two ranks": problem([(16, 2)], 48, 6, heads=5),
    "a segment of one rank": problem([(8, 2)], 48, 6),
    "borders never meet": problem([(11, 2), (17, 3), (29, 5)], 83, 6, heads=6),
    "more phases than heads": problem([(40, 9)], 80, 3, heads=2),
    "phases beyond a rank's tokens": problem([(64, 13)], 64, 8, heads=16, offsets="grouped"),
    "a stream with one key on all ranks": problem([(64, 60)], 64, 8, heads=4),
    "a token a rank": problem([(3, 1), (8, 2)], 8, 8),
    "phases beyond the last segment": problem([(24, 6)], 50, 5, heads=6),
    "one segment in the middle of three ranks": problem([(30, 4)], 45, 3, heads=6),
    "heads that share keys and phases": problem([(32, 2), (64, 4)], 64, 4, heads=8, kv_heads=2, batch=2),
    "heads that share keys, not phases": problem([(60, 3)], 60, 7, heads=6, kv_heads=2, offsets="paper"),
    "the paper's ratio": problem([(4, 1), (16, 4), (64, 16)], 64, 8, heads=8),
    "grouped phases": problem([(20, 3)], 60, 5, heads=7, offsets="grouped"),
}


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("name", HARD)
def test_hard_cases(name: str, causal: bool) -> None:
    p = replace(HARD[name], shape=replace(HARD[name].shape, causal=causal))
    check(p, dense(p))


@pytest.mark.parametrize("causal", [False, True])
def test_one_result_whatever_the_world_size(causal: bool) -> None:
    p = problem([(7, 1), (24, 3), (100, 5)], 77, 1, heads=6, kv_heads=3, batch=2, causal=causal)
    alone = single(p)
    found = [check(p.with_ranks(world_size), alone) for world_size in range(1, 9)]
    for a, b in combinations(found, 2):
        assert largest_difference(a, b) <= EXACT


@pytest.mark.parametrize("causal", [False, True])
def test_rows_are_those_of_the_oracle(causal: bool) -> None:
    p = problem([(32, 2), (96, 6)], 90, 5, heads=4, kv_heads=2, batch=2, causal=causal)
    found = joined(p, [part for part, _, _ in run_ranks(5, attend, p)])
    q, k, v, _ = p.inputs()
    pattern = get_implementation("dilated").pattern(p.shape, p.options)
    rows = oracle.Problem(pattern, *(oracle.TensorRows(x) for x in (q, k, v)), p.shape.head_dim**-0.5)
    for row in oracle.sample_rows(pattern, 64, seed=1):
        out, lse = oracle.oracle_row(rows, row)
        torch.testing.assert_close(found.out[row.batch, row.query, row.head], out, rtol=0, atol=EXACT)
        torch.testing.assert_close(found.lse[row.batch, row.head, row.query], lse, rtol=0, atol=EXACT)


def test_what_later_ranks_hold_does_not_matter_to_a_causal_query() -> None:
    p = problem([(16, 1), (90, 3)], 90, 5, heads=3, causal=True)
    for first in (18, 36, 72):
        spoiled = replace(p, spoiled_from=first)
        found, expected = (joined(p, [part for part, _, _ in run_ranks(5, attend, one)]) for one in (spoiled, p))
        assert torch.equal(found.out[:, :first], expected.out[:, :first])
        assert torch.equal(found.lse[..., :first], expected.lse[..., :first])
        assert torch.equal(found.dq[:, :first], expected.dq[:, :first])
        assert found.out[:, first:].isnan().all()


def events(comm: Communicator, p: Problem) -> tuple[list[tuple[str, Any]], list[tuple[str, Any]]]:
    """What a rank does in its forward and in its backward: collectives begun and awaited, kernels called."""
    happened: list[tuple[str, Any]] = []
    begin_gather, begin_scatter = comm.all_gather, comm.reduce_scatter

    def logged(begin: Any) -> Any:
        def call(given: Tensor, sizes: list[int], ranks: range) -> Any:
            happened.append(("begin", (sum(sizes), ranks)))
            pending = begin(given, sizes, ranks)
            wait = pending.wait
            pending.wait = lambda: (happened.append(("wait", (sum(sizes), ranks))), wait())[1]
            return pending

        return call

    def counting(*args: Any) -> Any:
        found = get_backend(*args)

        def forward(*inputs: Any) -> Any:
            happened.append(("kernel", None))
            return found.forward(*inputs)

        def backward(*inputs: Any) -> Any:
            happened.append(("kernel", None))
            return found.backward(*inputs)

        return replace(found, forward=forward, backward=backward)

    get_backend = dilated.get_backend
    with (
        mock.patch.object(comm, "all_gather", logged(begin_gather)),
        mock.patch.object(comm, "reduce_scatter", logged(begin_scatter)),
        mock.patch.object(dilated, "get_backend", counting),
    ):
        (tokens,) = contiguous(p.shape, comm.rank)
        q, k, v, grad = (x[:, tokens.start : tokens.stop] for x in p.inputs())
        leaves = [x.clone().requires_grad_() for x in (q, k, v)]
        out = dilated_parallel(
            *leaves, comm=comm, shape=p.shape, schedule=schedule_of(p.shape, p.options), causal=p.shape.causal
        )
        forward, happened = happened, []
        torch.autograd.grad(out, leaves, grad)
    return forward, happened


def test_collectives_are_under_way_while_local_segments_are_computed() -> None:
    p = problem([(4, 1), (32, 2), (96, 8)], 96, 6, heads=2)
    for both in run_ranks(6, events, p):
        for direction, happened in zip(("forward", "backward"), both, strict=True):
            kinds = [kind for kind, _ in happened]
            begins = [at for at, kind in enumerate(kinds) if kind == "begin"]
            waits = [at for at, kind in enumerate(kinds) if kind == "wait"]
            assert len(begins) == len(waits) == 2
            assert "kernel" in kinds[begins[-1] : waits[0]]
            if direction == "backward":  # each segment's gradients travel while the next one's are computed
                assert "kernel" in kinds[begins[0] : begins[1]]


def test_ranks_begin_and_await_in_one_order_largest_first() -> None:
    p = problem([(11, 1), (17, 3), (40, 2)], 83, 7, heads=3)
    found = run_ranks(7, events, p)
    for direction in (0, 1):
        for what in ("begin", "wait"):
            orders = [[told for kind, told in both[direction] if kind == what] for both in found]
            assert max(map(len, orders)) > 2
            for order in orders:
                assert [size for size, _ in order] == sorted((size for size, _ in order), reverse=True)
            for a, b in combinations(orders, 2):
                assert [call for call in a if call in b] == [call for call in b if call in a]


def how_far(comm: Communicator, p: Problem) -> int:
    attend(comm, p)
    return comm.calls


def test_local_segments_need_no_collective_and_ranks_that_share_less_are_not_behind() -> None:
    assert run_ranks(4, how_far, problem([(8, 1), (24, 3)], 96, 4)) == [0] * 4
    assert run_ranks(5, how_far, problem([(30, 2), (13, 1)], 77, 5)) == [8] * 5


def three_ways(comm: Communicator, p: Problem) -> tuple[bool, Traffic, Traffic]:
    """Whether a pass without its collectives gives the kept pass's own result, by one rank and while others rest."""
    comm.keep()
    full, _, backward = attend(comm, p)
    same = comm.rank != 1 or largest_difference(comm.without(lambda: attend(comm, p))[0], full) == 0
    comm.alone()
    return same, backward, comm.take_counts()


@pytest.mark.parametrize("causal", [False, True])
def test_compute_alone_is_the_same_compute(causal: bool) -> None:
    p = problem([(11, 1), (40, 2), (83, 5)], 83, 5, heads=4, kv_heads=2, causal=causal)
    for same, backward, after in run_ranks(5, three_ways, p):
        assert same
        assert backward
        assert after == {}


def kept_numbers(comm: Communicator, p: Problem) -> tuple[int, int]:
    """Numbers kept for the backward: all, and those of this rank's own q, k, v, out and lse."""
    kept: dict[int, int] = {}

    def keep(x: Tensor) -> Tensor:
        kept[x.data_ptr()] = x.numel()
        return x

    (tokens,) = contiguous(p.shape, comm.rank)
    leaves = [x[:, tokens.start : tokens.stop].clone().requires_grad_() for x in p.inputs()[:3]]
    with torch.autograd.graph.saved_tensors_hooks(keep, lambda x: x):
        dilated_parallel(*leaves, comm=comm, shape=p.shape, schedule=schedule_of(p.shape, p.options), causal=False)
    q, k, v = leaves
    return sum(kept.values()), 2 * q.numel() + k.numel() + v.numel() + q.numel() // p.shape.head_dim


def test_of_other_ranks_tokens_only_dilated_keys_are_kept() -> None:
    p = problem([(32, 4), (128, 16)], 128, 8, heads=4, kv_heads=2, batch=2)
    # Phases 0 to 3: 4 streams, of 8 members each in both segments, a key and a value of 3 features in 2 sequences.
    assert {total - own for total, own in run_ranks(8, kept_numbers, p)} == {2 * 4 * 8 * 2 * 3 * 2}


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-5), (torch.bfloat16, 5e-2)])
def test_narrow_types_travel_as_they_are_and_gradients_in_fp32(dtype: torch.dtype, tolerance: float) -> None:
    p = problem([(16, 1), (64, 4)], 64, 3, heads=4, kv_heads=2, head_dim=8, causal=True, dtype=dtype)
    found = run_ranks(3, attend, p)
    assert tuple(forward for _, forward, _ in found) == p.predicted("fwd")
    assert tuple(backward for _, _, backward in found) == p.predicted("bwd")
    rows = sum(counts["all_gather"].size for _, counts, _ in found) // dtype.itemsize
    assert sum(counts["reduce_scatter"].size for _, _, counts in found) == 4 * rows
    together, expected = joined(p, [part for part, _, _ in found]), dense(replace(p, dtype=torch.float64))
    for name in ("out", "dq", "dk", "dv"):
        assert getattr(together, name).dtype == dtype
        torch.testing.assert_close(
            getattr(together, name).double(), getattr(expected, name), rtol=tolerance, atol=tolerance
        )


def odd_layouts(comm: Communicator, p: Problem) -> list[Tensor]:
    """Strided inputs, and a gradient that is one number expanded."""
    (tokens,) = contiguous(p.shape, comm.rank)
    parts = [x[:, tokens.start : tokens.stop] for x in p.inputs()[:3]]
    leaves = [x.permute(3, 2, 1, 0).contiguous().permute(3, 2, 1, 0).requires_grad_() for x in parts]
    out = dilated_parallel(
        *leaves, comm=comm, shape=p.shape, schedule=schedule_of(p.shape, p.options), causal=p.shape.causal
    )
    out.sum().backward()
    return [x.grad for x in leaves]


@pytest.mark.parametrize("causal", [False, True])
def test_any_strides_are_taken(causal: bool) -> None:
    p = problem([(10, 1), (40, 3)], 50, 3, heads=4, kv_heads=2, batch=2, causal=causal)
    found = run_ranks(3, odd_layouts, p)
    q, k, v, _ = p.inputs()
    leaves = [x.requires_grad_() for x in (q, k, v)]
    dilated_attention(*leaves, causal=causal, **p.options).sum().backward()
    for number, leaf in enumerate(leaves):
        torch.testing.assert_close(torch.cat([part[number] for part in found], 1), leaf.grad, rtol=0, atol=EXACT)


def complaints(comm: Communicator) -> list[str]:
    shape = AttentionShape(10, 1, 2, 2, 4, False, 2)
    x = torch.zeros(1, 5, 2, 4)
    given: dict[str, Any] = {"comm": comm, "shape": shape, "schedule": Schedule(((10, 1),)), "causal": False}
    calls = [
        ((x[:, :4],) * 3, {}),
        ((x,) * 3, {"shape": replace(shape, world_size=3)}),
        ((x,) * 3, {"offsets": "random"}),
        ((x,) * 3, {"mixing_gradient": "none"}),
    ]
    found = []
    for tensors, other in calls:
        with pytest.raises(ValueError, match=r".") as caught:
            dilated_parallel(*tensors, **{**given, **other})
        found.append(str(caught.value))
    return found


def test_what_does_not_fit_is_said_before_anything_is_exchanged() -> None:
    first, second = run_ranks(2, complaints)
    assert second[0].startswith("q (1, 4, 2, 4) and k (1, 4, 2, 4) are not those of rank 1: q must be (1, 5, 2, 4)")
    assert first[1:] == [
        "the shape is for 3 ranks, not 2",
        "unknown offsets 'random': choose paper or grouped",
        "unknown mixing gradient 'none': choose exact or detached",
    ]
