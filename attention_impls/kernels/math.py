"""Softmax attention written out in torch: any device, any dtype, any shape, (seq, seq) memory."""

from __future__ import annotations

import torch
from torch import Tensor

from attention_impls.kernels.base import Backend, present


def _accumulation_dtype(dtype: torch.dtype) -> torch.dtype:
    return torch.float64 if dtype == torch.float64 else torch.float32


def _scores(q: Tensor, k: Tensor, causal: bool, scale: float) -> Tensor:
    scores = torch.einsum("bqhd,bkhd->bhqk", q, k) * scale
    if causal:
        future = torch.ones(scores.shape[-2:], dtype=torch.bool, device=q.device).triu_(1)
        scores.masked_fill_(future, float("-inf"))
    return scores


def forward(q: Tensor, k: Tensor, v: Tensor, causal: bool, scale: float) -> tuple[Tensor, Tensor]:
    wide = _accumulation_dtype(q.dtype)
    scores = _scores(q.to(wide), k.to(wide), causal, scale)
    lse = scores.logsumexp(-1)
    out = torch.einsum("bhqk,bkhd->bqhd", scores.sub_(lse.unsqueeze(-1)).exp_(), v.to(wide))
    return out.to(q.dtype), lse


def backward(
    grad_out: Tensor, q: Tensor, k: Tensor, v: Tensor, out: Tensor, lse: Tensor, causal: bool, scale: float
) -> tuple[Tensor, Tensor, Tensor]:
    """Dao et al., FlashAttention-2 (arXiv:2307.08691), section 2.2, with all keys in one block."""
    wide = _accumulation_dtype(q.dtype)
    dtype = q.dtype
    grad_out, q, k, v, out = (x.to(wide) for x in (grad_out, q, k, v, out))
    probabilities = _scores(q, k, causal, scale).sub_(lse.unsqueeze(-1)).exp_()
    dv = torch.einsum("bhqk,bqhd->bkhd", probabilities, grad_out)
    delta = torch.einsum("bqhd,bqhd->bhq", grad_out, out)
    grad_scores = torch.einsum("bqhd,bkhd->bhqk", grad_out, v).sub_(delta.unsqueeze(-1))
    grad_scores.mul_(probabilities).mul_(scale)
    dq = torch.einsum("bhqk,bkhd->bqhd", grad_scores, k)
    dk = torch.einsum("bhqk,bqhd->bkhd", grad_scores, q)
    return dq.to(dtype), dk.to(dtype), dv.to(dtype)


MATH = Backend(
    name="math",
    summary="softmax attention written out, scores materialised; any dtype",
    devices=frozenset({"cpu", "cuda"}),
    dtypes=frozenset({torch.float16, torch.bfloat16, torch.float32, torch.float64}),
    forward=forward,
    backward=backward,
    missing=present,
    fused=False,
)
