"""Hops through dilated attention, from group to group: O(branches x N), never its pairs.

A group is the tokens of one segment that have one head's phase. They all see each other or, causal, each
sees itself and those before it. A token is in at most one group of a branch, and a group has nothing more to
give once it has been reached from its first token on: so each group hands out each of its tokens once.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from attention_impls.dilated.pattern import DilatedPattern, head_offset

Tokens = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class PhasedBranch:
    """One branch with the phases that the chosen heads have there, each once, in order.

    ``segment`` is at most the sequence length; a phase that no token of a segment has is left out.
    """

    segment: int
    dilation: int
    phases: tuple[int, ...]

    @property
    def residues(self) -> int:
        """How many phases the tokens of a segment have."""
        return min(self.segment, self.dilation)

    def covered(self, phases: Tokens) -> NDArray[np.bool_]:
        """Whether some of the heads has each of ``phases``."""
        known = np.zeros(self.residues, dtype=np.bool_)
        known[list(self.phases)] = True
        covered: NDArray[np.bool_] = known[phases]
        return covered


def phased_branches(pattern: DilatedPattern, heads: Sequence[int]) -> list[PhasedBranch]:
    """The branches of ``pattern`` as ``heads`` see them together."""
    shape, found = pattern.shape, []
    for w, r in pattern.schedule.branches:
        segment = min(w, shape.seq_len)
        phases = {head_offset(head, r, shape.heads, pattern.offsets) for head in heads}
        found.append(PhasedBranch(segment, r, tuple(sorted(phase for phase in phases if phase < segment))))
    return found


class _Groups:
    """The groups of one branch, numbered segment by segment, and what each has not handed out yet."""

    def __init__(self, branch: PhasedBranch, seq_len: int) -> None:
        self._branch = branch
        starts = np.arange(0, seq_len, branch.segment)
        lengths = np.minimum(branch.segment, seq_len - starts)[:, None]
        members = -((np.arange(branch.residues) - lengths) // branch.dilation)
        self._left = np.maximum(members, 0).ravel()
        """Of each group, how many of its first members are left."""

    def take(self, tokens: Tokens, *, later: bool) -> Tokens:
        """The tokens one hop from ``tokens`` (ascending) that were not taken before; with ``later``, forwards only."""
        w, r, residues = self._branch.segment, self._branch.dilation, self._branch.residues
        segment, place = np.divmod(tokens, w)
        member, phase = np.divmod(place, r)
        inside = self._branch.covered(phase)
        # Ascending tokens: the first of a group is its earliest member.
        groups, earliest = np.unique((segment * residues + phase)[inside], return_index=True)
        first = member[inside][earliest] if later else np.zeros_like(groups)
        more = first < self._left[groups]
        groups, first = groups[more], first[more]
        counts = self._left[groups] - first
        self._left[groups] = first
        segment, phase = np.divmod(groups, residues)
        before = np.cumsum(counts) - counts
        steps = np.arange(counts.sum()) - np.repeat(before, counts)
        taken: Tokens = np.repeat(segment * w + phase + first * r, counts) + steps * r
        return taken


def group_hops(pattern: DilatedPattern, start: int, heads: Sequence[int], *, directed: bool) -> NDArray[np.int32]:
    """Fewest hops from ``start`` to every token, (seq_len,); -1 where there is no path.

    Time and memory are O(branches x N), apart from sorting what a hop reached.
    """
    n = pattern.shape.seq_len
    later = directed and pattern.shape.causal
    walks = [_Groups(branch, n) for branch in phased_branches(pattern, heads)]
    hops: NDArray[np.int32] = np.full(n, -1, dtype=np.int32)
    hops[start] = 0
    frontier: NDArray[Any] = np.array([start], dtype=np.int64)
    hop = 0
    while frontier.size:
        hop += 1
        found = []
        for walk in walks:
            tokens = walk.take(frontier, later=later)
            tokens = tokens[hops[tokens] < 0]
            hops[tokens] = hop
            found.append(tokens)
        frontier = np.sort(np.concatenate(found))
    return hops
