"""The pattern of dilated attention: for each (head, token), its own phase of its own segments."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from attention_impls.dilated.schedule import Schedule
from attention_impls.shape import AttentionShape

OFFSETS = ("paper", "grouped")


def heads_before(offset: int, dilation: int, heads: int, offsets: str) -> int:
    """How many of ``heads`` have a :func:`head_offset` below ``offset``, which is at most ``dilation``."""
    if offsets == "paper":
        return heads // dilation * offset + min(heads % dilation, offset)
    return min(heads, -(-heads // dilation) * offset)


def head_offset(head: int, dilation: int, heads: int, offsets: str) -> int:
    """The phase s of ``head`` in a branch of this dilation rate.

    ``paper``: head mod r (LongNet, section 2.3). ``grouped``: head // ceil(heads / r), as in the
    authors' code, where neighbouring heads share a phase.
    """
    if offsets == "paper":
        return head % dilation
    if offsets == "grouped":
        return head // -(-heads // dilation)
    raise ValueError(f"unknown offsets {offsets!r}: choose {' or '.join(OFFSETS)}")


@dataclass(frozen=True, slots=True)
class DilatedPattern:
    """Token t is in branch (w, r) of head j iff ((t mod w) mod r) is the head's offset."""

    shape: AttentionShape
    schedule: Schedule
    offsets: str = "paper"
    exact_mixing: bool = True

    def key_ranges(self, head: int, query: int) -> Sequence[range]:
        found = []
        for w, r in self.schedule.branches:
            offset = head_offset(head, r, self.shape.heads, self.offsets)
            if (query % w) % r != offset:
                continue
            start = query - query % w
            stop = query + 1 if self.shape.causal else min(start + w, self.shape.seq_len)
            found.append(range(start + offset, stop, r))
        return found

    def query_ranges(self, head: int, key: int) -> Sequence[range]:
        """The queries of ``head`` that see ``key``: one range a branch, as in :meth:`key_ranges`."""
        found = []
        for w, r in self.schedule.branches:
            offset = head_offset(head, r, self.shape.heads, self.offsets)
            if (key % w) % r != offset:
                continue
            start = key - key % w
            first = key if self.shape.causal else start + offset
            found.append(range(first, min(start + w, self.shape.seq_len), r))
        return found

    def coverage(self) -> list[float]:
        """The share of (token, head) pairs that each branch touches; 1 for an undilated one."""
        shape, shares = self.shape, []
        for w, r in self.schedule.branches:
            full, tail = divmod(shape.seq_len, w)
            touched = full * self._over_heads(w, r, lambda n: n) + self._over_heads(tail, r, lambda n: n)
            shares.append(touched / (shape.seq_len * shape.heads))
        return shares

    def pairs(self) -> int:
        total = 0
        for w, r in self.schedule.branches:
            full, tail = divmod(self.shape.seq_len, w)
            total += full * self._over_heads(w, r, self._pairs_of) + self._over_heads(tail, r, self._pairs_of)
        return self.shape.batch * total

    def _pairs_of(self, members: int) -> int:
        return members * (members + 1) // 2 if self.shape.causal else members * members

    def _over_heads(self, length: int, r: int, of: Callable[[int], int]) -> int:
        """The sum over the heads of ``of`` the members of a segment: one more for an offset below the remainder."""
        members, left = divmod(length, r)
        more = heads_before(left, r, self.shape.heads, self.offsets)
        return more * of(members + 1) + (self.shape.heads - more) * of(members)
