"""Pieces of all kinds to mix into a softmax, and what mixing and adding them gives in float64."""

from __future__ import annotations

import copy
import random
from dataclasses import dataclass, replace
from typing import Any

import torch
from layouts import LAYOUTS
from torch import Tensor

from attention_impls.dilated.branches import branch_pieces
from attention_impls.merging.merge import add_piece, merge_piece
from attention_impls.merging.pieces import Piece

DTYPES = (torch.float32, torch.bfloat16, torch.float16, torch.float64)
ARITHMETIC = {torch.float64: 1e-14}
"""Error of the arithmetic before rounding, where numbers are of size 1; fp32's otherwise."""


@dataclass
class MergeProblem:
    """Arguments of ``merge_piece``."""

    name: str
    out: Tensor
    lse: Tensor
    piece: Piece
    new_out: Tensor
    new_lse: Tensor

    def expected(self) -> tuple[Tensor, Tensor, Tensor]:
        """(out, lse, out + new_out) in float64, by torch's operations on the CPU."""
        out, lse, new_out, new_lse = (x.cpu().double() for x in (self.out, self.lse, self.new_out, self.new_lse))
        added = out.clone()
        merge_piece(out, lse, self.piece, new_out, new_lse)
        add_piece(added, self.piece, new_out)
        return out, lse, added

    def by(self, kernels: Any) -> tuple[Tensor, Tensor, Tensor]:
        """(out, lse, out + new_out) by ``kernels.merge_piece`` and ``kernels.add_piece``, in these tensors' layout."""
        mixed, summed = copy.deepcopy(self), copy.deepcopy(self)
        kernels.merge_piece(mixed.out, mixed.lse, self.piece, self.new_out, self.new_lse)
        kernels.add_piece(summed.out, self.piece, self.new_out)
        return mixed.out, mixed.lse, summed.out

    def check(self, out: Tensor, lse: Tensor, added: Tensor) -> None:
        """Only the last rounding, to the tensor's dtype, separates the results from float64."""
        for found, exact in zip((out, lse, added), self.expected(), strict=True):
            rounding = torch.finfo(found.dtype).eps * exact.abs() + ARITHMETIC.get(self.lse.dtype, 2e-6)
            wrong = (found.cpu().double() - exact).abs() > rounding
            assert not bool((wrong & exact.isfinite()).any()), self.name
            assert torch.equal(found.cpu()[~exact.isfinite()].double(), exact[~exact.isfinite()]), self.name


def merge_problems(count: int, device: str = "cpu", longest: int = 40) -> list[MergeProblem]:
    """All pieces of ``count`` random branches: ragged tails, phases in several runs, any strides."""
    found = []
    for seed in range(count):
        rng = random.Random(seed)
        batch, n, heads = rng.randint(1, 2), rng.randint(1, longest), rng.randint(1, 6)
        w, r, offsets = rng.randint(1, longest), rng.randint(1, 8), rng.choice(["paper", "grouped"])
        head_dim, dtype = rng.choice([1, 3, 16, 64, 80]), DTYPES[seed % len(DTYPES)]
        for piece in branch_pieces(n, w, r, heads, offsets):
            if rng.random() < 0.3:  # one whose segments begin before the tensor does
                first = min(run.offset for run in piece.runs)
                piece = replace(piece, start=piece.start - first)  # noqa: PLW2901
            name = f"seed {seed}: {batch=} {n=} {heads=} {w=} {r=} {offsets} {head_dim=} {dtype}"
            found.append(_problem(name, piece, (batch, n, heads, head_dim), dtype, rng, device))
    return found


def _problem(
    name: str, piece: Piece, shape: tuple[int, int, int, int], dtype: torch.dtype, rng: random.Random, device: str
) -> MergeProblem:
    batch, n, heads, head_dim = shape
    wide = torch.float64 if dtype == torch.float64 else torch.float32
    generator = torch.Generator().manual_seed(rng.randrange(2**31))

    def normal(*size: int) -> Tensor:
        return torch.randn(size, generator=generator, dtype=torch.float64)

    groups = batch * piece.segments
    out, new_out = normal(*shape), normal(groups, piece.members, piece.heads, head_dim)
    lse, new_lse = 3 * normal(batch, heads, n), 3 * normal(groups, piece.heads, piece.members)
    unreached = torch.rand(lse.shape, generator=generator) < 0.3
    lse[unreached] = float("-inf")
    out.transpose(1, 2)[unreached] = 0
    sum_dtype = wide if rng.random() < 0.3 else dtype  # what is merged over many steps is kept wide
    out, new_out = (
        LAYOUTS[rng.choice(list(LAYOUTS))](x.to(device, kind)) for x, kind in ((out, sum_dtype), (new_out, dtype))
    )
    lse, new_lse = (x.to(device, wide) for x in (lse, new_lse))
    if rng.random() < 0.5:
        lse, new_lse = (x.transpose(1, 2).contiguous().transpose(1, 2) for x in (lse, new_lse))
    return MergeProblem(name, out, lse, piece, new_out, new_lse)
