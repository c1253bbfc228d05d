"""Attention over several sets of keys: one softmax over them all, a flash call for each.

The sets' results are mixed by log-sum-exp, as :mod:`attention_impls.merging.merge` does with branches. A flash
backward called with the mixed out and lse yields exactly its set's share of the gradients, so that q, the keys
and values, out and lse are all that is saved.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from attention_impls.kernels.base import Backend
from attention_impls.kernels.heads import repeat_kv, sum_groups
from attention_impls.merging.merge import add_piece, merge_piece
from attention_impls.merging.pieces import Gatherer, HeadRun, Piece, gather_lse


class KeySet(NamedTuple):
    """Keys and values (batch * blocks, keys, kv_heads, d), and the blocks of queries that see them.

    ``causal``: query t of a block sees keys 0..t of as many; else all of them.
    """

    queries: Piece
    k: Tensor
    v: Tensor
    causal: bool = False


def block_rows(first: int, count: int, length: int, heads: int) -> Piece:
    """``count`` blocks of ``length`` rows from the block numbered ``first``, in all heads."""
    return Piece(first * length, count, length, 1, length, (HeadRun(0, heads, 0, 0),))


def attend(q: Tensor, sets: Sequence[KeySet], scale: float, kernel: Backend) -> Tensor:
    """softmax(scale * q k^T) v over the keys of all sets that a query is in; differentiable in q, k and v.

    Args:
        q: (batch, seq, heads, d).
        sets: the first must hold every query.
        scale: factor on the scores.
        kernel: the back end that computes each set.

    Returns:
        Like q.
    """
    tensors = [x for keys in sets for x in (keys.k, keys.v)]
    layout = tuple((keys.queries, keys.causal) for keys in sets)
    out: Tensor = _Attention.apply(q, layout, scale, kernel, *tensors)  # type: ignore[no-untyped-call]
    return out


Layout = tuple[tuple[Piece, bool], ...]


class _Attention(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, q: Tensor, layout: Layout, scale: float, kernel: Backend, *tensors: Tensor) -> Tensor:
        group = q.shape[2] // tensors[0].shape[2]
        gather = Gatherer()
        out = lse = q.new_empty(0)
        for i, ((piece, causal), k, v) in enumerate(zip(layout, tensors[::2], tensors[1::2], strict=True)):
            rows = gather.tokens("q", q, piece)
            part, part_lse = kernel.forward(rows, repeat_kv(k, group), repeat_kv(v, group), causal, scale)
            if i == 0:  # every query is in the first set
                out, lse = part.reshape(q.shape), _by_sequence(part_lse, q.shape[0])
            else:
                merge_piece(out, lse, piece, part, part_lse)
        ctx.save_for_backward(q, out, lse, *tensors)
        ctx.call = (layout, scale, kernel, group)
        return out

    @staticmethod
    def backward(ctx: Any, *grads: Any) -> Any:
        q, out, lse, *tensors = ctx.saved_tensors
        layout, scale, kernel, group = ctx.call
        gather = Gatherer()
        dq: Tensor | None = None
        shares: list[Tensor] = []
        for (piece, causal), k, v in zip(layout, tensors[::2], tensors[1::2], strict=True):
            grad, rows, rows_out = (
                gather.tokens(name, x, piece) for name, x in (("grad", grads[0]), ("q", q), ("out", out))
            )
            keys, values = repeat_kv(k, group), repeat_kv(v, group)
            dq_part, dk, dv = kernel.backward(grad, rows, keys, values, rows_out, gather_lse(lse, piece), causal, scale)
            if dq is None:
                dq = dq_part.reshape(q.shape)
            else:
                add_piece(dq, piece, dq_part)
            shares += [sum_groups(dk, group), sum_groups(dv, group)]
        return dq, None, None, None, *shares


def _by_sequence(lse: Tensor, batch: int) -> Tensor:
    """(batch * blocks, heads, length) -> (batch, heads, blocks * length)."""
    found: Tensor = lse.unflatten(0, (batch, -1)).transpose(1, 2).flatten(2)
    return found
