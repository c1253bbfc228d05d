"""Patterns: for a (head, query), which keys it sees and how often.

A pattern is the single description of *what* an attention computes. Cost, mask and the float64
oracle are derived from it, so an implementation is checked against something it cannot influence.
Keys are given as :class:`range` objects: at 1b tokens a row's keys must never be listed from N.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Protocol

from attention_impls.shape import AttentionShape


class Pattern(Protocol):
    """Which keys each (head, query) sees. A key in several ranges counts several times.

    A pattern may declare ``heads_alike = True``: that all heads see the same keys.
    """

    @property
    def shape(self) -> AttentionShape: ...

    @property
    def exact_mixing(self) -> bool:
        """False where each range is a branch whose mixing weight has no gradient."""
        ...

    def key_ranges(self, head: int, query: int) -> Sequence[range]:
        """The keys that ``query`` of ``head`` attends to; empty if it attends to none."""
        ...

    def pairs(self) -> int:
        """Number of (batch, head, query, key) pairs, multiplicity counted, in closed form."""
        ...


@dataclass(frozen=True, slots=True)
class FullPattern:
    """Every query sees every key (or, causal, every key at or before it)."""

    shape: AttentionShape
    exact_mixing: bool = True
    heads_alike: ClassVar[bool] = True

    def key_ranges(self, head: int, query: int) -> Sequence[range]:  # noqa: ARG002 (all heads alike)
        return (range(query + 1 if self.shape.causal else self.shape.seq_len),)

    def query_ranges(self, head: int, key: int) -> Sequence[range]:  # noqa: ARG002 (all heads alike)
        """The queries that see ``key``."""
        return (range(key if self.shape.causal else 0, self.shape.seq_len),)

    def pairs(self) -> int:
        n = self.shape.seq_len
        per_head = n * (n + 1) // 2 if self.shape.causal else n * n
        return self.shape.batch * self.shape.heads * per_head


@dataclass(frozen=True, slots=True)
class Cost:
    """Work of one pass, in floating-point operations and bytes."""

    flops: int
    dense_flops: int
    io_bytes: int
    comm_bytes: int = 0


FORWARD_FLOPS_PER_PAIR_AND_DIM = 4
"""Two multiply-adds (q k^T and p v) for each pair and feature."""

BACKWARD_OVER_FORWARD = 2.5
"""Five matrix products (recomputed scores, dv, dp, dq, dk) against the forward's two."""

PASS_PARTS: dict[str, tuple[str, ...]] = {
    "fwd": ("fwd",),
    "bwd": ("bwd",),
    "fwd+bwd": ("fwd", "bwd"),
    "step": ("fwd", "bwd"),
}
"""What a pass is made of. A step is one of an optimiser: its work on each parameter is not counted."""

_PART_WORK = {"fwd": 1.0, "bwd": BACKWARD_OVER_FORWARD}


def attention_cost(pattern: Pattern, passes: str, element_bytes: int) -> Cost:
    """Cost of ``passes`` (a name of :data:`PASS_PARTS`) by the field's convention.

    Forward: ``4 * pairs * head_dim`` (Dao et al., FlashAttention-2, section 4.1); backward 2.5
    times that. ``dense_flops`` is what full attention of the same shape would cost. ``io_bytes``
    counts each input read once and each output written once: a lower bound on memory traffic.
    """
    shape = pattern.shape
    work = sum(_PART_WORK[part] for part in PASS_PARTS[passes]) * FORWARD_FLOPS_PER_PAIR_AND_DIM * shape.head_dim
    return Cost(
        flops=round(work * pattern.pairs()),
        dense_flops=round(work * FullPattern(shape).pairs()),
        io_bytes=_io_bytes(shape, passes, element_bytes),
    )


def _io_bytes(shape: AttentionShape, passes: str, element_bytes: int) -> int:
    tokens = shape.batch * shape.seq_len * shape.head_dim * element_bytes
    q_like, kv_like = tokens * shape.heads, tokens * shape.kv_heads
    forward = 2 * q_like + 2 * kv_like  # q, out; k, v
    backward = 4 * q_like + 4 * kv_like  # q, out, grad_out, dq; k, v, dk, dv
    each = {"fwd": forward, "bwd": backward}
    return sum(each[part] for part in PASS_PARTS[passes])
