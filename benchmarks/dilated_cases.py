"""The cases that the dilated benchmarks share: H = 8, d = 64, bf16, batch 1."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from attention_impls.dilated.branches import branch_pieces
from attention_impls.dilated.schedule import LM_BRANCHES, Branch

HEADS, HEAD_DIM, DTYPE = 8, 64, torch.bfloat16


@dataclass(frozen=True, slots=True)
class DilatedCase:
    """A schedule at a length, and the efficiency it is to reach."""

    name: str
    seq_len: int
    branches: tuple[Branch, ...]
    forward_goal: float
    both_goal: float

    @property
    def segments(self) -> list[int]:
        return [w for w, _ in self.branches]

    @property
    def dilations(self) -> list[int]:
        return [r for _, r in self.branches]

    def draw(self, device: str) -> list[Tensor]:
        """q, k, v and grad_out, (1, seq, heads, head_dim)."""
        shape = (1, self.seq_len, HEADS, HEAD_DIM)
        return [torch.randn(shape, dtype=DTYPE, device=device) for _ in range(4)]

    def draw_dense(self, device: str) -> list[list[Tensor]]:
        """q, k, v and grad_out of dense attention on the same pairs, shaped as each branch's segments.

        A branch (w, r) becomes batches of (w / r) x (w / r) in the back end's own favourite layout.
        """
        shapes = [
            (piece.segments * piece.heads, piece.members, 1, HEAD_DIM)
            for w, r in self.branches
            for piece in branch_pieces(self.seq_len, w, r, HEADS, "paper")
        ]
        return [[torch.randn(shape, dtype=DTYPE, device=device) for _ in range(4)] for shape in shapes]


_POWERS = tuple((w, r) for (w, _), r in zip(LM_BRANCHES, (1, 2, 4, 8, 16), strict=True))
CASES = (
    DilatedCase("256k, w 2k,16k,256k r 1,8,128", 1 << 18, ((2048, 1), (16384, 8), (262144, 128)), 0.95, 0.97),
    DilatedCase("32k, lm with r 1,2,4,8,16", 1 << 15, _POWERS, 0.95, 0.97),
    DilatedCase("32k, lm with r 1,2,4,6,12", 1 << 15, LM_BRANCHES, 0.90, 0.97),
)
