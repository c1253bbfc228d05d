"""How ranks share the sequence of vanilla attention, for planning: no torch here.

The code is in :mod:`attention_impls.distributed.vanilla`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from attention_impls.api import Options, Parallel
from attention_impls.dilated.schedule import Schedule
from attention_impls.distributed import dilated_cost, ring_plan, sharding, ulysses_plan
from attention_impls.distributed.blocks import pairs_of_queries
from attention_impls.distributed.sharding import Spans
from attention_impls.distributed.traffic import Traffic
from attention_impls.shape import AttentionShape

ALGORITHMS = ("ring", "zigzag", "ulysses", "allgather")
"""Names of the option ``parallel``, the default first."""


def algorithm_of(options: Options) -> str:
    """The algorithm that ``options`` name, the default if none.

    Raises:
        ValueError: there is no such algorithm.
    """
    name = str(options.get("parallel") or ALGORITHMS[0])
    if name not in ALGORITHMS:
        raise ValueError(f"unknown parallel {name!r}: choose {', '.join(ALGORITHMS[:-1])} or {ALGORITHMS[-1]}")
    return name


def refuse(shape: AttentionShape, options: Options) -> str | None:
    """Why ``shape`` cannot be shared so; None if it can."""
    match algorithm_of(options):
        case "ulysses":
            return ulysses_plan.refuse(shape)
        case "zigzag":
            return sharding.too_short(shape, 2 * shape.world_size)
        case _:
            return sharding.too_short(shape, shape.world_size)


def spans(shape: AttentionShape, options: Options, rank: int) -> Spans:
    """The tokens of ``rank``."""
    return ring_plan.spans(shape, algorithm_of(options), rank)


def traffic_of(shape: AttentionShape, options: Options, passes: str, element_bytes: int) -> tuple[Traffic, ...]:
    """What every rank exchanges in one iteration of ``passes``."""
    name = algorithm_of(options)
    if name == "ulysses":
        return ulysses_plan.ulysses_traffic(shape, passes, element_bytes)
    if name == "allgather":
        return dilated_cost.dilated_traffic(shape, one_branch(shape), "paper", passes, element_bytes)
    return ring_plan.ring_traffic(shape, name, passes, element_bytes)


def pairs(shape: AttentionShape, options: Options) -> tuple[int, ...]:
    """(batch, head, query, key) pairs that every rank computes in a forward."""
    ranks = range(shape.world_size)
    if algorithm_of(options) == "ulysses":  # all queries of its share of the heads
        every = sum(pairs_of_queries(shape, sharding.contiguous(shape, rank)) for rank in ranks)
        return (every // shape.world_size,) * shape.world_size
    return tuple(pairs_of_queries(shape, spans(shape, options, rank)) for rank in ranks)


def one_branch(shape: AttentionShape) -> Schedule:
    """The dilated attention that is vanilla: one segment, in which nothing is left out."""
    return Schedule(((shape.seq_len, 1),))


def _load() -> Callable[..., Any]:
    from attention_impls.distributed.vanilla import vanilla_parallel

    return vanilla_parallel


PARALLEL = Parallel(
    algorithms=ALGORITHMS,
    refuse=refuse,
    spans=spans,
    traffic=traffic_of,
    pairs=pairs,
    load=_load,
)
