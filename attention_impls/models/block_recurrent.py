"""The Block-Recurrent Transformer: token ids in, logits, memories and states out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from attention_impls.kernels.registry import get_backend
from attention_impls.models.block_recurrent_config import (
    DEFAULT_COMPRESSION_FACTOR,
    DEFAULT_QK_NORM_SCALE,
    BlockRecurrentConfig,
    upper_layer,
)
from attention_impls.models.block_recurrent_layers import Layer, norm
from attention_impls.models.block_recurrent_memory import LayerMemory, spans
from attention_impls.models.layers import xpos

Memories = tuple[LayerMemory, ...]
States = tuple[Tensor, ...]


class BlockRecurrentTransformer(nn.Module):
    """Block-Recurrent Transformers (Hutchins et al., 2022, arXiv:2203.07852): work linear in the sequence.

    The sequence is cut into blocks of w tokens. A token sees its own block up to itself and, in every layer, all
    of the block before (and, if asked for, compressed keys of earlier ones). A recurrent layer has S state vectors
    besides: the block's tokens read them, and once the block is complete they are written from its keys.

    From the paper: recurrent cell, fixed gate, state IDs, keys shared by reading and writing, one recurrent layer
    in the upper part. As block-recurrent-transformer-pytorch 0.4.4 has it, with whose weights the function is the
    same: the whole previous block is seen (the paper's window slides with the query), XPOS in place of a relative
    bias, GEGLU, norms without bias, and optionally keys compressed by a strided convolution. ``kv_heads=1`` and
    ``qk_norm_layers`` equal to ``recurrent_layers`` are that package's choices. It never applies the factor of its
    normalised queries and keys; here ``qk_norm_scale`` does.

    Args:
        num_tokens: token ids, and width of the logits.
        dim: features of a token.
        depth: layers, numbered from 1.
        heads: query heads.
        dim_head: features of a head; even.
        ff_mult: width of the feed-forward over ``dim``, before the two thirds of a gated one.
        block_width: tokens of a block, w.
        num_state_vectors: state vectors of a recurrent layer, S; w if None.
        recurrent_layers: layers with a state; if None the one at 10/12 of the depth, as in the paper.
        kv_heads: key and value heads, dividing ``heads``; as many if None.
        xl_memories_layers: layers that see the previous block; all if None.
        qk_norm_layers: layers with queries and keys of unit length times a learned factor a feature.
        qk_norm_scale: factor on those layers' scores, in place of 1 / sqrt(dim_head).
        compressed_memory: how many compressed keys are kept beyond the previous block; none if None.
        compression_factor: tokens compressed into one key; divides ``block_width``.
        backend: a name of :func:`attention_impls.kernels.registry.backends`; the best supported if None.

    Raises:
        ValueError: sizes that do not go together.
    """

    def __init__(
        self,
        num_tokens: int,
        dim: int,
        depth: int,
        heads: int = 8,
        dim_head: int = 64,
        ff_mult: float = 4,
        block_width: int = 512,
        num_state_vectors: int | None = None,
        recurrent_layers: Sequence[int] | None = None,
        *,
        kv_heads: int | None = None,
        xl_memories_layers: Sequence[int] | None = None,
        qk_norm_layers: Sequence[int] = (),
        qk_norm_scale: float = DEFAULT_QK_NORM_SCALE,
        compressed_memory: int | None = None,
        compression_factor: int = DEFAULT_COMPRESSION_FACTOR,
        backend: str | None = None,
    ) -> None:
        super().__init__()
        self.config = config = BlockRecurrentConfig(
            num_tokens=num_tokens,
            dim=dim,
            depth=depth,
            heads=heads,
            kv_heads=heads if kv_heads is None else kv_heads,
            dim_head=dim_head,
            ff_mult=ff_mult,
            block_width=block_width,
            num_state_vectors=block_width if num_state_vectors is None else num_state_vectors,
            recurrent_layers=(upper_layer(depth),) if recurrent_layers is None else tuple(recurrent_layers),
            xl_memories_layers=tuple(range(1, depth + 1) if xl_memories_layers is None else xl_memories_layers),
            qk_norm_layers=tuple(qk_norm_layers),
            qk_norm_scale=qk_norm_scale,
            compressed_memory=compressed_memory,
            compression_factor=compression_factor,
        )
        self.backend = backend
        self.embedding = nn.Embedding(config.num_tokens, config.dim)
        self.layers = nn.ModuleList(Layer(config, layer) for layer in range(1, depth + 1))
        self.norm = norm(config.dim)
        self.to_logits = nn.Linear(config.dim, config.num_tokens, bias=False)

    def forward(
        self,
        tokens: Tensor,
        memories: Sequence[LayerMemory] | None = None,
        states: Sequence[Tensor] | None = None,
        *,
        bptt: int | None = None,
    ) -> tuple[Tensor, Memories, States]:
        """Logits of ``tokens``, and what the tokens after them need of these.

        A sequence may be cut anywhere and given in several calls: with the memories and states of one call
        handed to the next, the logits are those of a single call. A block begun in one call is completed in
        the next, and only then written to the states.

        Args:
            tokens: (batch, seq) int64; seq need not be a multiple of the block width.
            memories: of the tokens before, one a layer; None at the start of a sequence.
            states: of the tokens before, (batch, S, dim) for each recurrent layer; the learned ones if None.
            bptt: detach memories and states whenever so many blocks were completed in this call; never if None,
                also not those that are returned.

        Returns:
            (logits (batch, seq, num_tokens), memories, states).

        Raises:
            ValueError: tokens, memories, states or bptt that do not go with the model or with one another.
            Unsupported: the back end does not exist, or not for this model on this machine.
        """
        config = self.config
        self._check(tokens, memories, states, bptt)
        x: Tensor = self.embedding(tokens)
        kernel = get_backend(self.backend, x.device.type, x.dtype, config.dim_head)
        kept = list(memories or [LayerMemory()] * config.depth)
        recurrent = dict(zip(config.recurrent_layers, states or (), strict=False))
        state = [recurrent.get(layer) for layer in range(1, config.depth + 1)]
        begun = 0 if kept[0].current is None else kept[0].current.k.shape[1]
        origin = config.block_width + (config.compressed_memory or 0)
        tables = xpos(0, origin + config.block_width, config.dim_head, x.dtype, x.device)
        # A block's compressed keys are no other block's, so those blocks are taken one by one.
        at_once = None if config.compressed_memory is None else 1
        cuts = list(spans(x.shape[1], begun, config.block_width, origin, at_once=at_once, cut=bptt))
        hidden, done = [], 0
        for span, embedded in zip(cuts, x.split([span.tokens for span in cuts], 1), strict=True):
            hidden.append(embedded)
            for i, layer in enumerate(self.layers):
                hidden[-1], kept[i], state[i] = layer(hidden[-1], span, kept[i], state[i], tables, kernel)
            done += span.count
            if bptt is not None and span.finishes and done % bptt == 0:
                kept = [memory.detach() for memory in kept]
                state = [None if vectors is None else vectors.detach() for vectors in state]
        logits: Tensor = self.to_logits(self.norm(torch.cat(hidden, 1) if len(hidden) > 1 else hidden[0]))
        return logits, tuple(kept), tuple(vectors for vectors in state if vectors is not None)

    def _check(
        self,
        tokens: Tensor,
        memories: Sequence[LayerMemory] | None,
        states: Sequence[Tensor] | None,
        bptt: int | None,
    ) -> None:
        config = self.config
        if tokens.dim() != 2 or 0 in tokens.shape:
            raise ValueError(f"tokens must be (batch, seq), at least one of each, not of shape {tuple(tokens.shape)}")
        if bptt is not None and bptt < 1:
            raise ValueError(f"bptt must be at least 1 block, or None for all, not {bptt}")
        if memories is not None and len(memories) != config.depth:
            raise ValueError(f"memories of {len(memories)} layers were given to a model of {config.depth}")
        for kept in (keys for memory in memories or () for keys in memory if keys is not None):
            if kept.k.shape[0] != tokens.shape[0]:
                raise ValueError(
                    f"memories of a batch of {kept.k.shape[0]} were given with {tokens.shape[0]} sequences"
                )
        if states is not None:
            expected = (tokens.shape[0], config.num_state_vectors, config.dim)
            found = [tuple(vectors.shape) for vectors in states]
            if found != [expected] * len(config.recurrent_layers):
                raise ValueError(
                    f"states must be one of shape {expected} for each of the recurrent layers "
                    f"{config.recurrent_layers}, not {found}"
                )


@dataclass(slots=True)
class Carried:
    """What a sequence's tokens so far have left: None of both at its start."""

    memories: Memories | None = None
    states: States | None = None


class BlockRecurrentLogits(nn.Module):
    """The model with logits as its only result: what is timed."""

    def __init__(self, model: BlockRecurrentTransformer, bptt: int | None) -> None:
        super().__init__()
        self.model = model
        self._bptt = bptt

    def cache(self, _batch: int, _tokens: int) -> Carried:
        """What decoding carries from call to call; it grows to a block's keys and the states, and no further."""
        return Carried()

    def forward(self, tokens: Tensor, cache: Carried | None = None) -> Tensor:
        """(batch, seq) int64 -> (batch, seq, num_tokens), of a sequence from its start.

        With a cache, ``tokens`` go on from those that it has seen, and it moves on with them.
        """
        carried = Carried() if cache is None else cache
        logits: Tensor
        logits, memories, states = self.model(tokens, carried.memories, carried.states, bptt=self._bptt)
        if cache is not None:
            cache.memories, cache.states = memories, states
        return logits


def seeded_logits(
    model_arguments: dict[str, object], bptt: int | None, device: torch.device | str, dtype: torch.dtype, seed: int
) -> BlockRecurrentLogits:
    """A model whose parameters follow from ``seed``; torch's own generators stay as they are."""
    with torch.random.fork_rng(devices=[]):  # drawn on the CPU: the same for every device
        torch.default_generator.manual_seed(seed)
        model = BlockRecurrentTransformer(**model_arguments)  # type: ignore[arg-type]
    return BlockRecurrentLogits(model, bptt).to(device=device, dtype=dtype)
