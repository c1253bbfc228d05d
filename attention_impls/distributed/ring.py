"""Ring attention, forward and backward: keys and values go round while what has come is worked on.

Each block's part of the softmax is merged by its log-sum-exp. In the backward a kernel called with the merged
out and lse gives a block's exact share of the gradients, so that q, k, v, out and lse are all that is saved.
What is merged or summed over steps is fp32, or fp64 for fp64 inputs: rounding does not grow with the ranks.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from attention_impls.distributed import ring_plan
from attention_impls.distributed.blocks import Tile, tiles, tokens
from attention_impls.distributed.comm import Communicator, Pending
from attention_impls.distributed.ring_plan import Hop
from attention_impls.kernels.base import Backend
from attention_impls.kernels.heads import repeat_kv, sum_groups
from attention_impls.merging.merge import add_piece, merge_piece
from attention_impls.merging.pieces import HeadRun, Piece
from attention_impls.shape import AttentionShape


@dataclass(frozen=True, slots=True)
class Ring:
    """One rank's part of a ring.

    Attributes:
        comm: to the other ranks.
        shape: of the whole sequence.
        algorithm: "ring" or "zigzag": how tokens lie.
        scale: factor on the scores.
        backend: what computes a block.
    """

    comm: Communicator
    shape: AttentionShape
    algorithm: str
    scale: float
    backend: Backend

    @property
    def route(self) -> ring_plan.Route:
        return ring_plan.route(self.shape, self.algorithm)

    def forward(self, q: Tensor, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
        """out like q and lse (batch, heads, tokens) of this rank's queries, over all keys."""
        rank, route = self.comm.rank, self.route
        held = _pack(k, v)
        out = lse = None
        for step in range(self.shape.world_size):
            arriving = self._send(held, route.hop(rank, step + 1), self._comes(step + 1))
            for tile, keys, values in self._work(step, held):
                rows = q[:, _cut(tile.queries)]
                part, part_lse = self.backend.forward(rows, keys, values, tile.causal, self.scale)
                if out is None or lse is None:  # of its own block, and so of every query
                    out, lse = part.to(_wide(q)), part_lse
                else:
                    merge_piece(out, lse, _piece(tile, q), part, part_lse)
                del part, part_lse
            held = arriving.wait()
        if out is None or lse is None:
            raise AssertionError("a rank works on its own block")
        return out.to(q.dtype), lse

    def backward(
        self, grad_out: Tensor, q: Tensor, k: Tensor, v: Tensor, out: Tensor, lse: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """dq, dk and dv of this rank's tokens. Its own block comes last, while its sums are on their way home."""
        rank, route = self.comm.rank, self.route
        dq = torch.zeros(q.shape, dtype=_wide(q), device=q.device)
        rows = (grad_out, q, out, lse)
        own = _pack(k, v)
        arriving = self._send(own, route.hop(rank, 1), self._comes(1))
        following, homing = Pending(dq.new_empty(0)), Pending(dq.new_empty(0))
        for step in range(1, self.shape.world_size):
            held = arriving.wait()
            arriving = self._send(held, route.hop(rank, step + 1), self._comes(step + 1))
            sums = self._sums(step, held, rows, dq)
            _add(sums, following.wait())
            following = self._send(sums, route.hop(rank, step + 1), self._comes(step + 1))
            if home := route.home(rank, step):
                homing.wait()  # brings nothing: a rank that sends home more than once owns nothing that travels
                homing = self._send(sums, home, own.numel())
            else:
                self.comm.leave(1)
        sums = self._sums(0, own, rows, dq)
        for pending in (arriving, following):  # they bring nothing, but what was sent may be on its way
            pending.wait()
        _add(sums, homing.wait())
        dk, dv = (x.to(k.dtype) for x in self._unpack(sums, 0))
        return dq.to(q.dtype), dk, dv

    def _sums(self, step: int, held: Tensor, rows: tuple[Tensor, ...], dq: Tensor) -> Tensor:
        """This rank's share of the gradient of the block of ``step``, like ``held`` but wide; dq's is added to dq."""
        grad_out, q, out, lse = rows
        sums = torch.zeros(held.shape, dtype=dq.dtype, device=held.device)
        for tile, keys, values in self._work(step, held):
            at = _cut(tile.queries)
            found = self.backend.backward(
                *(grad_out[:, at], q[:, at], keys, values, out[:, at], lse[:, :, at]), tile.causal, self.scale
            )
            add_piece(dq, _piece(tile, q), found[0])
            for whole, part in zip(self._unpack(sums, step), found[1:], strict=True):
                whole[:, : tile.keys].add_(sum_groups(part, self.shape.group_size))
        return sums

    def _work(self, step: int, held: Tensor) -> Iterator[tuple[Tile, Tensor, Tensor]]:
        """The kernel calls of ``step``, with the keys and values of the block that is ``held``."""
        rank, route = self.comm.rank, self.route
        if not route.works(rank, step):
            return
        k, v = self._unpack(held, step)
        group = self.shape.group_size
        for tile in tiles(self._spans(rank), self._spans(route.block(rank, step)), self.shape.causal):
            yield tile, repeat_kv(k[:, : tile.keys], group), repeat_kv(v[:, : tile.keys], group)

    def _send(self, sent: Tensor, hop: Hop | None, size: int) -> Pending:
        """Begin a round of messages, of which ``size`` numbers come if any do; without a hop it is left to others."""
        nothing = sent.new_empty(0)
        if hop is None:
            self.comm.leave(1)
            return Pending(nothing)
        mine, to = (nothing, self.comm.rank) if hop.to is None else (sent, hop.to)
        if hop.source is None:
            return self.comm.send_recv(mine, to, 0, self.comm.rank)
        return self.comm.send_recv(mine, to, size, hop.source)

    def _comes(self, step: int) -> int:
        """The numbers of the block, or of its sums, that this rank works on in ``step``."""
        block = self.route.block(self.comm.rank, step)
        return ring_plan.block_numbers(self.shape, tokens(self._spans(block)))

    def _unpack(self, held: Tensor, step: int) -> tuple[Tensor, Tensor]:
        """k and v, (batch, tokens, kv_heads, head_dim) each, of the block that this rank works on in ``step``."""
        count = tokens(self._spans(self.route.block(self.comm.rank, step)))
        k, v = held.view(2, self.shape.batch, count, self.shape.kv_heads, self.shape.head_dim)
        return k, v

    def _spans(self, rank: int) -> tuple[range, ...]:
        return ring_plan.spans(self.shape, self.algorithm, rank)


def _pack(k: Tensor, v: Tensor) -> Tensor:
    return torch.stack((k, v)).view(-1)


def _wide(x: Tensor) -> torch.dtype:
    return torch.promote_types(x.dtype, torch.float32)


def _cut(places: range) -> slice:
    return slice(places.start, places.stop)


def _piece(tile: Tile, q: Tensor) -> Piece:
    """The rows of a tile's queries."""
    rows = len(tile.queries)
    return Piece(tile.queries.start, 1, rows, 1, rows, (HeadRun(0, q.shape[2], 0, 0),))


def _add(sums: Tensor, came: Tensor) -> None:
    """Add what other ranks have found, if it came."""
    if came.numel():
        sums.add_(came)


class RingAttention(torch.autograd.Function):
    """The differentiable function of this rank's (q, k, v); lse is returned but not differentiable."""

    @staticmethod
    def forward(ctx: Any, q: Tensor, k: Tensor, v: Tensor, ring: Ring) -> Any:
        out, lse = ring.forward(q, k, v)
        ctx.save_for_backward(q, k, v, out, lse)
        ctx.ring = ring
        ctx.mark_non_differentiable(lse)
        return out, lse

    @staticmethod
    def backward(ctx: Any, *grads: Any) -> Any:
        return *ctx.ring.backward(grads[0], *ctx.saved_tensors), None
