"""How large a hierarchical transformer is and what it does: parameters, FLOPs, bytes. No torch here."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from attention_impls.api import Work
from attention_impls.models.hierarchical_levels import Level
from attention_impls.pattern import BACKWARD_OVER_FORWARD, FORWARD_FLOPS_PER_PAIR_AND_DIM, PASS_PARTS, Cost

EXPANSION = 4
"""Width inside the compression over the embedding's."""

_TOKEN_BYTES = 8
_WIDE_BYTES = 4
_WEIGHT_COPIES = {"fwd": 1, "bwd": 2, "fwd+bwd": 2, "step": 4}
"""Weights, their gradient, and Adam's two moments."""


@dataclass(frozen=True, slots=True)
class Hierarchy:
    """All that a hierarchical transformer is made from.

    Attributes:
        num_tokens: token ids.
        dim: features of the token embedding that every level is compressed from.
        depth: layers: a block on every level, then the merge.
        levels: the first is the token sequence itself.
        predict_level: the level, by its place, that the merge adds to and that predicts the next token.
        predict_from_all: whether the logits read all levels side by side instead.
        merge_all: whether the merge adds to every level.
        reconstruction: whether there are heads that tell a row's tokens from it.
        next_embedding: whether there are heads that tell a level's next row from one.
    """

    num_tokens: int
    dim: int
    depth: int
    levels: tuple[Level, ...]
    predict_level: int = 0
    predict_from_all: bool = False
    merge_all: bool = False
    reconstruction: bool = False
    next_embedding: bool = False

    def __post_init__(self) -> None:
        for name in ("num_tokens", "dim", "depth"):
            value = getattr(self, name)
            if not isinstance(value, int) or isinstance(value, bool) or value < 1:
                raise ValueError(f"{name} must be a whole number of at least 1, not {value!r}")
        if not self.levels:
            raise ValueError("at least one level is needed")
        if self.levels[0].compression != 1:
            raise ValueError(
                f"level {self.levels[0].word} comes first: its compression must be 1, the token sequence itself"
            )
        if not 0 <= self.predict_level < len(self.levels):
            raise ValueError(f"predict_level must be from 0 to {len(self.levels) - 1}, not {self.predict_level}")
        if (level := self.levels[self.predict_level]).stride != 1:
            raise ValueError(f"level {level.word} cannot predict every token: its stride must be 1")

    @property
    def width(self) -> int:
        """Features of all levels side by side."""
        return sum(level.dim for level in self.levels)

    @property
    def merged(self) -> int:
        """Features that a merge adds to."""
        return self.width if self.merge_all else self.levels[self.predict_level].dim

    @property
    def merges(self) -> int:
        """Merges: one a layer, none where there is nothing to merge."""
        return self.depth if len(self.levels) > 1 else 0

    @property
    def read(self) -> tuple[bool, ...]:
        """Whether a level's last rows are read, by the logits or a loss, and so normalised."""
        losses = self.reconstruction or self.next_embedding
        return tuple(
            place == self.predict_level or self.predict_from_all or (losses and level.compression > 1)
            for place, level in enumerate(self.levels)
        )

    @property
    def predicting(self) -> int:
        """Features that the logits are read from."""
        return self.width if self.predict_from_all else self.levels[self.predict_level].dim

    def parameters(self) -> int:
        """Numbers that are learned."""
        merge = self.width + 2 * self.merged * (self.width + 1) + self.merged * (2 * self.merged + 1)
        total = self.num_tokens * self.dim + self.merges * merge + self.predicting * self.num_tokens
        for level, read in zip(self.levels, self.read, strict=True):
            total += self._compression_parameters(level) + 2 * level.dim
            total += self.depth * self._block_parameters(level) + (2 * level.dim if read else 0)
            if level.compression > 1 and self.reconstruction:
                total += level.dim * level.compression * self.num_tokens
            if level.compression > 1 and self.next_embedding:
                total += level.dim * (level.dim + 1)
        return total

    def _compression_parameters(self, level: Level) -> int:
        if level.compression == 1:
            return 0 if level.dim == self.dim else self.dim * level.dim
        inner = EXPANSION * self.dim
        return inner * (self.dim * level.compression + 1) + level.dim * (inner + 1)

    @staticmethod
    def _block_parameters(level: Level) -> int:
        feed_forward = level.dim + 2 * level.dim * level.hidden
        if level.window == 0:
            return feed_forward
        norm = level.dim if level.window is None else 2 * level.dim
        return feed_forward + norm + 4 * level.dim * level.inner

    def products(self, tokens: int) -> Iterator[tuple[int, int]]:
        """(weights, rows that they multiply) of every matrix product from one sequence's tokens to its logits."""
        for level in self.levels:
            rows = level.rows(tokens)
            if level.compression > 1:
                yield EXPANSION * self.dim * (self.dim * level.compression + level.dim), rows
            elif level.dim != self.dim:
                yield self.dim * level.dim, rows
            attention = 0 if level.window == 0 else 4 * level.dim * level.inner
            yield self.depth * (attention + 2 * level.dim * level.hidden), rows
        yield self.merges * 2 * self.merged * (self.width + self.merged), tokens
        yield self.predicting * self.num_tokens, tokens

    def attention_flops(self, tokens: int, *, dense: bool = False) -> int:
        """Of the forward over one sequence, as attention's are counted: ``4 * pairs * dim_head``."""
        pairs = sum(level.dim_head * level.pairs(tokens, dense=dense) for level in self.levels)
        return self.depth * FORWARD_FLOPS_PER_PAIR_AND_DIM * pairs


def hierarchical_work(h: Hierarchy, batch: int, tokens: int, passes: str, element_bytes: int) -> Work:
    """What a pass ("fwd", "bwd", "fwd+bwd" or "step") does and holds, for ``batch`` sequences of ``tokens``.

    FLOPs: forward two a weight and row it multiplies (Kaplan et al., 2020, arXiv:2001.08361, section 2.1),
    each level having its own rows, plus the attention's ``4 * pairs * dim_head``; backward twice and 2.5
    times that. A step is forward and backward: the optimiser's work is not counted. ``dense_flops`` has
    causal attention over the whole of every level instead.

    ``io_bytes`` is a lower bound: each weight read once a pass (in the backward its gradient written too),
    token ids, and the logits written or their gradient read; what layers hand on could stay in cache.

    ``peak_bytes`` is an estimate: weights, in the backward their gradient, in a step Adam's two moments;
    what autograd keeps of every layer, or in a forward the most that is held at once.
    """
    products = 2 * sum(weights * rows for weights, rows in h.products(tokens))
    factors = {"fwd": (1, 1.0), "bwd": (2, BACKWARD_OVER_FORWARD)}
    parts = PASS_PARTS[passes]

    def flops(*, dense: bool) -> int:
        attention = h.attention_flops(tokens, dense=dense)
        return batch * sum(round(factors[part][0] * products + factors[part][1] * attention) for part in parts)

    weights, ids = h.parameters() * element_bytes, batch * tokens * _TOKEN_BYTES
    logits = batch * tokens * h.num_tokens * element_bytes
    traffic = {"fwd": weights + ids + logits, "bwd": 2 * weights + ids + logits}
    return Work(
        cost=Cost(flops(dense=False), flops(dense=True), sum(traffic[part] for part in parts)),
        parameters=h.parameters(),
        input_bytes=ids,
        peak_bytes=_WEIGHT_COPIES[passes] * weights + ids + batch * _activation_bytes(h, tokens, passes, element_bytes),
    )


def _activation_bytes(h: Hierarchy, tokens: int, passes: str, element_bytes: int) -> int:
    """Of one sequence. A block: x shifted and its norm; qkv, q and k turned, by phases, out; feed-forward."""
    rows = [level.rows(tokens) for level in h.levels]
    blocks = [
        n * ((0 if level.window == 0 else 2 * level.dim + 9 * level.inner) + 2 * level.dim + 2 * level.hidden)
        for level, n in zip(h.levels, rows, strict=True)
    ]
    compressions = [
        n * 2 * EXPANSION * h.dim + tokens * h.dim if level.compression > 1 else 0
        for level, n in zip(h.levels, rows, strict=True)
    ]
    merge = tokens * (2 * h.width + 4 * h.merged) if h.merges else 0
    logits = tokens * h.num_tokens
    streams = sum(n * level.dim for level, n in zip(h.levels, rows, strict=True))
    tables = sum(2 * level.length(tokens) * level.dim_head for level in h.levels) * _WIDE_BYTES
    if passes == "fwd":
        held = 2 * streams + max(*blocks, *compressions, merge, logits)
    else:
        held = sum(compressions) + h.depth * (sum(blocks) + merge + streams) + 3 * streams + 2 * logits
        tables += h.depth * sum(n * level.heads for level, n in zip(h.levels, rows, strict=True)) * _WIDE_BYTES
    return held * element_bytes + tables
