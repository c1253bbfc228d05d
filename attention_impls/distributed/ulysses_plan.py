"""What sharing heads instead of tokens asks of a shape, and what it moves. Plain arithmetic: no torch here."""

from __future__ import annotations

from attention_impls.distributed import sharding, traffic
from attention_impls.distributed.blocks import tokens
from attention_impls.distributed.traffic import Count, Kind, Traffic
from attention_impls.pattern import PASS_PARTS
from attention_impls.shape import AttentionShape


def refuse(shape: AttentionShape) -> str | None:
    """Why heads cannot be shared out evenly, or tokens at all; None if they can."""
    ranks = shape.world_size
    if shape.heads % ranks or shape.kv_heads % ranks:
        return (
            f"ulysses gives every rank whole heads, and {shape.heads} heads with {shape.kv_heads} kv heads are not "
            f"both multiples of {ranks} ranks: choose other heads, or ring, zigzag or allgather"
        )
    return sharding.too_short(shape, ranks)


def ulysses_traffic(shape: AttentionShape, passes: str, element_bytes: int) -> tuple[Traffic, ...]:
    """What every rank exchanges: q|k|v out and the output back; backward, grad_out out and dq|dk|dv back.

    Of S bytes of q, k, v and out together a rank gives and gets S / P * (P - 1) / P in a forward, evenly cut.
    """
    q_numbers = shape.batch * shape.heads // shape.world_size * shape.head_dim
    kv_numbers = shape.batch * shape.kv_heads // shape.world_size * shape.head_dim
    whole = (q_numbers + 2 * kv_numbers) * element_bytes  # of a token's q, k and v, what one rank's heads are
    single = q_numbers * element_bytes  # of its output
    to_heads = {"fwd": whole, "bwd": single}
    to_tokens = {"fwd": single, "bwd": whole}

    def of(rank: int) -> Traffic:
        mine = tokens(sharding.contiguous(shape, rank))
        found: list[tuple[Kind, Count]] = []
        for part in PASS_PARTS[passes]:
            unit = to_heads[part]
            found.append(
                ("all_to_all", traffic.all_to_all(mine * shape.world_size * unit, shape.seq_len * unit, mine * unit))
            )
            unit = to_tokens[part]
            found.append(
                ("all_to_all", traffic.all_to_all(shape.seq_len * unit, mine * shape.world_size * unit, mine * unit))
            )
        return traffic.total(found)

    return tuple(of(rank) for rank in range(shape.world_size))
