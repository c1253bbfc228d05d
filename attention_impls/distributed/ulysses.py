"""DeepSpeed Ulysses (Jacobs et al., 2023, arXiv:2309.14509): all-to-alls turn shares of tokens into shares of heads.

What is exchanged is laid out (tokens, batch, features of the receiver's heads), so that the parts of all ranks one
after the other are the whole sequence, without a copy; q, k and v are features of one token, and go in one message.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import prod
from typing import Any

import torch
from torch import Tensor

from attention_impls.distributed import sharding
from attention_impls.distributed.blocks import tokens
from attention_impls.distributed.comm import Communicator
from attention_impls.kernels.base import Backend
from attention_impls.kernels.heads import repeat_kv, sum_groups
from attention_impls.shape import AttentionShape


@dataclass(frozen=True, slots=True)
class Ulysses:
    """One rank's part: all tokens of its share of the heads.

    Attributes:
        comm: to the other ranks.
        shape: of the whole sequence.
        scale: factor on the scores.
        backend: what computes its heads.
    """

    comm: Communicator
    shape: AttentionShape
    scale: float
    backend: Backend

    def forward(self, q: Tensor, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor, tuple[Tensor, ...]]:
        """out like q; the lse (batch, heads / P, seq) of this rank's heads; and (q, k, v, out) of its heads."""
        q, k, v = self.to_heads(q, k, v)
        group = self.shape.group_size
        out, lse = self.backend.forward(q, repeat_kv(k, group), repeat_kv(v, group), self.shape.causal, self.scale)
        (mine,) = self.to_tokens(out)
        return mine, lse, (q, k, v, out)

    def backward(self, grad_out: Tensor, saved: tuple[Tensor, ...], lse: Tensor) -> tuple[Tensor, ...]:
        """dq, dk and dv of this rank's tokens, given what its forward had of its heads."""
        q, k, v, out = saved
        group = self.shape.group_size
        (grad,) = self.to_heads(grad_out)
        k, v = repeat_kv(k, group), repeat_kv(v, group)
        dq, dk, dv = self.backend.backward(grad, q, k, v, out, lse, self.shape.causal, self.scale)
        return self.to_tokens(dq, sum_groups(dk, group), sum_groups(dv, group))

    def to_heads(self, *tensors: Tensor) -> tuple[Tensor, ...]:
        """(batch, its tokens, heads, features) each, to (batch, seq, heads / P, features)."""
        ranks, mine = self.shape.world_size, tensors[0].shape[1]
        sizes = [x.shape[2] // ranks * x.shape[3] for x in tensors]
        sent = tensors[0].new_empty(ranks, mine, self.shape.batch, sum(sizes))
        for x, part in zip(tensors, sent.split(sizes, -1), strict=True):
            heads = x.unflatten(2, (ranks, -1)).permute(2, 1, 0, 3, 4)
            part.unflatten(-1, heads.shape[3:]).copy_(heads)
        came = self._exchange(sent, (mine,) * ranks, self._counts())
        parts = came.view(-1, self.shape.batch, sum(sizes)).split(sizes, -1)
        return tuple(
            part.unflatten(-1, (-1, x.shape[3])).transpose(0, 1) for x, part in zip(tensors, parts, strict=True)
        )

    def to_tokens(self, *tensors: Tensor) -> tuple[Tensor, ...]:
        """(batch, seq, heads / P, features) each, to (batch, its tokens, heads, features)."""
        ranks, counts = self.shape.world_size, self._counts()
        mine = counts[self.comm.rank]
        sizes = [prod(x.shape[2:]) for x in tensors]
        sent = tensors[0].new_empty(self.shape.seq_len, self.shape.batch, sum(sizes))
        for x, part in zip(tensors, sent.split(sizes, -1), strict=True):
            part.unflatten(-1, x.shape[2:]).copy_(x.transpose(0, 1))
        came = self._exchange(sent, counts, (mine,) * ranks)
        parts = came.view(ranks, mine, self.shape.batch, sum(sizes)).split(sizes, -1)
        return tuple(
            part.unflatten(-1, x.shape[2:]).permute(2, 1, 0, 3, 4).flatten(2, 3)
            for x, part in zip(tensors, parts, strict=True)
        )

    def own_lse(self, lse: Tensor) -> Tensor:
        """The lse (batch, heads / P, seq) of this rank's heads to that of its tokens, (batch, heads, its tokens)."""
        (mine,) = self.to_tokens(lse.transpose(1, 2).unsqueeze(-1))
        return mine.squeeze(-1).transpose(1, 2).contiguous()

    def _counts(self) -> tuple[int, ...]:
        """How many tokens each rank holds."""
        return tuple(tokens(sharding.contiguous(self.shape, rank)) for rank in range(self.shape.world_size))

    def _exchange(self, sent: Tensor, counts: tuple[int, ...], counts_back: tuple[int, ...]) -> Tensor:
        """Tokens of ``sent`` (..., batch, features) to each rank, and from each."""
        each = prod(sent.shape[-2:])
        sizes, sizes_back = ([count * each for count in found] for found in (counts, counts_back))
        return self.comm.all_to_all(sent.view(-1), sizes, sizes_back).wait()


class UlyssesAttention(torch.autograd.Function):
    """The differentiable function of this rank's (q, k, v); lse is None if not asked for, and not differentiable.

    Saved are q, k, v, out and lse of its heads: as many bytes as those of its tokens.
    """

    @staticmethod
    def forward(ctx: Any, q: Tensor, k: Tensor, v: Tensor, ulysses: Ulysses, return_lse: bool) -> Any:
        out, lse, saved = ulysses.forward(q, k, v)
        ctx.save_for_backward(*saved, lse)
        ctx.ulysses = ulysses
        if not return_lse:
            return out, None
        mine = ulysses.own_lse(lse)
        ctx.mark_non_differentiable(mine)
        return out, mine

    @staticmethod
    def backward(ctx: Any, *grads: Any) -> Any:
        *saved, lse = ctx.saved_tensors
        return *ctx.ulysses.backward(grads[0], tuple(saved), lse), None, None
