"""What one rank's queries have to do with another's keys, in as few kernel calls as it takes. No torch here."""

from __future__ import annotations

from dataclasses import dataclass

from attention_impls.distributed.sharding import Spans
from attention_impls.shape import AttentionShape


@dataclass(frozen=True, slots=True)
class Tile:
    """One kernel call: some of a rank's queries on the first keys of a block.

    Attributes:
        queries: places of the queries among the rank's own.
        keys: how many of the block's keys, from its first on.
        causal: whether it is a triangle: as many keys as queries, and query i sees keys 0..i.
    """

    queries: range
    keys: int
    causal: bool

    @property
    def pairs(self) -> int:
        """(query, key) pairs."""
        rows = len(self.queries)
        return rows * (rows + 1) // 2 if self.causal else rows * self.keys


def tokens(spans: Spans) -> int:
    """How many tokens ``spans`` hold."""
    return sum(len(span) for span in spans)


def tiles(queries: Spans, keys: Spans, causal: bool) -> tuple[Tile, ...]:
    """The kernel calls between a rank's ``queries`` and a block of ``keys``: its own spans, or all different ones.

    Spans ascend, so a rank's own block is one triangle, however many spans it has, and what a span of queries
    sees of another block is that block's first spans. Neighbouring spans that see the same are one call.
    """
    if causal and queries == keys:
        return (Tile(range(tokens(queries)), tokens(keys), True),)
    found: list[Tile] = []
    first = 0
    for span in queries:
        rows = range(first, first + len(span))
        seen = sum(len(key_span) for key_span in keys if not causal or key_span.stop <= span.start)
        if found and found[-1].keys == seen and found[-1].queries.stop == rows.start:
            found[-1] = Tile(range(found[-1].queries.start, rows.stop), seen, False)
        elif seen:
            found.append(Tile(rows, seen, False))
        first = rows.stop
    return tuple(found)


def pairs_of_queries(shape: AttentionShape, spans: Spans) -> int:
    """(batch, head, query, key) pairs of the queries in ``spans`` with all keys that they see, in closed form."""
    heads = shape.batch * shape.heads
    if not shape.causal:
        return heads * tokens(spans) * shape.seq_len
    return heads * sum((span.start + 1 + span.stop) * len(span) // 2 for span in spans)
