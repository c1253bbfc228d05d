"""A decoder-only transformer whose attention is a part to be put in.

MAGNETO's sub-LN and initialisation (Wang et al., 2022, arXiv:2210.06423), XPOS (Sun et al., 2022,
arXiv:2212.10554), SwiGLU or GELU: the network around the attention is one and the same, so that two models
with different attention differ in nothing else.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import TypeVar

import torch
from torch import Generator, Tensor, nn

from attention_impls.api import Implementation, Options
from attention_impls.models.decode import Cache
from attention_impls.models.layers import FeedForward, XPos, deep_gain, draw, layer_norm, linear, rms_norm, turn, xpos
from attention_impls.models.sizes import Architecture
from attention_impls.pattern import Pattern
from attention_impls.shape import AttentionShape

Attend = Callable[[Tensor, Tensor, Tensor], Tensor]
"""Causal attention of (q, k, v), each (batch, seq, heads, head_dim)."""


@dataclass(frozen=True, slots=True)
class CausalAttention:
    """An attention of the registry as a model uses it: causal, its options and back end settled.

    Attributes:
        implementation: what computes it over a whole sequence, and says which keys a query sees.
        options: its options. They must mean the same at every length (segments, not a schedule's name):
            a model whose attention changed with the length would not be one model.
        backend: a back end's name; the best supported if None.
    """

    implementation: Implementation
    options: Options
    backend: str | None = None

    def load(self) -> Attend:
        backend = {"backend": self.backend} if self.implementation.takes_backend else {}
        return partial(self.implementation.load(), causal=True, **self.options, **backend)

    def pattern(self, seq_len: int, architecture: Architecture) -> Pattern:
        """The keys that each head sees at a length, for one sequence.

        Raises:
            ValueError: options that do not fit.
        """
        heads, head_dim = architecture.heads, architecture.head_dim
        shape = AttentionShape(seq_len, heads=heads, kv_heads=heads, head_dim=head_dim, causal=True)
        return self.implementation.pattern(shape, self.options)


class SelfAttention(nn.Module):
    """out(norm(attend(q, k, v))) of the normalised x: sub-LN; q and k turned by XPOS. (batch, seq, dim) in and out."""

    def __init__(
        self, architecture: Architecture, device: torch.device | str | None, dtype: torch.dtype | None
    ) -> None:
        super().__init__()
        dim, inner = architecture.dim, architecture.inner
        self._heads, self._head_dim = architecture.heads, architecture.head_dim
        self._gain = deep_gain(architecture.depth)
        self.norm = layer_norm(dim, device, dtype)
        self.qkv = linear(dim, 3 * inner, device, dtype)
        if architecture.qk_norm:
            self.q_norm: nn.Module = rms_norm(architecture.head_dim, device, dtype)
            self.k_norm: nn.Module = rms_norm(architecture.head_dim, device, dtype)
        else:
            self.q_norm, self.k_norm = nn.Identity(), nn.Identity()
        self.inner_norm = layer_norm(inner, device, dtype)
        self.out = linear(inner, dim, device, dtype)

    def reset_parameters(self, generator: Generator | None = None) -> None:
        for norm in self.children():
            if isinstance(norm, nn.LayerNorm | nn.RMSNorm):
                norm.reset_parameters()
        draw(self.qkv.weight, (1.0, 1.0, self._gain), generator)
        draw(self.out.weight, (self._gain,), generator)

    def forward(self, x: Tensor, tables: XPos, attend: Attend) -> Tensor:
        qkv: Tensor = self.qkv(self.norm(x)).unflatten(-1, (3, self._heads, self._head_dim))
        q, k, v = qkv.unbind(2)
        q = turn(self.q_norm(q), tables.q_cos, tables.q_sin)
        k = turn(self.k_norm(k), tables.k_cos, tables.k_sin)
        out: Tensor = self.out(self.inner_norm(attend(q, k, v).flatten(2)))
        return out


class Block(nn.Module):
    """Attention, then feed-forward, each added to x; or both of the same x (``parallel_block``)."""

    def __init__(
        self, architecture: Architecture, device: torch.device | str | None, dtype: torch.dtype | None
    ) -> None:
        super().__init__()
        self._parallel = architecture.parallel_block
        self.attention = SelfAttention(architecture, device, dtype)
        self.feed_forward = FeedForward(architecture, device=device, dtype=dtype)

    def forward(self, x: Tensor, tables: XPos, attend: Attend) -> Tensor:
        attended: Tensor = self.attention(x, tables, attend)
        if self._parallel:
            together: Tensor = x + attended + self.feed_forward(x)
            return together
        x = x + attended
        out: Tensor = x + self.feed_forward(x)
        return out


class Transformer(nn.Module):
    """Token ids (batch, seq) int64 in, logits (batch, seq, vocab) out; strictly causal.

    The embedding is scaled by sqrt(dim) (Vaswani et al., 2017, section 3.4), and is not the matrix of the logits.
    Positions count from 0; there is no longest sequence.

    Args:
        architecture: its sizes and options.
        attention: what every block attends with.
        device: of the parameters; as usual in torch.
        dtype: of the parameters; as usual in torch.

    Raises:
        ValueError: options of the attention that do not fit.
    """

    def __init__(
        self,
        architecture: Architecture,
        attention: CausalAttention,
        *,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        self.architecture, self.attention = architecture, attention
        attention.pattern(1, architecture).key_ranges(0, 0)  # options that do not fit are refused here, not later
        self._attend = attention.load()
        self.embedding = nn.Embedding(architecture.vocab, architecture.dim, device=device, dtype=dtype)
        self.blocks = nn.ModuleList(Block(architecture, device, dtype) for _ in range(architecture.depth))
        self.norm = layer_norm(architecture.dim, device, dtype)
        self.logits = linear(architecture.dim, architecture.vocab, device, dtype)
        self.reset_parameters()

    def reset_parameters(self, generator: Generator | None = None) -> None:
        """Draw every parameter anew, from ``generator`` (of the parameters' device) or torch's own."""
        std = self.architecture.dim**-0.5
        with torch.no_grad():
            nn.init.normal_(self.embedding.weight, std=std, generator=generator)
            nn.init.normal_(self.logits.weight, std=std, generator=generator)
        self.norm.reset_parameters()
        for module in self.blocks.modules():
            if isinstance(module, SelfAttention | FeedForward):
                module.reset_parameters(generator)

    def cache(self, batch: int, capacity: int) -> Cache:
        """An empty cache for ``batch`` sequences of at most ``capacity`` tokens."""
        a, weight = self.architecture, self.embedding.weight
        shape = (a.depth, batch, a.heads, capacity, a.head_dim)
        return Cache(self.attention.pattern(capacity, a), self._attend, shape, weight.dtype, weight.device)

    def forward(self, tokens: Tensor, cache: Cache | None = None) -> Tensor:
        """Logits (batch, seq, vocab) of the token after each of ``tokens`` (batch, seq) int64.

        With a cache, ``tokens`` go on from those that it has seen, and are added to it.

        Raises:
            ValueError: tokens of another shape, or more than the cache has room for.
        """
        if tokens.dim() != 2 or 0 in tokens.shape:
            raise ValueError(f"tokens must be (batch, seq), at least one of each, not of shape {tuple(tokens.shape)}")
        start, seq = 0 if cache is None else cache.length, tokens.shape[1]
        if cache is not None:
            cache.make_room(tokens.shape[0], seq)
        x: Tensor = self.embedding(tokens) * math.sqrt(self.architecture.dim)
        tables = xpos(start, seq, self.architecture.head_dim, x.dtype, x.device)
        for layer, block in enumerate(self.blocks):
            x = block(x, tables, self._attend if cache is None else partial(cache.attend, layer))
        if cache is not None:
            cache.advance(seq)
        out: Tensor = self.logits(self.norm(x))
        return out


AnyTransformer = TypeVar("AnyTransformer", bound=Transformer)


def seeded(model: AnyTransformer, device: torch.device | str, seed: int) -> AnyTransformer:
    """A model made on the meta device, now on ``device`` and drawn from ``seed``; torch's own generators stay."""
    model.to_empty(device=device)
    model.reset_parameters(torch.Generator(device).manual_seed(seed))
    return model
