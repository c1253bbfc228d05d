"""Mixing or adding a piece's rows on CUDA: one launch a piece, one pass over memory.

Arithmetic is fp32 (fp64 for fp64), so that only the last rounding separates a result from exact mixing.
Importing this module imports Triton; :mod:`attention_impls.merging.merge` says when to.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor

from attention_impls.merging import triton_kernels
from attention_impls.merging.pieces import HeadRun, Piece

_TILE = 4096
"""Numbers a program mixes: 32 a thread, so that enough loads are under way to fill the memory bus."""


def merge_piece(out: Tensor, lse: Tensor, piece: Piece, piece_out: Tensor, piece_lse: Tensor) -> None:
    """:func:`attention_impls.merging.merge.merge_piece`; a row in nothing so far and in nothing new stays so."""
    _launch(triton_kernels.mix, piece, out, lse, piece_out, piece_lse)


def add_piece(grad: Tensor, piece: Piece, piece_grad: Tensor) -> None:
    """:func:`attention_impls.merging.merge.add_piece`."""
    _launch(triton_kernels.add, piece, grad, piece_grad)


def trial(device: torch.device) -> None:
    """Mix one row; raises whatever keeps Triton from compiling or launching here."""
    out, lse = torch.zeros(1, 1, 1, 16, device=device), torch.zeros(1, 1, 1, device=device)
    merge_piece(out, lse, Piece(0, 1, 1, 1, 1, (HeadRun(0, 1, 0, 0),)), out.clone(), lse.clone())


def _launch(kernel: Any, piece: Piece, whole: Tensor, *others: Tensor) -> None:
    tensors = (whole, *others)
    batch, _, _, features = whole.shape
    width = triton.next_power_of_2(features)
    block = min(triton.next_power_of_2(piece.members), max(1, _TILE // width))
    programs = batch * piece.segments * piece.heads * triton.cdiv(piece.members, block)
    with torch.cuda.device_of(whole):
        kernel[(programs,)](
            *tensors,
            _places(piece.runs, whole.device),
            *(piece.start, piece.length, piece.dilation, piece.segments, piece.heads, piece.members, features),
            *(stride for x in tensors for stride in x.stride()),
            block=block,
            width=width,
            wide=tl.float64 if whole.dtype == torch.float64 else tl.float32,
        )


@lru_cache(maxsize=256)
def _places(runs: tuple[HeadRun, ...], device: torch.device) -> Tensor:
    """(head, phase) of every head of a piece, in the piece's order."""
    places = [(run.first + i, run.offset + i * run.step) for run in runs for i in range(run.count)]
    return torch.tensor(places, dtype=torch.int64, device=device)
