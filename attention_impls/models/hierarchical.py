"""The hierarchical transformer: several views of one sequence, merged to predict its next token.

After simple-hierarchical-transformer (P. Wang, 2023), a refinement of Hourglass (Nawrot et al., 2021,
arXiv:2110.13711): every level runs a transformer block on its own, compressed, rows in every layer, and
what they hold is merged into the level that predicts.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from attention_impls.models.hierarchical_layers import LevelBlock, compression, merge, positions, spread
from attention_impls.models.hierarchical_levels import Level
from attention_impls.models.hierarchical_sizes import Hierarchy
from attention_impls.models.layers import LAYER_NORM_EPS


class HierarchicalLoss(NamedTuple):
    """What :meth:`HierarchicalTransformer.loss` comes to.

    Attributes:
        total: next_token and the weighted sums of the other two.
        next_token: mean cross-entropy of the next token, in nats.
        reconstruction: (levels,), mean cross-entropy, in nats, of the tokens a level's rows are made of,
            told from the last layer's rows; 0 for a level that compresses nothing.
        next_embedding: (levels,), one less the mean cosine between a level's next row and its prediction;
            0 for a level that compresses nothing, or has a single row.
    """

    total: Tensor
    next_token: Tensor
    reconstruction: Tensor
    next_embedding: Tensor


class HierarchicalTransformer(nn.Module):
    """A causal language model on several levels: logits at t depend on tokens 0 to t only.

    Args:
        num_tokens: token ids.
        dim: features of the token embedding.
        depth: layers: a block on every level, then the merge.
        levels: the first has compression 1. A window that is a level's length or more is full attention of
            that level: :meth:`~attention_impls.models.hierarchical_levels.Level.full_attention` tells.
        predict_level: place of the level that the merge adds to and that predicts; of stride 1.
        predict_from_all: read the logits from all levels side by side.
        merge_all: merge into every level, not the predicting one alone.
        reconstruction_weight: of the reconstruction loss; 0 leaves its heads out.
        next_embedding_weight: of the next-embedding loss; 0 leaves its heads out.
        ignore_index: a token id that no loss counts as a target.
        backend: a name of :func:`attention_impls.kernels.registry.backends`; the best supported if None.

    Raises:
        ValueError: numbers or levels that do not fit.
    """

    def __init__(
        self,
        num_tokens: int,
        dim: int,
        depth: int,
        levels: Sequence[Level],
        *,
        predict_level: int = 0,
        predict_from_all: bool = False,
        merge_all: bool = False,
        reconstruction_weight: float = 0.1,
        next_embedding_weight: float = 0.25,
        ignore_index: int = -100,
        backend: str | None = None,
    ) -> None:
        super().__init__()
        self.hierarchy = h = Hierarchy(
            num_tokens, dim, depth, tuple(levels), predict_level, predict_from_all, merge_all,
            reconstruction_weight > 0, next_embedding_weight > 0,
        )  # fmt: skip
        self.loss_weights = (reconstruction_weight, next_embedding_weight)
        self.ignore_index = ignore_index
        self.token_embedding = nn.Embedding(num_tokens, dim)
        self.compress = nn.ModuleList(compression(dim, level) for level in h.levels)
        self.embed_norms = nn.ModuleList(nn.LayerNorm(level.dim, LAYER_NORM_EPS) for level in h.levels)
        self.layers = nn.ModuleList(
            nn.ModuleList(LevelBlock(level, backend) for level in h.levels) for _ in range(depth)
        )
        self.merges = nn.ModuleList(merge(h.width, h.merged) for _ in range(h.merges))
        self.norms = nn.ModuleList(
            nn.LayerNorm(level.dim, LAYER_NORM_EPS) if read else nn.Identity()
            for level, read in zip(h.levels, h.read, strict=True)
        )
        self.to_logits = nn.Linear(h.predicting, num_tokens, bias=False)
        compressed = [(str(place), level) for place, level in enumerate(h.levels) if level.compression > 1]
        self.reconstruct = nn.ModuleDict(
            {place: nn.Linear(level.dim, level.compression * num_tokens, bias=False) for place, level in compressed}
            if h.reconstruction
            else {}
        )
        self.next_embedding = nn.ModuleDict(
            {place: nn.Linear(level.dim, level.dim) for place, level in compressed} if h.next_embedding else {}
        )

    def forward(self, tokens: Tensor) -> Tensor:
        """Logits (batch, seq, num_tokens) of the token after each of ``tokens`` (batch, seq), int64.

        Raises:
            ValueError: tokens of another shape, or none.
        """
        return self._logits(self._rows(tokens), tokens.shape[1])

    def loss(self, tokens: Tensor) -> HierarchicalLoss:
        """Losses of predicting each of ``tokens`` (batch, seq), int64, from those before it; seq at least 2.

        Raises:
            ValueError: tokens of another shape, or fewer than 2 of a sequence.
        """
        self._check(tokens)
        if tokens.shape[1] < 2:
            raise ValueError(f"a loss needs at least 2 tokens of a sequence, not {tokens.shape[1]}")
        inputs, targets = tokens[:, :-1], tokens[:, 1:]
        rows = self._rows(inputs)
        next_token = self._cross_entropy(self._logits(rows, inputs.shape[1]), targets)
        reconstruction = torch.stack([self._reconstruction(place, x, inputs) for place, x in enumerate(rows)])
        next_embedding = torch.stack([self._next_embedding(place, x) for place, x in enumerate(rows)])
        extra = self.loss_weights[0] * reconstruction.sum() + self.loss_weights[1] * next_embedding.sum()
        return HierarchicalLoss(next_token + extra, next_token, reconstruction, next_embedding)

    @staticmethod
    def _check(tokens: Tensor) -> None:
        if tokens.dim() != 2 or 0 in tokens.shape:
            raise ValueError(f"tokens must be (batch, seq), at least one of each, not {tuple(tokens.shape)}")

    def _rows(self, tokens: Tensor) -> list[Tensor]:
        """The last layer's rows of every level, normalised where they are read: (batch, rows, level dim) each."""
        self._check(tokens)
        h, seq = self.hierarchy, tokens.shape[1]
        x = self.token_embedding(tokens)
        at = [positions(level, seq, x.dtype, x.device) for level in h.levels]
        rows = [norm(compress(x)) for compress, norm in zip(self.compress, self.embed_norms, strict=True)]
        for number, blocks in enumerate(self.layers):
            rows = [block(r, a) for block, r, a in zip(cast("nn.ModuleList", blocks), rows, at, strict=True)]
            if h.merges:
                rows = self._merge(self.merges[number](self._side_by_side(rows, seq)), rows)
        return [norm(r) for norm, r in zip(self.norms, rows, strict=True)]

    def _side_by_side(self, rows: list[Tensor], seq: int) -> Tensor:
        levels = self.hierarchy.levels
        return torch.cat([spread(r, level.stride, seq) for level, r in zip(levels, rows, strict=True)], -1)

    def _merge(self, news: Tensor, rows: list[Tensor]) -> list[Tensor]:
        h = self.hierarchy
        if h.merge_all:
            parts = news.split([level.dim for level in h.levels], -1)
            return [r + part[:, :: level.stride] for r, part, level in zip(rows, parts, h.levels, strict=True)]
        return [r + news if place == h.predict_level else r for place, r in enumerate(rows)]

    def _logits(self, rows: list[Tensor], seq: int) -> Tensor:
        h = self.hierarchy
        read = self._side_by_side(rows, seq) if h.predict_from_all else rows[h.predict_level]
        logits: Tensor = self.to_logits(read)
        return logits

    def _cross_entropy(self, logits: Tensor, targets: Tensor) -> Tensor:
        """Mean over all positions, in at least fp32; logits (..., num_tokens), targets (...)."""
        wide = torch.promote_types(logits.dtype, torch.float32)
        return functional.cross_entropy(
            logits.reshape(-1, logits.shape[-1]).to(wide), targets.reshape(-1), ignore_index=self.ignore_index
        )

    def _reconstruction(self, place: int, rows: Tensor, tokens: Tensor) -> Tensor:
        wide = torch.promote_types(rows.dtype, torch.float32)
        if str(place) not in self.reconstruct:
            return rows.new_zeros((), dtype=wide)
        level = self.hierarchy.levels[place]
        before = functional.pad(tokens, (level.compression - 1, 0), value=self.ignore_index)
        made_of = before.unfold(1, level.compression, level.stride)  # (batch, rows, compression)
        logits = self.reconstruct[str(place)](rows).unflatten(2, (level.compression, -1))
        return self._cross_entropy(logits, made_of)

    def _next_embedding(self, place: int, rows: Tensor) -> Tensor:
        wide = torch.promote_types(rows.dtype, torch.float32)
        if str(place) not in self.next_embedding or rows.shape[1] < 2:
            return rows.new_zeros((), dtype=wide)
        told = self.next_embedding[str(place)](rows[:, :-1])
        return 1 - functional.cosine_similarity(told.to(wide), rows[:, 1:].to(wide), -1).mean()
