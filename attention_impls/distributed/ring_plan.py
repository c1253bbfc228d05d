"""Which block of keys is where in a ring, and what that moves. Plain arithmetic: no torch here.

The keys and values of a rank are a *block*. In step s rank i works on block i - s, so a block moves on by one
rank a step (Liu et al., Ring Attention, 2023, arXiv:2310.01889). In the backward its gradient, the sum of what
each rank finds, moves with it one step behind, from the first rank after the owner on; from the last it goes
home. The owner's own share never travels.

Where the layout is contiguous and the attention causal, a block is of no use to the ranks before its owner.
There it stops at the last rank, and its gradient goes home from there at once: half of the messages are not
sent. In the zigzag layout every rank needs something of every block.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate

from attention_impls.distributed import sharding
from attention_impls.distributed.blocks import tokens
from attention_impls.distributed.sharding import Spans
from attention_impls.distributed.traffic import Count, Kind, Traffic, sum_bytes, total
from attention_impls.pattern import PASS_PARTS
from attention_impls.shape import AttentionShape


@dataclass(frozen=True, slots=True)
class Hop:
    """What one rank does in one round of messages: sends to ``to``, receives from ``source``; None: nothing."""

    to: int | None
    source: int | None


@dataclass(frozen=True, slots=True)
class Route:
    """The way of blocks around ``world_size`` ranks.

    In every round, what is sent is received: the rounds of a pass in their order never wait for each other.

    Attributes:
        world_size: ranks, and blocks.
        one_way: whether blocks go to later ranks only.
    """

    world_size: int
    one_way: bool

    def block(self, rank: int, step: int) -> int:
        """The block that ``rank`` works on in ``step``."""
        return (rank - step) % self.world_size

    def works(self, rank: int, step: int) -> bool:
        """Whether ``rank`` has a block to work on in ``step``; in step 0 it is its own."""
        return step <= (rank if self.one_way else self.world_size - 1)

    def hop(self, rank: int, step: int) -> Hop | None:
        """How blocks reach the ranks that work on them in ``step`` >= 1; sums follow by the same hops."""
        following, previous = (rank + 1) % self.world_size, (rank - 1) % self.world_size
        to = following if self.works(following, step) else None
        return _hop(to, previous if self.works(rank, step) else None)

    def home(self, rank: int, step: int) -> Hop | None:
        """How sums go to their owners, of blocks that were worked on for the last time in ``step``, 1 to P - 1."""
        last = self.world_size - 1
        if self.one_way:
            return _hop(self.block(rank, step) if rank == last else None, last if step == last - rank else None)
        return self.hop(rank, step) if step == last else None


def _hop(to: int | None, source: int | None) -> Hop | None:
    return None if to is None and source is None else Hop(to, source)


def spans(shape: AttentionShape, algorithm: str, rank: int) -> Spans:
    """The tokens of ``rank``; ``algorithm`` is "ring" or "zigzag"."""
    return sharding.zigzag(shape, rank) if algorithm == "zigzag" else sharding.contiguous(shape, rank)


def route(shape: AttentionShape, algorithm: str) -> Route:
    """The way of its blocks; ``algorithm`` is "ring" or "zigzag"."""
    return Route(shape.world_size, shape.causal and algorithm == "ring")


def block_numbers(shape: AttentionShape, count: int) -> int:
    """How many numbers a block of ``count`` tokens is: k and v in one buffer."""
    return 2 * shape.batch * count * shape.kv_heads * shape.head_dim


def ring_traffic(shape: AttentionShape, algorithm: str, passes: str, element_bytes: int) -> tuple[Traffic, ...]:
    """What every rank exchanges; ``algorithm`` is "ring" or "zigzag".

    Forward: every rank sends and receives P - 1 blocks of k|v. Backward: these again, and P - 1 of dk|dv, which are
    fp32 (fp64 for fp64). On a one-way route rank i receives i blocks of k|v, of which and of its own it sends i + 1
    (the last rank: none); every block's dk|dv makes as many moves as the block, the last of them home.
    """
    way = route(shape, algorithm)
    ranks = range(shape.world_size)
    sizes = [block_numbers(shape, tokens(spans(shape, algorithm, rank))) for rank in ranks]
    before = [0, *accumulate(sizes)]
    keys, sums = (_one_way_keys, _one_way_sums) if way.one_way else (_full_keys, _full_sums)

    def of(rank: int) -> Traffic:
        found: list[tuple[Kind, Count]] = []
        for part in PASS_PARTS[passes]:
            found.append(("send_recv", _scaled(keys(rank, sizes, before), element_bytes)))
            if part == "bwd":
                found.append(("send_recv", _scaled(sums(rank, sizes, before), sum_bytes(element_bytes))))
        return total(found)

    return tuple(of(rank) if shape.world_size > 1 else {} for rank in ranks)


_Moves = tuple[int, int, int]
"""Calls, numbers sent, numbers received."""


def _scaled(moves: _Moves, unit: int) -> Count:
    calls, sent, received = moves
    return Count(calls, sent * unit, sent * unit, received * unit)


def _full_keys(rank: int, sizes: Sequence[int], before: Sequence[int]) -> _Moves:
    """Every block comes but its own, and every block is sent on but the one that has come to its end here."""
    last_here = sizes[(rank + 1) % len(sizes)]
    return len(sizes) - 1, before[-1] - last_here, before[-1] - sizes[rank]


def _full_sums(rank: int, sizes: Sequence[int], before: Sequence[int]) -> _Moves:
    """It adds to every sum but its own; only the one that begins here does not come."""
    return len(sizes) - 1, before[-1] - sizes[rank], before[-1] - sizes[rank - 1]


def _one_way_keys(rank: int, sizes: Sequence[int], before: Sequence[int]) -> _Moves:
    """The blocks of all ranks before it come; it sends them on, and its own."""
    if rank == len(sizes) - 1:
        return rank, 0, before[rank]
    return rank + 1, before[rank + 1], before[rank]


def _one_way_sums(rank: int, sizes: Sequence[int], before: Sequence[int]) -> _Moves:
    """It adds to the sums of all ranks before it, of which the last begins here; its own comes home."""
    came = before[max(0, rank - 1)]
    if rank == len(sizes) - 1:
        return max(0, rank - 1) + rank, before[rank], came
    return rank + 1, before[rank], came + sizes[rank]
