"""What a block-recurrent transformer keeps between blocks, and how blocks are taken together."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor, nn

from attention_impls.models.block_recurrent_config import BlockRecurrentConfig


class Keys(NamedTuple):
    """Keys and values (batch, tokens, kv_heads, d) as projected: neither normalised nor turned."""

    k: Tensor
    v: Tensor

    def split(self, width: int) -> list[Keys]:
        """Those of each block of ``width`` tokens; views."""
        return [Keys(*parts) for parts in zip(self.k.split(width, 1), self.v.split(width, 1), strict=True)]

    def detach(self) -> Keys:
        return Keys(self.k.detach(), self.v.detach())


class LayerMemory(NamedTuple):
    """The keys of earlier tokens that a layer's next token sees, the oldest in ``compressed``.

    Attributes:
        current: of the block that is not yet complete; None at its start.
        previous: of the block before it.
        compressed: of the blocks before that one.
    """

    current: Keys | None = None
    previous: Keys | None = None
    compressed: Keys | None = None

    def seen(self) -> Keys | None:
        """All of them in order, or None; at most one block, its previous one and the compressed keys."""
        found = [keys for keys in (self.compressed, self.previous, self.current) if keys is not None]
        return join(*found) if found else None

    def detach(self) -> LayerMemory:
        """Without history: what comes after does not reach what came before by its gradient."""
        return LayerMemory(*(None if keys is None else keys.detach() for keys in self))


def join(*parts: Keys | None) -> Keys:
    """The parts that there are, one after the other; a single one as it is."""
    found = [part for part in parts if part is not None]
    if len(found) == 1:
        return found[0]
    return Keys(*(torch.cat(tensors, 1) for tensors in zip(*found, strict=True)))


class Compression(nn.Module):
    """Several keys into one, each by a linear map of them side by side (Rae et al., 2019, arXiv:1911.05507).

    The map is that of a convolution whose stride is its width; key heads share it.
    """

    def __init__(self, config: BlockRecurrentConfig) -> None:
        super().__init__()
        d, self._factor = config.dim_head, config.compression_factor
        self._kept = config.compressed_memory or 0
        self.keys = nn.Linear(self._factor * d, d)
        self.values = nn.Linear(self._factor * d, d)

    def forward(self, compressed: Keys | None, leaving: Keys) -> Keys:
        """``compressed`` with the block that leaves the memory added, cut to the latest that are kept."""
        added = Keys(self.keys(self._side_by_side(leaving.k)), self.values(self._side_by_side(leaving.v)))
        return Keys(*(x[:, -self._kept :] for x in join(compressed, added)))

    def _side_by_side(self, x: Tensor) -> Tensor:
        """(batch, tokens, kv_heads, d) -> (batch, tokens / factor, kv_heads, factor * d)."""
        groups: Tensor = x.unflatten(1, (-1, self._factor)).transpose(2, 3).flatten(3)
        return groups


@dataclass(frozen=True, slots=True)
class Span:
    """Blocks that a layer takes together: ``count`` whole ones, or a part of one.

    Attributes:
        count: of blocks.
        length: tokens of each that the span holds.
        begin: place of their first in its block; 0 if count is above 1.
        width: tokens of a whole block.
        origin: row of the position tables for the place 0 of a block.
    """

    count: int
    length: int
    begin: int
    width: int
    origin: int

    @property
    def tokens(self) -> int:
        return self.count * self.length

    @property
    def finishes(self) -> bool:
        """Whether its blocks are complete at its end."""
        return self.begin + self.length == self.width


def spans(tokens: int, begin: int, width: int, origin: int, *, at_once: int | None, cut: int | None) -> Iterator[Span]:
    """``tokens`` that follow ``begin`` tokens of a block, in spans of at most ``at_once`` blocks (None: any number).

    No span goes beyond a multiple of ``cut`` blocks, counted from the first that is completed here.
    """
    done = 0
    while tokens:
        length = min(width - begin, tokens)
        count = 1
        if begin == 0 and length == width:
            limits = [tokens // width, at_once or tokens, cut - done % cut if cut else tokens]
            count = min(limits)
        span = Span(count, length, begin, width, origin)
        yield span
        tokens -= span.tokens
        done, begin = done + count, 0
