"""Float64 truth for dk and dv of single keys, for a grad_out that is not zero anywhere.

The other way round from :mod:`attention_impls.oracle`: there few queries have a gradient and all their
keys follow; here every query has one, and a key's gradient is the sum over the queries that see it. It
costs the keys of all those queries, so it suits a handful of keys of a streamed result.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from attention_impls.oracle import Gradient, Problem, Row, RowSource, oracle_row
from attention_impls.pattern import Pattern


class ReversiblePattern(Pattern, Protocol):
    """A pattern that can also tell which queries see a key."""

    def query_ranges(self, head: int, key: int) -> Sequence[range]:
        """The queries of ``head`` that see ``key``; one in several ranges sees it several times."""
        ...


@dataclass(frozen=True, slots=True, order=True)
class Key:
    """One key: (batch, key head, position)."""

    batch: int
    kv_head: int
    position: int

    def __str__(self) -> str:
        return f"batch {self.batch}, key head {self.kv_head}, position {self.position}"


class CachedRows:
    """A row source that remembers what it was asked last: queries of a segment ask for the same keys."""

    def __init__(self, source: RowSource, entries: int = 64) -> None:
        self._source, self._entries = source, entries
        self._seen: OrderedDict[tuple[int, int, range], Tensor] = OrderedDict()

    def rows(self, batch: int, head: int, positions: range) -> Tensor:
        asked = (batch, head, positions)
        if asked in self._seen:
            self._seen.move_to_end(asked)
            return self._seen[asked]
        found = self._source.rows(batch, head, positions)
        self._seen[asked] = found
        if len(self._seen) > self._entries:
            self._seen.popitem(last=False)
        return found


def oracle_key_gradient(
    problem: Problem, pattern: ReversiblePattern, grad_out: RowSource, key: Key
) -> tuple[Gradient, Gradient]:
    """dk and dv (d,) of ``key`` in float64: the formulas of ``oracle_row_gradient``, summed over queries."""
    here = range(key.position, key.position + 1)
    k = problem.k.rows(key.batch, key.kv_head, here)[0]
    v = problem.v.rows(key.batch, key.kv_head, here)[0]
    dk, dv = torch.zeros_like(k), torch.zeros_like(v)
    square = 0.0
    group = pattern.shape.group_size
    for head in range(key.kv_head * group, (key.kv_head + 1) * group):
        for queries in pattern.query_ranges(head, key.position):
            for query in queries:
                row = Row(key.batch, head, query)
                out, lse = oracle_row(problem, row)
                q, grad = problem.query(row), grad_out.rows(key.batch, head, range(query, query + 1))[0]
                p = float(torch.exp(q @ k * problem.scale - lse))
                dp, delta = float(grad @ v), float(grad @ out)
                dv += p * grad
                dk += p * (dp - delta) * problem.scale * q
                square += (p * problem.scale) ** 2 * (dp * dp + delta * delta) * float(q.square().mean())
    return Gradient(dk, square**0.5), Gradient(dv, float(dv.square().mean().sqrt()))
