"""What an attention's pattern comes to: pairs, FLOPs, the phases its heads cover, and how far information gets.

All of it follows from the pattern alone; nothing is run.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from attention_impls.dilated.pattern import DilatedPattern
from attention_impls.dilated.schedule import Schedule
from attention_impls.pattern import FullPattern, Pattern, attention_cost
from attention_impls.reach.groups import phased_branches
from attention_impls.reach.search import Reach, search

LISTED_TOKENS = 256
"""The longest sequence whose hops are listed token by token."""
NAMED_TOKENS = 16
"""Most reached tokens that are named one by one."""

_ANY_ELEMENT = 2
"""Bytes of an element: FLOPs do not depend on it."""


@dataclass(frozen=True, slots=True)
class Flops:
    """Floating-point operations of a pass: those done, and those full attention would do."""

    actual: int
    dense: int


@dataclass(frozen=True, slots=True)
class BranchCoverage:
    """What one branch of dilated attention touches.

    Attributes:
        phases: residues (t mod segment) mod dilation in which some of the chosen heads attend.
        of_phases: how many residues there are.
        pairs: share of all (token, head) pairs that are in the branch, over all heads.
        tokens: share of the tokens that some of the chosen heads covers.
    """

    segment: int
    dilation: int
    phases: tuple[int, ...]
    of_phases: int
    pairs: float
    tokens: float


@dataclass(frozen=True, slots=True)
class Coverage:
    """What the branches touch, and the shares of the tokens left to the first branch alone, or to none."""

    branches: tuple[BranchCoverage, ...]
    first_branch_only: float
    no_branch: float


@dataclass(frozen=True, slots=True)
class Direction:
    """What one search found.

    Attributes:
        histogram: how many tokens are first reached after 0, 1, 2, ... hops.
        reached, possible: tokens there is a path to, and most there could be one to.
        longest: hops to the farthest of those reached.
        within_depth: tokens reached within the given number of hops.
        tokens: those reached, if they are few.
        hops: of every token, None for one without a path; None as a whole for a long sequence.
    """

    histogram: list[int]
    reached: int
    possible: int
    longest: int
    within_depth: int
    tokens: list[int] | None
    hops: list[int | None] | None


@dataclass(frozen=True, slots=True)
class PathBound:
    """The paper's bound on the longest path, log_ratio(N (ratio - 1) / base).

    The paper estimates it from how far the segments of that many layers reach together, whatever they leave
    out: a path may be longer.
    """

    base: int
    ratio: float
    hops: float


@dataclass(frozen=True, slots=True)
class Reachability:
    """Both searches from ``start``, by ``head`` or (None) by all heads together."""

    start: int
    head: int | None
    depth: int
    directed: Direction
    undirected: Direction
    bound: PathBound | None
    enclosed_by: int | None
    """Segment length whose boundaries no branch crosses; None if one spans the sequence, or some cross."""


@dataclass(frozen=True, slots=True)
class PatternFacts:
    """Pairs (query, key, head), multiplicity counted, and what follows from the pattern."""

    pairs: int
    dense_pairs: int
    flops: dict[str, Flops]
    coverage: Coverage | None
    reachability: Reachability

    @property
    def density(self) -> float:
        """Pairs over those of full attention: N^2 a head or, causal, N (N + 1) / 2."""
        return self.pairs / self.dense_pairs


def pattern_facts(pattern: Pattern, *, start: int, depth: int, head: int | None = None) -> PatternFacts:
    """Everything that is said about ``pattern``; coverage by phases only of dilated attention.

    Raises:
        ValueError: whatever :func:`attention_impls.reach.search.search` refuses.
    """
    heads = range(pattern.shape.heads) if head is None else range(head, head + 1)
    reachability = _reachability(pattern, heads, start, depth, head)  # first, for what it refuses
    return PatternFacts(
        pairs=pattern.pairs(),
        dense_pairs=FullPattern(pattern.shape).pairs(),
        flops={name: _flops(pattern, name) for name in ("fwd", "bwd")},
        coverage=_coverage(pattern, heads) if isinstance(pattern, DilatedPattern) else None,
        reachability=reachability,
    )


def path_bound(schedule: Schedule, seq_len: int) -> PathBound | None:
    """LongNet's bound (arXiv:2307.02486, on complexity and token dependency); None off a geometric schedule.

    Geometric: w_i = w0 a^i and r_i = a^i with a > 1, at least two branches, and w0 no longer than the sequence.
    """
    (base, undilated), *others = schedule.branches
    if not others or undilated != 1 or others[0][0] <= base or base > seq_len:
        return None
    second = others[0][0]
    powers = zip(schedule.branches[:-1], others, strict=True)
    if any(v * base != w * second or s * base != r * second for (w, r), (v, s) in powers):
        return None
    ratio = second / base
    return PathBound(base, ratio, math.log(seq_len * (ratio - 1) / base, ratio))


def _flops(pattern: Pattern, passes: str) -> Flops:
    cost = attention_cost(pattern, passes, _ANY_ELEMENT)
    return Flops(cost.flops, cost.dense_flops)


def _coverage(pattern: DilatedPattern, heads: Sequence[int]) -> Coverage:
    n = pattern.shape.seq_len
    tokens = np.arange(n)
    branches: list[BranchCoverage] = []
    covered: list[NDArray[np.bool_]] = []
    for branch, share in zip(phased_branches(pattern, heads), pattern.coverage(), strict=True):
        touched = branch.covered(tokens % branch.segment % branch.dilation)
        covered.append(touched)
        branches.append(
            BranchCoverage(
                branch.segment, branch.dilation, branch.phases, branch.residues, share, float(touched.mean())
            )
        )
    beyond = np.logical_or.reduce(covered[1:]) if covered[1:] else np.zeros(n, dtype=np.bool_)
    return Coverage(
        tuple(branches),
        first_branch_only=float((covered[0] & ~beyond).mean()),
        no_branch=float((~covered[0] & ~beyond).mean()),
    )


def _reachability(pattern: Pattern, heads: Sequence[int], start: int, depth: int, head: int | None) -> Reachability:
    n = pattern.shape.seq_len
    schedule = pattern.schedule if isinstance(pattern, DilatedPattern) else None
    return Reachability(
        start=start,
        head=head,
        depth=depth,
        directed=_direction(search(pattern, start, heads=heads, directed=True), depth),
        undirected=_direction(search(pattern, start, heads=heads, directed=False), depth),
        bound=None if schedule is None else path_bound(schedule, n),
        enclosed_by=None if schedule is None else _enclosing(schedule, n),
    )


def _enclosing(schedule: Schedule, seq_len: int) -> int | None:
    longest = max(schedule.segments)
    return longest if longest < seq_len and all(longest % w == 0 for w in schedule.segments) else None


def _direction(reach: Reach, depth: int) -> Direction:
    listed: Any = reach.hops.tolist() if len(reach.hops) <= LISTED_TOKENS else None
    return Direction(
        histogram=reach.histogram,
        reached=reach.reached,
        possible=reach.possible,
        longest=reach.longest,
        within_depth=reach.within(depth),
        tokens=np.flatnonzero(reach.hops >= 0).tolist() if reach.reached <= NAMED_TOKENS else None,
        hops=None if listed is None else [hop if hop >= 0 else None for hop in listed],
    )
