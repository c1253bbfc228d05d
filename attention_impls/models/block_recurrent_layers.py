"""The layers of a block-recurrent transformer: attention over blocks, the recurrent cell, the feed-forward.

A layer takes a *span* at once: blocks that lie side by side, or part of one block. Only the cell goes through a
span's blocks one after the other; all else of a layer is the same for every block and is done for all together.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from attention_impls.kernels.base import Backend
from attention_impls.models.block_recurrent_attention import KeySet, attend, block_rows
from attention_impls.models.block_recurrent_config import BlockRecurrentConfig
from attention_impls.models.block_recurrent_memory import Compression, Keys, LayerMemory, Span, join
from attention_impls.models.layers import LAYER_NORM_EPS, XPos, turn

GATE_STD = 0.1
"""Of the gate's bias and the first state: small, so that neither the past nor the update is lost at the start."""


def norm(dim: int) -> nn.LayerNorm:
    """Layer norm without bias."""
    return nn.LayerNorm(dim, eps=LAYER_NORM_EPS, bias=False)


class QKNorm(nn.Module):
    """Queries and keys of unit length, times a learned factor a feature."""

    def __init__(self, dim_head: int) -> None:
        super().__init__()
        self.query_scale = nn.Parameter(torch.ones(dim_head))
        self.key_scale = nn.Parameter(torch.ones(dim_head))

    def queries(self, q: Tensor) -> Tensor:
        return functional.normalize(q, dim=-1) * self.query_scale

    def keys(self, k: Tensor) -> Tensor:
        return functional.normalize(k, dim=-1) * self.key_scale


class Scores(nn.Module):
    """What is done to queries and keys before their product, and the factor on it."""

    def __init__(self, config: BlockRecurrentConfig, layer: int) -> None:
        super().__init__()
        normed = layer in config.qk_norm_layers
        self.scale = config.qk_norm_scale if normed else config.dim_head**-0.5
        self.norm = QKNorm(config.dim_head) if normed else None

    def queries(self, q: Tensor) -> Tensor:
        return q if self.norm is None else self.norm.queries(q)

    def keys(self, k: Tensor) -> Tensor:
        return k if self.norm is None else self.norm.keys(k)

    def attend(self, q: Tensor, k: Tensor, v: Tensor, kernel: Backend) -> Tensor:
        """Each block of q's rows over all of its keys: k and v are (batch * blocks, keys, kv_heads, d).

        q is (batch, seq, heads, d), its blocks side by side; the result is (batch, seq, heads * d).
        """
        batch, seq, heads, _ = q.shape
        blocks = k.shape[0] // batch
        keys = KeySet(block_rows(0, blocks, seq // blocks, heads), self.keys(k), v)
        return attend(self.queries(q), [keys], self.scale, kernel).flatten(2)


class RecurrentCell(nn.Module):
    """A layer's state: read by the tokens of a block, then written from the block's keys.

    State vectors attend to themselves and to the block; a linear map z of both is mixed into the state c by the
    paper's *fixed* gate in its *skip* configuration: c' = g c + (1 - g) z with g = sigmoid(b), learned and the same
    for every input. A vector knows its place by a learned embedding (the paper's state IDs), added after the norm.
    """

    def __init__(self, config: BlockRecurrentConfig, layer: int) -> None:
        super().__init__()
        dim, inner, vectors = config.dim, config.inner, config.num_state_vectors
        self._dim_head = config.dim_head
        self.initial = nn.Parameter(GATE_STD * torch.randn(vectors, dim))
        self.positions = nn.Parameter(torch.randn(vectors, dim))
        self.norm = norm(dim)
        self.to_kv = nn.Linear(dim, 2 * config.kv_inner, bias=False)
        self.to_read = nn.Linear(dim, inner, bias=False)
        self.to_self = nn.Linear(dim, inner, bias=False)
        self.to_write = nn.Linear(dim, inner, bias=False)
        self.to_out = nn.Linear(2 * inner, dim, bias=False)
        self.to_update = nn.Linear(dim, dim)
        self.gate_bias = nn.Parameter(GATE_STD * torch.randn(dim))
        self.read_scores = Scores(config, layer)
        self.self_scores = Scores(config, layer)
        self.write_scores = Scores(config, layer)

    def forward(
        self, x: Tensor, block: Keys, state: Tensor | None, span: Span, kernel: Backend
    ) -> tuple[Tensor, Tensor]:
        """What the tokens read, (batch, seq, heads * d), and the state (batch, S, dim) after the span.

        Args:
            x: normalised tokens of the span, (batch, seq, dim).
            block: keys of all tokens of the span's blocks, those that earlier calls brought included.
            state: at the start of the first block, (batch, S, dim); the learned one if None.
            span: its blocks. A block that does not end in it is read to and does not write.
            kernel: the back end.
        """
        if state is None:
            state = self.initial.expand(x.shape[0], -1, -1)
        # One split into all blocks: a slice for each would have a gradient as long as the span for each.
        blocks = block.split(span.width) if span.finishes else None
        read = []
        for i in range(span.count):
            vectors = self.norm(state) + self.positions
            own = Keys(*self._heads(self.to_kv(vectors)).chunk(2, 2))
            read.append(own)
            if blocks is not None:
                state = self._written(state, vectors, own, blocks[i], kernel)
        k, v = (torch.stack(tensors, 1).flatten(0, 1) for tensors in zip(*read, strict=True))
        return self.read_scores.attend(self._heads(self.to_read(x)), k, v, kernel), state

    def _heads(self, x: Tensor) -> Tensor:
        heads: Tensor = x.unflatten(-1, (-1, self._dim_head))
        return heads

    def _written(self, state: Tensor, vectors: Tensor, own: Keys, block: Keys, kernel: Backend) -> Tensor:
        """The state after a block: (batch, S, dim)."""
        from_state = self.self_scores.attend(self._heads(self.to_self(vectors)), own.k, own.v, kernel)
        from_block = self.write_scores.attend(self._heads(self.to_write(vectors)), block.k, block.v, kernel)
        update: Tensor = self.to_update(self.to_out(torch.cat((from_state, from_block), -1)))
        gate = torch.sigmoid(self.gate_bias)
        return gate * state + (1 - gate) * update


class BlockAttention(nn.Module):
    """Attention of a span's tokens: causal in their own block, to all of the memory, and to the state's vectors."""

    def __init__(self, config: BlockRecurrentConfig, layer: int) -> None:
        super().__init__()
        recurrent = layer in config.recurrent_layers
        self._dim_head = config.dim_head
        self._has_memory = layer in config.xl_memories_layers
        self.norm = norm(config.dim)
        self.to_q = nn.Linear(config.dim, config.inner, bias=False)
        self.to_kv = nn.Linear(config.dim, 2 * config.kv_inner, bias=False)
        self.to_out = nn.Linear(config.inner * (2 if recurrent else 1), config.dim, bias=False)
        self.scores = Scores(config, layer)
        self.compression = Compression(config) if layer in config.compressing_layers else None
        self.cell = RecurrentCell(config, layer) if recurrent else None

    def forward(
        self, x: Tensor, span: Span, memory: LayerMemory, state: Tensor | None, tables: XPos, kernel: Backend
    ) -> tuple[Tensor, LayerMemory, Tensor | None]:
        """(out (batch, seq, dim), memory, state), the latter two as the tokens after the span need them.

        ``tables`` has a row for every place that a key can have: ``span.origin`` is that of place 0 of a block.
        """
        x = self.norm(x)
        q = self.to_q(x).unflatten(-1, (-1, self._dim_head))
        own = Keys(*self.to_kv(x).unflatten(-1, (-1, self._dim_head)).chunk(2, 2))
        out = self._attended(q, own, span, memory, tables, kernel)
        block = join(memory.current, own)
        if self.cell is not None:
            read, state = self.cell(x, block, state, span, kernel)
            out = torch.cat((out, read), -1)
        return self.to_out(out), self._remembered(block, memory, span), state

    def _attended(self, q: Tensor, own: Keys, span: Span, memory: LayerMemory, tables: XPos, kernel: Backend) -> Tensor:
        heads, width = q.shape[2], span.width
        here = tables_at(tables, span.origin + span.begin, span.length)
        rows = q.unflatten(1, (span.count, span.length))
        rows = turn(self.scores.queries(rows), here.q_cos, here.q_sin).flatten(1, 2)
        k = self.scores.keys(own.k)

        def turned(keys: Tensor, start: int) -> Tensor:
            """Keys at places from ``start`` in, or (negative) before, their query's block."""
            where = tables_at(tables, span.origin + start, keys.shape[1])
            return turn(keys, where.k_cos, where.k_sin)

        def blocks(x: Tensor, count: int) -> Tensor:
            found: Tensor = x.unflatten(1, (count, -1)).flatten(0, 1)
            return found

        all_blocks = block_rows(0, span.count, span.length, heads)
        sets = [KeySet(all_blocks, turned(blocks(k, span.count), span.begin), blocks(own.v, span.count), causal=True)]
        if (seen := memory.seen()) is not None:
            start = span.begin - seen.k.shape[1]
            sets.append(KeySet(block_rows(0, 1, span.length, heads), turned(self.scores.keys(seen.k), start), seen.v))
        if self._has_memory and span.count > 1:
            later = span.count - 1
            previous = turned(blocks(k[:, :-width], later), -width)
            sets.append(KeySet(block_rows(1, later, width, heads), previous, blocks(own.v[:, :-width], later)))
        return attend(rows, sets, self.scores.scale, kernel).flatten(2)

    def _remembered(self, block: Keys, memory: LayerMemory, span: Span) -> LayerMemory:
        if not span.finishes:
            return memory._replace(current=block)
        if not self._has_memory:
            return LayerMemory()
        last = block.split(span.width)[-1]
        compressed = memory.compressed
        if self.compression is not None and memory.previous is not None:
            compressed = self.compression(compressed, memory.previous)
        return LayerMemory(previous=last, compressed=compressed)


class FeedForward(nn.Module):
    """down(a * gelu(b)) with (a, b) = up(norm(x)): GEGLU (Shazeer, 2020, arXiv:2002.05202)."""

    def __init__(self, config: BlockRecurrentConfig) -> None:
        super().__init__()
        self.norm = norm(config.dim)
        self.up = nn.Linear(config.dim, 2 * config.ff_dim, bias=False)
        self.down = nn.Linear(config.ff_dim, config.dim, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        value, gate = self.up(self.norm(x)).chunk(2, -1)
        out: Tensor = self.down(value * functional.gelu(gate))
        return out


class Layer(nn.Module):
    """Attention, then the feed-forward, each of the normalised input and added to it."""

    def __init__(self, config: BlockRecurrentConfig, layer: int) -> None:
        super().__init__()
        self.attention = BlockAttention(config, layer)
        self.feed_forward = FeedForward(config)

    def forward(
        self, x: Tensor, span: Span, memory: LayerMemory, state: Tensor | None, tables: XPos, kernel: Backend
    ) -> tuple[Tensor, LayerMemory, Tensor | None]:
        attended, memory, state = self.attention(x, span, memory, state, tables, kernel)
        x = x + attended
        return x + self.feed_forward(x), memory, state


def tables_at(tables: XPos, start: int, length: int) -> XPos:
    """The tables' rows for ``length`` positions from ``start``."""
    return XPos(*(table[start : start + length] for table in tables))
