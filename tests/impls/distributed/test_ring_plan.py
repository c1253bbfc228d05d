"""The plan of ring attention: which calls a step needs, where blocks go, and what that moves."""

from __future__ import annotations

from collections import Counter
from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from attention_impls.distributed import ring_plan, sharding, vanilla_plan
from attention_impls.distributed.blocks import pairs_of_queries, tiles, tokens
from attention_impls.distributed.ring_plan import Route
from attention_impls.pattern import FullPattern
from attention_impls.shape import AttentionShape

WORLDS = range(1, 10)


@st.composite
def shared_shapes(draw: st.DrawFn) -> tuple[AttentionShape, str]:
    world = draw(st.integers(1, 9))
    algorithm = draw(st.sampled_from(["ring", "zigzag"]))
    seq = draw(st.integers(2 * world, 60))
    return AttentionShape(seq, 2, 4, 2, 8, draw(st.booleans()), world), algorithm


@given(shared_shapes())
def test_the_tiles_of_all_ranks_hold_every_pair_once_and_no_other(given_shape: tuple[AttentionShape, str]) -> None:
    shape, algorithm = given_shape
    spans = [ring_plan.spans(shape, algorithm, rank) for rank in range(shape.world_size)]
    positions = [[t for span in mine for t in span] for mine in spans]
    found: Counter[tuple[int, int]] = Counter()
    for queries, keys in product(range(shape.world_size), repeat=2):
        for tile in tiles(spans[queries], spans[keys], shape.causal):
            for row, query in enumerate(tile.queries):
                seen = row + 1 if tile.causal else tile.keys
                found.update((positions[queries][query], key) for key in positions[keys][:seen])
    pattern = FullPattern(shape)
    assert found == {(t, key): 1 for t in range(shape.seq_len) for key in pattern.key_ranges(0, t)[0]}


@given(shared_shapes())
def test_pairs_are_those_of_the_tiles_and_together_those_of_the_pattern(
    given_shape: tuple[AttentionShape, str],
) -> None:
    shape, algorithm = given_shape
    spans = [ring_plan.spans(shape, algorithm, rank) for rank in range(shape.world_size)]
    pairs = vanilla_plan.pairs(shape, {"parallel": algorithm})
    for rank, mine in enumerate(spans):
        in_tiles = sum(tile.pairs for keys in spans for tile in tiles(mine, keys, shape.causal))
        assert pairs[rank] == pairs_of_queries(shape, mine) == shape.batch * shape.heads * in_tiles
    assert sum(pairs) == FullPattern(shape).pairs()


@pytest.mark.parametrize("world", WORLDS)
def test_zigzag_needs_one_kernel_call_a_step(world: int) -> None:
    for seq, causal in product((2 * world, 2 * world + 1, 7 * world - 1), (False, True)):
        shape = AttentionShape(seq, causal=causal, world_size=world)
        spans = [sharding.zigzag(shape, rank) for rank in range(world)]
        assert all(len(tiles(mine, keys, causal)) == 1 for mine, keys in product(spans, repeat=2))


@pytest.mark.parametrize("world", WORLDS)
def test_zigzag_is_even_where_the_causal_ring_is_not(world: int) -> None:
    even = AttentionShape(2 * world * 5, heads=1, kv_heads=1, causal=True, world_size=world)
    assert len(set(vanilla_plan.pairs(even, {"parallel": "zigzag"}))) == 1
    ring = vanilla_plan.pairs(even, {"parallel": "ring"})
    assert list(ring) == sorted(set(ring))  # the last rank has most to do
    ragged = AttentionShape(even.seq_len + world, heads=1, kv_heads=1, causal=True, world_size=world)
    zigzag = vanilla_plan.pairs(ragged, {"parallel": "zigzag"})
    # two runs of tokens may be one longer: at most a token a run more, with at most all keys each
    assert max(zigzag) - min(zigzag) <= 2 * ragged.seq_len


@pytest.mark.parametrize(("world", "one_way"), list(product(WORLDS, (False, True))))
def test_whoever_is_sent_to_receives_in_the_same_round(world: int, one_way: bool) -> None:
    route = Route(world, one_way)
    for step, way in product(range(1, world), (route.hop, route.home)):
        hops = {rank: hop for rank in range(world) if (hop := way(rank, step))}
        sent = {(rank, hop.to) for rank, hop in hops.items() if hop.to is not None}
        received = {(hop.source, rank) for rank, hop in hops.items() if hop.source is not None}
        assert sent == received


@pytest.mark.parametrize(("world", "one_way"), list(product(WORLDS, (False, True))))
def test_blocks_go_only_where_they_are_worked_on_and_sums_come_home(world: int, one_way: bool) -> None:
    route = Route(world, one_way)
    for owner in range(world):
        readers = list(range(owner, world)) if one_way else [(owner + step) % world for step in range(world)]
        at, added = owner, []
        for step in range(1, world):
            following = [r for r in range(world) if route.works(r, step) and route.block(r, step) == owner]
            if not following:
                break
            (rank,) = following
            hop = route.hop(rank, step)
            assert hop is not None
            assert hop.source == at
            added.append(at := rank)
            home = route.home(rank, step)
            last = home is not None and home.to == owner
            assert last == (rank == readers[-1])
        assert [owner, *added] == readers


@given(shared_shapes(), st.sampled_from([2, 4, 8]))
def test_traffic_is_what_the_hops_move(given_shape: tuple[AttentionShape, str], element_bytes: int) -> None:
    shape, algorithm = given_shape
    route = ring_plan.route(shape, algorithm)
    numbers = [
        ring_plan.block_numbers(shape, tokens(ring_plan.spans(shape, algorithm, rank)))
        for rank in range(shape.world_size)
    ]
    wide = 8 if element_bytes == 8 else 4
    fwd, bwd, both = (ring_plan.ring_traffic(shape, algorithm, p, element_bytes) for p in ("fwd", "bwd", "fwd+bwd"))
    for rank in range(shape.world_size):
        rounds = range(1, shape.world_size)
        keys = [(hop, step) for step in rounds if (hop := route.hop(rank, step))]
        sums = [(hop, step) for step in rounds if (hop := route.hop(rank, step + 1))]
        homes = [(hop, step) for step in rounds if (hop := route.home(rank, step))]
        sent = sum(numbers[route.block(rank, step - 1)] for hop, step in keys if hop.to is not None)
        came = sum(numbers[route.block(rank, step)] for hop, step in keys if hop.source is not None)
        sums_sent = sum(numbers[route.block(rank, step)] for hop, step in sums + homes if hop.to is not None)
        sums_came = sum(numbers[route.block(rank, step + 1)] for hop, step in sums if hop.source is not None)
        sums_came += sum(numbers[rank] for hop, _ in homes if hop.source is not None)
        found = [x.get("send_recv") for x in (fwd[rank], bwd[rank], both[rank])]
        if shape.world_size == 1:
            assert found == [None] * 3
            continue
        forward, backward, together = found
        assert forward is not None
        assert backward is not None
        assert (forward.calls, forward.sent, forward.received) == (
            len(keys),
            sent * element_bytes,
            came * element_bytes,
        )
        assert backward.calls == len(keys) + len(sums) + len(homes)
        assert backward.sent == sent * element_bytes + sums_sent * wide
        assert backward.received == came * element_bytes + sums_came * wide
        assert together == forward + backward


def test_thousands_of_ranks_are_counted_in_closed_form() -> None:
    ranks, row = 4096, 2 * 8 * 64 * 2  # bytes of a token's k and v
    shape = AttentionShape(2**30, causal=False, world_size=ranks)
    full = ring_plan.ring_traffic(shape, "ring", "fwd", 2)
    assert {counts["send_recv"].received for counts in full} == {(2**30 - 2**18) * row}
    causal = AttentionShape(2**30, causal=True, world_size=ranks)
    half = ring_plan.ring_traffic(causal, "ring", "fwd", 2)
    assert [counts["send_recv"].received for counts in half] == [rank * 2**18 * row for rank in range(ranks)]
    assert sum(vanilla_plan.pairs(causal, {"parallel": "zigzag"})) == FullPattern(causal).pairs()
    assert len(set(vanilla_plan.pairs(causal, {"parallel": "zigzag"}))) == 1
