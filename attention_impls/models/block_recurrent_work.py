"""What a block-recurrent transformer does and holds: pairs, FLOPs, bytes. No torch here: planning asks."""

from __future__ import annotations

from dataclasses import dataclass

from attention_impls.api import Work
from attention_impls.models.block_recurrent_config import BlockRecurrentConfig
from attention_impls.pattern import (
    BACKWARD_OVER_FORWARD,
    FORWARD_FLOPS_PER_PAIR_AND_DIM,
    PASS_PARTS,
    Cost,
    FullPattern,
)
from attention_impls.shape import AttentionShape

_TOKEN_BYTES = 8
_LSE_BYTES = 4
_WEIGHT_TRAFFIC = {"fwd": 1, "bwd": 2}
"""Reads of the weights, and writes of their gradient."""

_WEIGHT_COPIES = {"fwd": 1, "bwd": 2, "fwd+bwd": 2, "step": 4}
"""Weights, their gradient, and Adam's two moments."""


@dataclass(frozen=True, slots=True)
class Blocks:
    """How a sequence falls into blocks of a config, from its start."""

    config: BlockRecurrentConfig
    seq_len: int
    bptt: int | None

    @property
    def touched(self) -> int:
        """Blocks, the last of which may be shorter: each is read a state."""
        return -(-self.seq_len // self.config.block_width)

    @property
    def complete(self) -> int:
        """Blocks of full width: each writes the state, whether or not one comes after it."""
        return self.seq_len // self.config.block_width

    def token_pairs(self) -> int:
        """(query, key) pairs of one head over all layers: own block, previous block and compressed keys."""
        config, w = self.config, self.config.block_width
        tail = self.seq_len - self.complete * w
        own = self.complete * (w * (w + 1) // 2) + tail * (tail + 1) // 2
        previous = max(0, self.seq_len - w) * w
        total = config.depth * own + len(config.xl_memories_layers) * previous
        return total + len(config.compressing_layers) * self._compressed_pairs()

    def _compressed_pairs(self) -> int:
        """Of one layer: block b sees b - 1 times what a block is compressed to, until the memory is full."""
        config, w, most = self.config, self.config.block_width, self.config.compressed_memory
        if most is None:
            return 0
        made, later = w // config.compression_factor, max(0, self.complete - 2)  # complete blocks from the third on
        growing = min(later, most // made)
        keys = made * (growing * (growing + 1) // 2) + (later - growing) * most
        return w * keys + (self.seq_len - self.complete * w) * config.compressed_keys(self.complete)

    def state_pairs(self, writes: int) -> int:
        """Pairs of one head over all recurrent layers: tokens read vectors; vectors see vectors and tokens."""
        vectors = self.config.num_state_vectors
        each = self.seq_len * vectors + writes * vectors * (vectors + self.config.block_width)
        return len(self.config.recurrent_layers) * each

    def writes(self, part: str) -> int:
        """Writes of one state that ``part`` goes through: a backward only those that a later block's loss reaches."""
        return self.complete if part == "fwd" else self._linked(1)

    def compressions(self, part: str) -> int:
        """Blocks that are compressed in one layer: each complete one as the next is completed."""
        return max(0, self.complete - 1) if part == "fwd" else self._linked(2)

    def _linked(self, first: int) -> int:
        """Boundaries ``first`` to the last, block b beginning at boundary b, that gradients cross."""
        boundaries = max(0, self.touched - first)
        if self.bptt is None:
            return boundaries
        return boundaries - ((self.touched - 1) // self.bptt - (first - 1) // self.bptt if boundaries else 0)

    def matmul_macs(self, part: str) -> int:
        """Multiply-adds of one sequence with weights: of tokens, of state vectors and of compressed keys."""
        c = self.config
        dim, inner, recurrent = c.dim, c.inner, len(c.recurrent_layers)
        layer = 2 * dim * inner + 2 * dim * c.kv_inner + 3 * dim * c.ff_dim
        token = c.depth * layer + recurrent * 2 * dim * inner + dim * c.num_tokens
        vector_read = 2 * dim * c.kv_inner
        vector_written = 4 * dim * inner + dim * dim
        vectors = self.touched * vector_read + self.writes(part) * vector_written
        made = self.compressions(part) * (c.block_width // c.compression_factor) * c.kv_heads
        compression = len(c.compressing_layers) * made * 2 * c.compression_factor * c.dim_head**2
        return self.seq_len * token + recurrent * c.num_state_vectors * vectors + compression


def block_recurrent_work(
    config: BlockRecurrentConfig, shape: AttentionShape, bptt: int | None, passes: str, element_bytes: int
) -> Work:
    """What a pass does and holds.

    FLOPs: forward two a multiply-add with weights (state-side ones counted a vector and block) plus
    ``4 * pairs * head_dim`` of attention; backward twice and 2.5 times that, without the writes of states whose
    gradient nothing asks for. A step is forward and backward. ``dense_flops`` has full causal attention of
    every layer in place of all the attention.

    ``io_bytes`` is a lower bound: weights once a pass (and in the backward their gradient), token ids, and the
    logits or their gradient; memories, states and what layers hand on could stay in cache.

    ``peak_bytes`` is an estimate: weights, in the backward their gradient, in a step Adam's two moments, and
    activations: within about a tenth of what a forward and a backward held when it was counted.
    """
    blocks, parts = Blocks(config, shape.seq_len, bptt), PASS_PARTS[passes]
    flops = sum(_flops(blocks, shape, part, dense=False) for part in parts)
    dense_flops = sum(_flops(blocks, shape, part, dense=True) for part in parts)
    tokens = shape.batch * shape.seq_len
    weights, ids = config.parameters() * element_bytes, tokens * _TOKEN_BYTES
    logits = tokens * config.num_tokens * element_bytes
    return Work(
        cost=Cost(
            flops=flops,
            dense_flops=dense_flops,
            io_bytes=sum(_WEIGHT_TRAFFIC[part] * weights + logits for part in parts) + ids,
        ),
        parameters=config.parameters(),
        input_bytes=ids,
        peak_bytes=_WEIGHT_COPIES[passes] * weights + ids + _activation_bytes(blocks, shape, passes, element_bytes),
    )


def _flops(blocks: Blocks, shape: AttentionShape, part: str, *, dense: bool) -> int:
    config = blocks.config
    matmul = {"fwd": 2, "bwd": 4}[part] * blocks.matmul_macs(part) * shape.batch
    if dense:
        pairs = config.depth * FullPattern(shape).pairs()
    else:
        pairs = shape.batch * config.heads * (blocks.token_pairs() + blocks.state_pairs(blocks.writes(part)))
    attention = FORWARD_FLOPS_PER_PAIR_AND_DIM * pairs * config.dim_head
    return matmul + round(attention * (1.0 if part == "fwd" else BACKWARD_OVER_FORWARD))


def _activation_bytes(blocks: Blocks, shape: AttentionShape, passes: str, element_bytes: int) -> int:
    """Activations: what autograd keeps of all layers; in a forward without it what one layer holds of a span.

    A span is the whole sequence unless ``bptt`` or a compressed memory cuts it.
    """
    c, batch = blocks.config, shape.batch
    tokens = batch * shape.seq_len
    if passes == "fwd":
        span = shape.seq_len
        if c.compressed_memory is not None:
            span = min(span, c.block_width)
        elif blocks.bptt is not None:
            span = min(span, blocks.bptt * c.block_width)
        read = 5 * c.inner if c.recurrent_layers else c.inner  # beside what is kept, as below
        layer = max(_attention_features(c) + read, _feed_forward_features(c))
        return (batch * span * layer + tokens * (2 * c.dim + c.num_tokens)) * element_bytes
    recurrent, normed = len(c.recurrent_layers), len(c.qk_norm_layers)
    normed_cells = len(set(c.recurrent_layers) & set(c.qk_norm_layers))
    token = c.depth * (_attention_features(c) + _feed_forward_features(c)) + 2 * (c.dim + c.num_tokens)
    token += recurrent * 4 * c.inner  # the queries that read and what they read, alone and joined
    token += normed * 2 * (c.inner + c.kv_inner) + normed_cells * 2 * c.inner
    token += len(c.compressing_layers) * 4 * c.kv_inner  # keys and values joined, and again to be compressed
    # Of a state vector: itself, its norm, keys and values, two queries, two results joined, the update.
    vector = recurrent * (5 * c.dim + 4 * c.inner + 2 * c.kv_inner) + normed_cells * 4 * (c.inner + c.kv_inner)
    vectors = batch * blocks.complete * c.num_state_vectors
    return (tokens * token + vectors * vector) * element_bytes + c.depth * tokens * c.heads * _LSE_BYTES


def _attention_features(c: BlockRecurrentConfig) -> int:
    """Of a token: x and norm x; q as projected and turned, out; k turned for its own and the next block, k, v."""
    return 2 * c.dim + 3 * c.inner + 4 * c.kv_inner


def _feed_forward_features(c: BlockRecurrentConfig) -> int:
    """Of a token: x and norm x; both halves of up, gelu, and their product."""
    return 2 * c.dim + 4 * c.ff_dim
