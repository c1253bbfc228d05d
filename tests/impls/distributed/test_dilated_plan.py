"""The arithmetic of a shared dilated attention, against counting everything."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from attention_impls.api import get_implementation
from attention_impls.dilated.pattern import DilatedPattern, head_offset
from attention_impls.dilated.schedule import Schedule
from attention_impls.distributed.dilated_cost import dilated_pairs, dilated_traffic
from attention_impls.distributed.dilated_plan import (
    key_heads,
    part_rows,
    query_heads,
    share_of,
    sharing_ranks,
    streams_of,
)
from attention_impls.distributed.sharding import contiguous, owner
from attention_impls.distributed.traffic import Count
from attention_impls.shape import AttentionShape


@dataclass(frozen=True)
class Split:
    shape: AttentionShape
    schedule: Schedule
    offsets: str

    def phase(self, head: int, dilation: int) -> int:
        return head_offset(head, dilation, self.shape.heads, self.offsets)

    def holders(self, w: int, segment: int) -> set[int]:
        """The ranks of a segment's tokens."""
        return {owner(self.shape, t) for t in range(segment * w, min(self.shape.seq_len, segment * w + w))}

    def rows(self, branch: int, segment: int) -> list[tuple[int, int]]:
        """(position, key head) of all keys of a segment, in their order."""
        w, r = self.schedule.branches[branch]
        n, group = self.shape.seq_len, self.shape.group_size
        tokens = range(segment * w, min(n, segment * w + w))
        found = {
            (position, head // group)
            for head in range(self.shape.heads)
            for position in tokens
            if position % w % r == self.phase(head, r)
        }
        return sorted(found)


@st.composite
def splits(draw: st.DrawFn) -> Split:
    world_size = draw(st.integers(1, 9))
    kv_heads, group = draw(st.integers(1, 3)), draw(st.integers(1, 3))
    branches = draw(st.lists(st.tuples(st.integers(1, 90), st.integers(1, 14)), min_size=1, max_size=3))
    shape = AttentionShape(
        draw(st.integers(world_size, 80)), draw(st.integers(1, 2)), kv_heads * group, kv_heads, 2,
        draw(st.booleans()), world_size,
    )  # fmt: skip
    return Split(shape, Schedule(tuple(branches)), draw(st.sampled_from(["paper", "grouped"])))


@given(splits())
def test_each_rank_has_its_part_of_the_rows_of_each_segment_that_crosses_ranks(split: Split) -> None:
    shape = split.shape
    for rank in range(shape.world_size):
        share = share_of(shape, split.schedule, split.offsets, rank)
        assert share.tokens == contiguous(shape, rank)[0]
        for branch, (w, r) in enumerate(split.schedule.branches):
            inside = {t - share.tokens.start for t in share.tokens if split.holders(w, t // w) == {rank}}
            assert set(share.local[branch]) == inside
            crossing = {t // w for t in share.tokens if split.holders(w, t // w) != {rank}}
            found = {one.segment: one for one in share.shared if one.branch == branch}
            assert found.keys() == {segment for segment in crossing if split.rows(branch, segment)}
            for segment, shared in found.items():
                rows = split.rows(branch, segment)
                assert len(rows) == shared.all_rows
                assert set(shared.ranks) == split.holders(w, segment)
                own = rows[shared.first_row : shared.first_row + shared.rows]
                assert own == [row for row in rows if row[0] in share.tokens]
                streams = streams_of(shape.heads, shape.kv_heads, r, split.offsets)
                assert part_rows(shape, shared, streams) == tuple(
                    sum(owner(shape, position) == other for position, _ in rows) for other in shared.ranks
                )
                assert shared.ranks in sharing_ranks(shape, split.schedule, split.offsets)


@given(splits())
def test_member_i_of_stream_x_is_row_i_n_plus_x(split: Split) -> None:
    shape = split.shape
    for rank in range(shape.world_size):
        share = share_of(shape, split.schedule, split.offsets, rank)
        for shared in share.shared:
            r = split.schedule.branches[shared.branch][1]
            streams = streams_of(shape.heads, shape.kv_heads, r, split.offsets)
            rows = split.rows(shared.branch, shared.segment)
            mine = range(shared.start + shared.low, shared.start + shared.high)
            queries = {head: (head // shape.group_size, split.phase(head, r)) for head in range(shape.heads)}
            with_members = {head for head, (_, phase) in queries.items() if mine[(phase - shared.low) % r :]}
            found = query_heads(shape, shared, streams, split.offsets)
            assert {head for alike in found for head, _, _ in alike.heads} == with_members
            keys = key_heads(shared, streams)
            for alike, group in [*((one, shape.group_size) for one in found), *((one, 1) for one in keys)]:
                for head, phase, stream in alike.heads:
                    at = [p for p, kv in rows if kv == head // group and (p - shared.start) % r == phase]
                    assert [rows[i * len(streams.pairs) + stream] for i in range(alike.whole)] == [
                        (position, head // group) for position in at
                    ]
                    assert [p for p in at if p in mine] == at[alike.before : alike.before + alike.own] != []
                    assert group == 1 or queries[head] == (head // group, phase)
            streams_here = [stream for alike in keys for _, _, stream in alike.heads]
            assert streams_here == [
                x
                for x, (_, kv) in enumerate(streams.pairs)
                if any(rows[i][0] in mine for i in range(x, len(rows), len(streams.pairs)))
            ]


@given(splits())
def test_any_two_ranks_begin_what_they_share_in_one_order_largest_first(split: Split) -> None:
    orders = []
    for rank in range(split.shape.world_size):
        shared = share_of(split.shape, split.schedule, split.offsets, rank).shared
        assert [one.all_rows for one in shared] == sorted((one.all_rows for one in shared), reverse=True)
        assert len(shared) <= 2 * len(split.schedule.branches)
        orders.append([(one.branch, one.segment) for one in shared])
    for a in orders:
        for b in orders:
            assert [key for key in a if key in b] == [key for key in b if key in a]


@given(splits())
def test_all_ranks_count_as_many_collectives(split: Split) -> None:
    shares = [share_of(split.shape, split.schedule, split.offsets, rank) for rank in range(split.shape.world_size)]
    assert len({len(share.shared) + share.left for share in shares}) == 1
    assert min(share.left for share in shares) == 0


@given(splits(), st.sampled_from([2, 4, 8]))
def test_bytes_are_those_of_the_rows(split: Split, element_bytes: int) -> None:
    shape = split.shape
    row = 2 * shape.batch * shape.head_dim
    found = {
        pass_: dilated_traffic(shape, split.schedule, split.offsets, pass_, element_bytes)
        for pass_ in ("fwd", "bwd", "fwd+bwd")
    }
    for rank in range(shape.world_size):
        fwd, bwd = Count(), Count()
        for branch, (w, _) in enumerate(split.schedule.branches):
            for segment in range(-(-shape.seq_len // w)):
                holders = split.holders(w, segment)
                rows = split.rows(branch, segment)
                if rank in holders and len(holders) > 1 and rows:
                    own, others = sum(owner(shape, position) == rank for position, _ in rows), len(holders) - 1
                    key, gradient = row * element_bytes, row * max(4, element_bytes)
                    fwd += Count(1, len(rows) * key, own * others * key, (len(rows) - own) * key)
                    bwd += Count(1, len(rows) * gradient, (len(rows) - own) * gradient, own * others * gradient)
        gather = {"all_gather": fwd} if fwd.calls else {}
        scatter = {"reduce_scatter": bwd} if bwd.calls else {}
        assert found["fwd"][rank] == gather
        assert found["bwd"][rank] == scatter
        assert found["fwd+bwd"][rank] == gather | scatter
    for traffic in found.values():
        for kind in {kind for counts in traffic for kind in counts}:
            counts = [counts[kind] for counts in traffic if kind in counts]
            assert sum(count.sent for count in counts) == sum(count.received for count in counts)


@given(splits())
def test_pairs_are_those_of_each_ranks_queries(split: Split) -> None:
    shape = split.shape
    pattern = DilatedPattern(shape, split.schedule, split.offsets)
    counted = [
        shape.batch
        * sum(
            len(keys)
            for head in range(shape.heads)
            for t in contiguous(shape, rank)[0]
            for keys in pattern.key_ranges(head, t)
        )
        for rank in range(shape.world_size)
    ]
    assert list(dilated_pairs(shape, split.schedule, split.offsets)) == counted


@pytest.mark.parametrize("causal", [False, True])
def test_a_billion_tokens_on_4096_ranks(causal: bool) -> None:
    dilated = get_implementation("dilated")
    shape = AttentionShape(1 << 30, causal=causal, world_size=4096)
    assert dilated.parallel is not None
    assert sum(dilated.parallel.pairs(shape, {})) == dilated.pattern(shape, {}).pairs()
    traffic = dilated.parallel.traffic(shape, {}, "fwd+bwd", 2)
    # Of the branches up to 2^29 tokens, six have more than the 2^18 of a rank: each brings 2048 members of 8 heads,
    # keys and values of 64 features in 2 bytes, and as many gradients in 4.
    assert {counts["all_gather"] for counts in traffic} == {
        Count(
            6,
            6 * 2048 * 8 * 2 * 64 * 2,
            *[sum(2048 * (n - 1) // n for n in (2, 8, 32, 128, 512, 2048)) * 8 * 256] * 2,
        )
    }
    assert {counts["reduce_scatter"].size for counts in traffic} == {6 * 2048 * 8 * 2 * 64 * 4}


def test_segments_that_end_with_the_ranks_are_nobody_elses() -> None:
    shape = AttentionShape(96, heads=2, kv_heads=2, world_size=4)
    assert dilated_traffic(shape, Schedule(((8, 1), (24, 3))), "paper", "fwd+bwd", 2) == ({},) * 4


def test_the_runtime_schedule_knows_how_many_ranks_there_are() -> None:
    dilated = get_implementation("dilated")
    assert dilated.parallel is not None
    shape = AttentionShape(1 << 16, world_size=4)
    traffic = dilated.parallel.traffic(shape, {"schedule": "runtime"}, "fwd", 2)
    assert [counts["all_gather"].calls for counts in traffic] == [1] * 4  # the segment of all; tokens a rank is local


def test_fewer_tokens_than_ranks_are_refused() -> None:
    dilated = get_implementation("dilated")
    assert dilated.parallel is not None
    assert dilated.parallel.refuse(AttentionShape(8, world_size=8), {}) is None
    assert (
        dilated.parallel.refuse(AttentionShape(7, world_size=8), {})
        == "7 tokens cannot be cut into 8 parts for 8 ranks"
    )


def test_an_unknown_pass_is_an_error() -> None:
    with pytest.raises(ValueError, match=r"unknown pass 'step': choose fwd, bwd, fwd\+bwd"):
        dilated_traffic(AttentionShape(8), Schedule(((8, 1),)), "paper", "step", 2)
