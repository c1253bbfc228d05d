"""A pattern written out at one length: which (query, head) sees which keys, as tensors."""

from __future__ import annotations

from functools import cached_property

import torch
from torch import Tensor

from attention_impls.pattern import Pattern


class Declared:
    """All rows of a pattern, laid out (seq, heads) as an output is. Costs O(seq * heads * ranges of a row)."""

    def __init__(self, pattern: Pattern) -> None:
        n, heads = pattern.shape.seq_len, pattern.shape.heads
        found = [
            (query * heads + head, keys.start, len(keys), keys.step)
            for query in range(n)
            for head in range(heads)
            for keys in pattern.key_ranges(head, query)
            if keys
        ]
        self._shape = (n, heads)
        self._row, self._first, self._count, self._step = torch.tensor(found).reshape(len(found), 4).long().unbind(1)

    @cached_property
    def totals(self) -> Tensor:
        """(seq, heads): how many keys each row sees, one in several ranges several times."""
        return self._sum(self._count)

    def times(self, key: int) -> Tensor:
        """(seq, heads): how often each row sees ``key``."""
        distance = key - self._first
        place = distance // self._step
        return self._sum(((distance % self._step == 0) & (place >= 0) & (place < self._count)).long())

    @cached_property
    def last(self) -> Tensor:
        """(seq, heads): the last key each row sees, -1 where it sees none."""
        n, heads = self._shape
        seen = self._first + (self._count - 1) * self._step
        return torch.full((n * heads,), -1).scatter_reduce(0, self._row, seen, "amax").view(n, heads)

    def alike(self, head: int, other: int) -> bool:
        """Whether both heads see the same keys from every query."""
        one, two = (self._rows_of(each) for each in (head, other))
        return torch.equal(one, two)

    def _rows_of(self, head: int) -> Tensor:
        heads = self._shape[1]
        here = self._row % heads == head
        return torch.stack([x[here] for x in (self._row // heads, self._first, self._count, self._step)])

    def _sum(self, values: Tensor) -> Tensor:
        n, heads = self._shape
        return torch.zeros(n * heads, dtype=torch.int64).index_add_(0, self._row, values).view(n, heads)


def rows_named(rows: Tensor) -> str:
    """A non-empty mask (seq, heads) in words: ``12 of 256 rows, all of head 2, first at head 2, query 0``."""
    query, head = rows.nonzero()[0].tolist()
    whole = rows.all(0).nonzero().flatten().tolist()
    heads = "" if not whole or rows.all() else f"all of head {', '.join(map(str, whole))}, "
    return f"{int(rows.sum())} of {rows.numel()} rows, {heads}first at head {head}, query {query}"
