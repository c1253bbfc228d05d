"""What sharing a dilated attention costs each rank: bytes exchanged and pairs computed. Arithmetic, no torch."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from functools import lru_cache
from itertools import pairwise

from attention_impls.dilated.pattern import DilatedPattern, heads_before
from attention_impls.dilated.schedule import Branch, Schedule
from attention_impls.distributed import traffic
from attention_impls.distributed.dilated_plan import Shared, Streams, local_span, shared_segments, split_branches
from attention_impls.distributed.sharding import contiguous
from attention_impls.distributed.traffic import Count, Kind, Traffic, sum_bytes
from attention_impls.shape import AttentionShape

PASSES = ("fwd", "bwd", "fwd+bwd")


def dilated_traffic(
    shape: AttentionShape, schedule: Schedule, offsets: str, pass_: str, element_bytes: int
) -> tuple[Traffic, ...]:
    """What each rank exchanges in one iteration of a pass ("bwd": of the backward alone).

    A shared segment is an all-gather of its keys and values in the forward, and a reduce-scatter of their
    gradients in the backward.

    Raises:
        ValueError: ``pass_`` is none of :data:`PASSES`.
    """
    if pass_ not in PASSES:
        raise ValueError(f"unknown pass {pass_!r}: choose {', '.join(PASSES)}")
    branches = split_branches(shape, schedule, offsets)
    numbers = 2 * shape.batch * shape.head_dim
    keys, gradients = numbers * element_bytes, numbers * sum_bytes(element_bytes)

    def counts(tokens: range) -> Iterator[tuple[Kind, Count]]:
        for one in shared_segments(shape, branches, tokens):
            ranks = len(one.ranks)
            if pass_ != "bwd":
                yield "all_gather", traffic.all_gather(one.rows * keys, one.all_rows * keys, ranks)
            if pass_ != "fwd":
                yield "reduce_scatter", traffic.reduce_scatter(one.rows * gradients, one.all_rows * gradients, ranks)

    return tuple(traffic.total(counts(*contiguous(shape, rank))) for rank in range(shape.world_size))


def dilated_pairs(shape: AttentionShape, schedule: Schedule, offsets: str) -> tuple[int, ...]:
    """(batch, head, query, key) pairs that each rank computes in a forward: together those of the pattern."""
    branches = split_branches(shape, schedule, offsets)
    found = []
    for rank in range(shape.world_size):
        (tokens,) = contiguous(shape, rank)
        pairs = 0
        for branch in branches:
            if span := local_span(shape, branch.segment, tokens):
                pairs += _local_pairs(shape, len(span), (branch.segment, branch.streams.dilation), offsets)
        for shared in shared_segments(shape, branches, tokens):
            pairs += _shared_pairs(shape, shared, branches[shared.branch].streams, offsets)
        found.append(shape.batch * pairs)
    return tuple(found)


@lru_cache(maxsize=256)
def _local_pairs(shape: AttentionShape, seq_len: int, branch: Branch, offsets: str) -> int:
    return DilatedPattern(replace(shape, seq_len=seq_len, batch=1), Schedule((branch,)), offsets).pairs()


def _shared_pairs(shape: AttentionShape, shared: Shared, streams: Streams, offsets: str) -> int:
    """Pairs of this rank's queries in a shared segment, over the heads.

    Phases have equally many members between one remainder of ``low``, ``high`` and ``length`` by the dilation
    rate and the next: four counts will do for any number of heads.
    """
    r = streams.dilation
    pairs = done = 0
    for phase, stop in pairwise(sorted({0, shared.low % r, shared.high % r, shared.length % r, r})):
        through = heads_before(stop, r, shape.heads, offsets)
        if through > done:
            before = streams.members_before(shared.low, phase)
            own = streams.members_before(shared.high, phase) - before
            whole = streams.members_before(shared.length, phase)
            pairs += (through - done) * own * (2 * before + own + 1 if shape.causal else 2 * whole)
        done = through
    return pairs // 2
