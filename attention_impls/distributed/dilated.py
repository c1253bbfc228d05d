"""Dilated attention of a sequence that several ranks share, forward and backward.

Segments that lie within a rank's tokens are computed as on one rank. Of a segment that crosses from rank to rank,
each of its ranks gets the dilated keys and values of all, and computes its own queries; in the backward the
gradients of those keys are added up over the ranks that used them. Local segments are computed while this is
under way. A rank's merged out and lse hold all its branches, so the backward of each gives its share of the exact
gradient, as on one rank (:mod:`attention_impls.dilated.autograd`).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal, overload

import torch
from torch import Tensor

from attention_impls.dilated.autograd import dilated_backward, dilated_forward
from attention_impls.dilated.pattern import OFFSETS
from attention_impls.dilated.schedule import Schedule
from attention_impls.distributed.comm import Communicator, Pending
from attention_impls.distributed.dilated_plan import (
    Alike,
    Share,
    Shared,
    Streams,
    part_rows,
    query_heads,
    share_of,
    sharing_ranks,
    streams_of,
)
from attention_impls.distributed.dilated_rows import Rows, add_for, keys_for, pack, piece_of, unpack_onto
from attention_impls.kernels.base import Backend
from attention_impls.kernels.heads import check_qkv, repeat_kv, sum_groups
from attention_impls.kernels.registry import get_backend
from attention_impls.merging.merge import add_piece, merge_piece
from attention_impls.merging.pieces import Gatherer, HeadRun, Piece, gather_lse
from attention_impls.shape import AttentionShape


@overload
def dilated_parallel(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    *,
    comm: Communicator,
    shape: AttentionShape,
    schedule: Schedule,
    causal: bool,
    scale: float | None = ...,
    offsets: str = ...,
    mixing_gradient: str = ...,
    backend: str | None = ...,
    return_lse: Literal[False] = ...,
) -> Tensor: ...
@overload
def dilated_parallel(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    *,
    comm: Communicator,
    shape: AttentionShape,
    schedule: Schedule,
    causal: bool,
    scale: float | None = ...,
    offsets: str = ...,
    mixing_gradient: str = ...,
    backend: str | None = ...,
    return_lse: bool,
) -> Tensor | tuple[Tensor, Tensor]: ...
def dilated_parallel(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    *,
    comm: Communicator,
    shape: AttentionShape,
    schedule: Schedule,
    causal: bool,
    scale: float | None = None,
    offsets: str = "paper",
    mixing_gradient: str = "exact",
    backend: str | None = None,
    return_lse: bool = False,
) -> Tensor | tuple[Tensor, Tensor]:
    """:func:`attention_impls.dilated.op.dilated_attention` of a sequence that the ranks of ``comm`` share.

    Every rank calls it, and the backward of what it returns: both exchange keys or their gradients.

    Args:
        q: this rank's queries (batch, its tokens, heads, head_dim); tokens as
            :func:`attention_impls.distributed.sharding.contiguous` cuts them.
        k: its keys (batch, its tokens, kv_heads, head_dim).
        v: like k.
        comm: of the ranks, as many as ``shape.world_size``.
        shape: of the whole sequence.
        schedule: the branches.
        causal: query t sees keys at or before t only.
        scale: factor on the scores; 1 / sqrt(head_dim) if None.
        offsets: "paper" or "grouped".
        mixing_gradient: "exact" or "detached".
        backend: a name of :func:`attention_impls.kernels.registry.backends`; the best supported if None.
        return_lse: also return the log-sum-exp of the scores (batch, heads, its tokens).

    Returns:
        This rank's out, like q, or (out, lse); lse is not differentiable.

    Raises:
        ValueError: tensors, shape or options that do not go together.
        Unsupported: the back end does not exist, or not for these inputs on this machine.
    """
    check_qkv(q, k, v)
    if offsets not in OFFSETS:
        raise ValueError(f"unknown offsets {offsets!r}: choose {' or '.join(OFFSETS)}")
    if mixing_gradient not in ("exact", "detached"):
        raise ValueError(f"unknown mixing gradient {mixing_gradient!r}: choose exact or detached")
    if comm.world_size != shape.world_size:
        raise ValueError(f"the shape is for {shape.world_size} ranks, not {comm.world_size}")
    share = share_of(shape, schedule, offsets, comm.rank)
    expected = (shape.batch, len(share.tokens), shape.heads, shape.head_dim)
    if q.shape != expected or k.shape[2] != shape.kv_heads:
        raise ValueError(
            f"q {tuple(q.shape)} and k {tuple(k.shape)} are not those of rank {comm.rank}: "
            f"q must be {expected}, with {shape.kv_heads} heads of k"
        )
    kernel = get_backend(backend, q.device.type, q.dtype, q.shape[3])
    factor = q.shape[3] ** -0.5 if scale is None else scale
    call = _Call(comm, shape, schedule, offsets, mixing_gradient, causal, factor, kernel)
    out, lse = DilatedParallel.apply(q, k, v, call)  # type: ignore[no-untyped-call]
    return (out, lse) if return_lse else out


@dataclass(frozen=True, slots=True)
class _Call:
    """What all steps of one call need to know."""

    comm: Communicator
    shape: AttentionShape
    schedule: Schedule
    offsets: str
    mixing_gradient: str
    causal: bool
    scale: float
    backend: Backend

    @property
    def share(self) -> Share:
        return share_of(self.shape, self.schedule, self.offsets, self.comm.rank)

    def streams(self, shared: Shared) -> Streams:
        return streams_of(self.shape.heads, self.shape.kv_heads, self.schedule.branches[shared.branch][1], self.offsets)

    def sizes(self, shared: Shared) -> list[int]:
        """Elements of each rank's part."""
        row = 2 * self.shape.batch * self.shape.head_dim
        return [rows * row for rows in part_rows(self.shape, shared, self.streams(shared))]

    def rows(self, shared: Shared, data: Tensor, first: int = 0) -> Rows:
        return Rows(data, first, len(self.streams(shared).pairs), self.shape.batch, self.shape.head_dim)

    def pieces(self, shared: Shared) -> Iterator[tuple[Alike, Piece]]:
        """This rank's queries in a shared segment, as they are launched."""
        streams = self.streams(shared)
        for alike in query_heads(self.shape, shared, streams, self.offsets):
            yield alike, piece_of(self.share, shared, streams, alike)

    def ranges(self, alike: Alike) -> list[tuple[range, bool]]:
        """The keys that these queries see, by member, and whether causally: each range is a kernel's."""
        if not self.causal:
            return [(range(alike.whole), False)]
        earlier = [(range(alike.before), False)] if alike.before else []
        return [*earlier, (range(alike.before, alike.before + alike.own), True)]


def _forward(q: Tensor, k: Tensor, v: Tensor, call: _Call) -> tuple[Tensor, Tensor, list[Tensor]]:
    """out, lse, and the gathered rows of every shared segment."""
    share, comm = call.share, call.comm
    comm.prepare(sharing_ranks(call.shape, call.schedule, call.offsets))
    begun = []
    for shared in share.shared:
        mine = pack(k, v, share, shared, call.streams(shared))
        begun.append(comm.all_gather(mine.data, call.sizes(shared), shared.ranks))
    comm.leave(share.left)
    times = call.shape.group_size if any(share.local) else 1
    keys, values = repeat_kv(k, times), repeat_kv(v, times)
    out, lse = dilated_forward(
        q, keys, values, call.schedule, call.offsets, call.causal, call.scale, call.backend, share.local
    )
    del keys, values
    gather = Gatherer()
    gathered = []
    for shared, pending in zip(share.shared, begun, strict=True):
        data = pending.wait()
        for alike, piece in call.pieces(shared):
            queries = gather.tokens("q", q, piece)
            for piece_out, piece_lse in _attend(queries, call.rows(shared, data), alike, call):
                merge_piece(out, lse, piece, piece_out, piece_lse)
        gathered.append(data)
    return out, lse, gathered


def _attend(queries: Tensor, rows: Rows, alike: Alike, call: _Call) -> Iterator[tuple[Tensor, Tensor]]:
    """out and lse of the queries over each range of keys that they see."""
    ranges = call.ranges(alike)
    keys, values = keys_for(rows, alike, ranges[-1][0].stop)
    for seen, causal in ranges:
        part = slice(seen.start, seen.stop)
        yield call.backend.forward(queries, keys[:, part], values[:, part], causal, call.scale)


def _backward(
    grad_out: Tensor, q: Tensor, k: Tensor, v: Tensor, out: Tensor, lse: Tensor, gathered: list[Tensor], call: _Call
) -> tuple[Tensor, Tensor, Tensor]:
    share, group = call.share, call.shape.group_size
    dq, begun = _begin_backward(grad_out, q, out, lse, gathered, call) if share.shared else (None, [])
    call.comm.leave(share.left)
    if any(share.local):
        repeated = repeat_kv(k, group), repeat_kv(v, group)
        dq, dk, dv = dilated_backward(
            grad_out, q, *repeated, out, lse, call.schedule, call.offsets, call.mixing_gradient,
            call.causal, call.scale, call.backend, share.local, dq,
        )  # fmt: skip
        dk, dv = sum_groups(dk, group), sum_groups(dv, group)
    else:
        dq, dk, dv = torch.zeros_like(q) if dq is None else dq, torch.zeros_like(k), torch.zeros_like(v)
    for shared, pending in zip(share.shared, begun, strict=True):
        mine = call.rows(shared, pending.wait(), shared.first_row)
        unpack_onto(dk, dv, mine, share, shared, call.streams(shared))
    return dq, dk, dv


def _begin_backward(
    grad_out: Tensor, q: Tensor, out: Tensor, lse: Tensor, gathered: list[Tensor], call: _Call
) -> tuple[Tensor, list[Pending]]:
    """The shared segments' dq, and their dk and dv on the way to the ranks that they are for."""
    dq = torch.zeros_like(q)
    begun = []
    gather = Gatherer()
    for shared, data in zip(call.share.shared, gathered, strict=True):
        wide = data.dtype if data.dtype == torch.float64 else torch.float32
        grads = call.rows(shared, torch.zeros_like(data, dtype=wide))
        for alike, piece in call.pieces(shared):
            grad, queries, merged = (gather.tokens(*x, piece) for x in (("grad_out", grad_out), ("q", q), ("out", out)))
            given = (grad, queries, merged, gather_lse(lse, piece))
            for part in _attend_backward(*given, call.rows(shared, data), grads, alike, call):
                add_piece(dq, piece, part)
        begun.append(call.comm.reduce_scatter(grads.data, call.sizes(shared), shared.ranks))
    return dq, begun


def _attend_backward(
    grad: Tensor, queries: Tensor, out: Tensor, lse: Tensor, rows: Rows, grads: Rows, alike: Alike, call: _Call
) -> Iterator[Tensor]:
    """Terms of these queries' dq; the gradients of the keys that they see are added to ``grads``."""
    if call.mixing_gradient == "detached":  # each branch is its own softmax, scaled by its weight
        merged_lse = lse
        out, lse = _merged(_attend(queries, rows, alike, call))
        weight = torch.exp(lse - merged_lse).to(grad.dtype)
        grad = grad * weight.transpose(1, 2).unsqueeze(-1)
    ranges = call.ranges(alike)
    keys, values = keys_for(rows, alike, ranges[-1][0].stop)
    for seen, causal in ranges:
        part = slice(seen.start, seen.stop)
        dq, dk, dv = call.backend.backward(grad, queries, keys[:, part], values[:, part], out, lse, causal, call.scale)
        add_for(grads, alike, seen.start, dk, dv)
        yield dq


def _merged(parts: Iterator[tuple[Tensor, Tensor]]) -> tuple[Tensor, Tensor]:
    """One softmax of several over the same queries (batch, members, heads, d)."""
    out, lse = next(parts)
    _, members, heads, _ = out.shape
    whole = Piece(0, 1, members, 1, members, (HeadRun(0, heads, 0, 0),))
    for more_out, more_lse in parts:
        merge_piece(out, lse, whole, more_out, more_lse)
    return out, lse


class DilatedParallel(torch.autograd.Function):
    """The differentiable function of a rank's (q, k, v); lse is returned but not differentiable."""

    @staticmethod
    def forward(ctx: Any, q: Tensor, k: Tensor, v: Tensor, call: _Call) -> Any:
        out, lse, gathered = _forward(q, k, v, call)
        ctx.save_for_backward(q, k, v, out, lse, *gathered)
        ctx.call = call
        ctx.mark_non_differentiable(lse)
        return out, lse

    @staticmethod
    def backward(ctx: Any, *grads: Any) -> Any:
        q, k, v, out, lse, *gathered = ctx.saved_tensors
        return *_backward(grads[0], q, k, v, out, lse, gathered, ctx.call), None
