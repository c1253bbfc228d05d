"""Ulysses and all-gather attention over 1 to 8 processes against the whole sequence in one."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from shared_vanilla import NAMES, assert_exact, places, saved_numbers, shared, three_ways, whole
from worlds import run_ranks

from attention_impls.distributed import vanilla_plan
from attention_impls.distributed.comm import Communicator
from attention_impls.distributed.dilated_cost import dilated_pairs
from attention_impls.distributed.traffic import Count
from attention_impls.distributed.vanilla import vanilla_parallel
from attention_impls.pattern import FullPattern
from attention_impls.shape import AttentionShape


@pytest.mark.parametrize("world", range(1, 9))
@pytest.mark.parametrize("causal", [False, True])
def test_any_world_gives_the_result_of_one_process(world: int, causal: bool) -> None:
    shape = AttentionShape(4 * world + 3, 2, 2 * world, world, 8, causal, world)
    parts = assert_exact(shape, "ulysses", "sdpa-flash")
    assert [part.pairs for part in parts] == list(vanilla_plan.pairs(shape, {"parallel": "ulysses"}))
    assert [part.calls for part in parts] == [1] * world


@given(st.data())
@settings(max_examples=40)
def test_drawn_shapes_give_the_result_of_one_process(data: st.DataObject) -> None:
    world = data.draw(st.integers(2, 8), label="world")
    kv_heads = world * data.draw(st.integers(1, 2), label="kv heads a rank")
    shape = AttentionShape(
        seq_len=data.draw(st.integers(world, 40), label="tokens"),
        batch=data.draw(st.integers(1, 3), label="batch"),
        heads=kv_heads * data.draw(st.integers(1, 3), label="group"),
        kv_heads=kv_heads,
        head_dim=data.draw(st.sampled_from([1, 4, 7]), label="head dim"),
        causal=data.draw(st.booleans(), label="causal"),
        world_size=world,
    )
    assert_exact(shape, "ulysses", data.draw(st.sampled_from(["math", "sdpa-flash"]), label="back end"))


@pytest.mark.parametrize("world", range(1, 9))
@pytest.mark.parametrize("causal", [False, True])
def test_all_gather_gives_the_result_of_one_process(world: int, causal: bool) -> None:
    shape = AttentionShape(4 * world + 3, 2, 4, 2, 8, causal, world)
    assert_exact(shape, "allgather", "sdpa-flash")
    pairs = vanilla_plan.pairs(shape, {"parallel": "allgather"})
    assert pairs == dilated_pairs(shape, vanilla_plan.one_branch(shape), "paper")
    assert sum(pairs) == FullPattern(shape).pairs()


def test_a_forward_moves_a_ranks_share_twice() -> None:
    """q, k and v of the heads of others go out and come back as their outputs: 4 heads of 2 tokens, 2 of them away."""
    shape = AttentionShape(4, 1, 4, 2, 8, False, 2)
    rows = 2 * 8 * 8  # bytes of a head's features of 2 tokens
    out = Count(1, 8 * rows, 4 * rows, 4 * rows)
    back = Count(1, 4 * rows, 2 * rows, 2 * rows)
    assert vanilla_plan.traffic_of(shape, {"parallel": "ulysses"}, "fwd", 8) == ({"all_to_all": out + back},) * 2


def test_half_types_are_as_exact_as_in_one_process() -> None:
    shape = AttentionShape(67, 1, 8, 4, 16, True, 4)
    shares, _ = shared(shape, "ulysses", torch.bfloat16)
    for name, found, single in zip(NAMES, shares, whole(shape, torch.bfloat16), strict=True):
        assert found.dtype == single.dtype
        torch.testing.assert_close(found, single, rtol=0.02, atol=0.02, msg=lambda text, name=name: f"{name}: {text}")


def test_as_much_is_kept_for_the_backward_as_q_k_v_out_and_lse_are() -> None:
    for kept, own in run_ranks(2, saved_numbers, AttentionShape(20, 1, 4, 2, 8, True, 2), "ulysses"):
        assert kept == own


@pytest.mark.parametrize("parallel", ["ulysses", "allgather"])
def test_a_pass_without_its_collectives_computes_the_same_again(parallel: str) -> None:
    for same in run_ranks(3, three_ways, AttentionShape(23, 1, 6, 3, 8, True, 3), parallel):
        assert all(same)


@pytest.mark.parametrize(
    ("parallel", "shape", "says"),
    [
        (
            "ulysses",
            AttentionShape(64, 1, 8, 4, 8, False, 8),
            (
                "ulysses gives every rank whole heads, and 8 heads with 4 kv heads are not both multiples of 8 ranks: "
                "choose other heads, or ring, zigzag or allgather"
            ),
        ),
        ("ulysses", AttentionShape(3, 1, 8, 8, 8, False, 4), "3 tokens cannot be cut into 4 parts for 4 ranks"),
        ("ring", AttentionShape(1, 1, 8, 8, 8, False, 2), "1 token cannot be cut into 2 parts for 2 ranks"),
        ("zigzag", AttentionShape(7, 1, 8, 8, 8, False, 4), "7 tokens cannot be cut into 8 parts for 4 ranks"),
        ("allgather", AttentionShape(3, 1, 8, 8, 8, False, 4), "3 tokens cannot be cut into 4 parts for 4 ranks"),
        ("zigzag", AttentionShape(8, 1, 8, 8, 8, False, 4), None),
        ("ulysses", AttentionShape(4, 1, 8, 4, 8, False, 4), None),
    ],
)
def test_what_cannot_be_shared_says_why(parallel: str, shape: AttentionShape, says: str | None) -> None:
    assert vanilla_plan.refuse(shape, {"parallel": parallel}) == says


def test_an_unknown_algorithm_names_the_known_ones() -> None:
    with pytest.raises(ValueError, match="unknown parallel 'star': choose ring, zigzag, ulysses or allgather"):
        vanilla_plan.refuse(AttentionShape(64, world_size=2), {"parallel": "star"})


def refusals(comm: Communicator, shape: AttentionShape) -> list[str]:
    """What is said to a share that is one token short, to heads that do not fit, and to a wrong world."""
    mine = len(places(shape, "ring", comm.rank))
    q, short = torch.randn(1, mine, 4, 8), torch.randn(1, mine - 1, 4, 8)
    said = []
    for x, parallel, whole_shape in (
        (short, "ring", shape),
        (q, "ulysses", shape),
        (q, "zigzag", AttentionShape(shape.seq_len, 1, 4, 4, 8, False, 1)),
    ):
        try:
            vanilla_parallel(x, x, x, comm=comm, shape=whole_shape, parallel=parallel)
        except ValueError as error:
            said.append(str(error))
    return said


def test_tensors_that_are_not_a_ranks_share_say_so() -> None:
    short, heads, world = run_ranks(3, refusals, AttentionShape(10, 1, 4, 4, 8, False, 3))[0]
    assert short == (
        "q (1, 3, 4, 8) and k (1, 3, 4, 8) are not what rank 0 of 3 has of 10 tokens for 3 ranks: "
        "q is (1, 4, 4, 8), with 4 kv heads"
    )
    assert "4 heads with 4 kv heads are not both multiples of 3 ranks" in heads
    assert "rank 0 of 3 has of 10 tokens for 1 ranks" in world


def test_one_process_takes_the_option_only_where_it_says_nothing() -> None:
    from attention_impls.api import Unsupported, get_implementation

    run = get_implementation("vanilla").load()
    x = torch.randn(1, 5, 2, 4)
    assert run(x, x, x, causal=True, parallel=None).shape == x.shape
    with pytest.raises(Unsupported, match="parallel 'ring' is for a sequence shared by several ranks"):
        run(x, x, x, causal=True, parallel="ring")
