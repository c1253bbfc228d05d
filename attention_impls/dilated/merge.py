"""Mixing branches: adding keys to a softmax that is already there, by its log-sum-exp."""

from __future__ import annotations

import torch
from torch import Tensor

from attention_impls.dilated.views import Piece, lse_view, token_view


def split_runs(x: Tensor, piece: Piece, heads_dim: int, batch: int) -> list[Tensor]:
    """A kernel's result (batch * segments, ...) as one tensor (batch, segments, ...) a run."""
    return list(x.unflatten(0, (batch, piece.segments)).split([run.count for run in piece.runs], heads_dim + 1))


def merge_piece(out: Tensor, lse: Tensor, piece: Piece, piece_out: Tensor, piece_lse: Tensor) -> None:
    """Mix a piece's result into ``out`` (batch, seq, heads, d) and ``lse`` (batch, heads, seq), in place.

    lse' = log(exp lse + exp piece_lse); out' = out + exp(piece_lse - lse') (piece_out - out): the
    softmax over both sets of keys, a key in both counting twice. Rows no branch has reached hold
    out = 0 and lse = -inf, for which this is out' = piece_out exactly.
    """
    batch = out.shape[0]
    outs = split_runs(piece_out, piece, 2, batch)
    lses = split_runs(piece_lse, piece, 1, batch)
    for run, new_out, new_lse in zip(piece.runs, outs, lses, strict=True):
        rows = lse_view(lse, piece, run)
        merged = torch.logaddexp(rows, new_lse)
        weight = torch.exp(new_lse - merged).to(out.dtype)
        token_view(out, piece, run).lerp_(new_out, weight.transpose(2, 3).unsqueeze(-1))
        rows.copy_(merged)


def add_piece(grad: Tensor, piece: Piece, piece_grad: Tensor) -> None:
    """Add a piece's gradient (batch * segments, members, piece heads, d) to ``grad``, in place."""
    for run, part in zip(piece.runs, split_runs(piece_grad, piece, 2, grad.shape[0]), strict=True):
        token_view(grad, piece, run).add_(part)
