"""Mixing branches: adding keys to a softmax that is already there, by its log-sum-exp.

On CUDA one Triton kernel does it in one pass over memory. Elsewhere, and where Triton is missing,
torch's own operations do, a head at a time: rows of one head are a plain two-dimensional loop for torch,
where rows and heads together send it through its slow path for three (six times slower on a CPU).
"""

from __future__ import annotations

import warnings
from functools import cache
from types import ModuleType

import torch
from torch import Tensor

from attention_impls.merging.pieces import HeadRun, Piece, lse_view, token_view


@cache
def fused_kernels(device: torch.device) -> ModuleType | None:
    """:mod:`attention_impls.merging.triton_merge` if it runs on ``device``, else None.

    A trial run tells: Triton also needs a C compiler and a GPU that it knows. Warns if Triton is there
    and fails: everything works all the same, but slower.
    """
    if device.type != "cuda":
        return None
    try:
        from attention_impls.merging import triton_merge
    except ImportError:
        return None
    try:
        triton_merge.trial(device)
    except Exception as error:  # compilers and drivers fail in many ways
        reason = f"{type(error).__name__}: {error}".splitlines()[0]
        warnings.warn(f"Triton fails here, so torch mixes branches, slower: {reason}", RuntimeWarning, stacklevel=2)
        return None
    return triton_merge


def split_runs(x: Tensor, piece: Piece, heads_dim: int, batch: int) -> list[Tensor]:
    """A kernel's result (batch * segments, ...) as one tensor (batch, segments, ...) a run."""
    return list(x.unflatten(0, (batch, piece.segments)).split([run.count for run in piece.runs], heads_dim + 1))


def mix_rows(out: Tensor, lse: Tensor, new_out: Tensor, new_lse: Tensor) -> None:
    """Mix more keys' softmax into ``out`` (batch, rows, d) and ``lse`` (batch, rows), in place.

    lse' = log(exp lse + exp new_lse); out' = out + exp(new_lse - lse') (new_out - out): the softmax over
    both sets of keys, a key in both counting twice. Rows no branch has reached hold out = 0 and
    lse = -inf, for which this is out' = new_out exactly.
    """
    rows = out.shape[1]
    whole = Piece(0, 1, rows, 1, rows, (HeadRun(0, 1, 0, 0),))
    merge_piece(out.unsqueeze(2), lse.unsqueeze(1), whole, new_out.unsqueeze(2), new_lse.unsqueeze(1))


def merge_piece(out: Tensor, lse: Tensor, piece: Piece, piece_out: Tensor, piece_lse: Tensor) -> None:
    """:func:`mix_rows` of a piece's result into ``out`` (batch, seq, heads, d) and ``lse`` (batch, heads, seq).

    ``piece_out`` is (batch * segments, members, piece heads, d) and ``piece_lse`` (batch * segments, piece
    heads, members), of any strides. ``out`` may be of a wider type than ``piece_out``.
    """
    if kernels := fused_kernels(out.device):
        kernels.merge_piece(out, lse, piece, piece_out, piece_lse)
        return
    outs = split_runs(piece_out, piece, 2, out.shape[0])
    lses = split_runs(piece_lse, piece, 1, out.shape[0])
    for run, new_out, new_lse in zip(piece.runs, outs, lses, strict=True):
        rows, rows_lse = token_view(out, piece, run), lse_view(lse, piece, run)
        merged = torch.logaddexp(rows_lse, new_lse)
        weight = torch.exp(new_lse - merged).to(out.dtype).unsqueeze(-1)
        for head in range(run.count):
            rows[..., head, :].lerp_(new_out[..., head, :].to(out.dtype), weight[:, :, head])
        rows_lse.copy_(merged)


def add_piece(grad: Tensor, piece: Piece, piece_grad: Tensor) -> None:
    """Add a piece's gradient (batch * segments, members, piece heads, d) to ``grad``, in place."""
    if kernels := fused_kernels(grad.device):
        kernels.add_piece(grad, piece, piece_grad)
        return
    for run, part in zip(piece.runs, split_runs(piece_grad, piece, 2, grad.shape[0]), strict=True):
        rows = token_view(grad, piece, run)
        for head in range(run.count):
            rows[..., head, :].add_(part[..., head, :])


def place_piece(whole: Tensor, piece: Piece, part: Tensor) -> None:
    """Write a piece's rows (batch * segments, members, piece heads, d) into ``whole``; nothing if they are there."""
    if part.data_ptr() == whole.data_ptr():
        return
    for run, rows in zip(piece.runs, split_runs(part, piece, 2, whole.shape[0]), strict=True):
        token_view(whole, piece, run).copy_(rows)


def place_lse(lse: Tensor, piece: Piece, piece_lse: Tensor) -> None:
    """Write a piece's log-sum-exp (batch * segments, piece heads, members) into ``lse``."""
    for run, rows in zip(piece.runs, split_runs(piece_lse, piece, 1, lse.shape[0]), strict=True):
        lse_view(lse, piece, run).copy_(rows)
