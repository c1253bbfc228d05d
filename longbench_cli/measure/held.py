"""Which tokens of a sequence the tensors of a process hold: all of them, or one rank's."""

from __future__ import annotations

import sys
from dataclasses import dataclass

import torch
from torch import Tensor

from attention_impls.distributed.sharding import Spans, local_index


@dataclass(frozen=True, slots=True)
class Held:
    """The tokens of ``spans``, one span after the other; they ascend."""

    spans: Spans

    def place(self, position: int) -> int | None:
        """Where the token at ``position`` of the sequence is held; None if it is not."""
        return local_index(self.spans, position)

    def position(self, place: int) -> int:
        """Where in the sequence the token held at ``place`` is."""
        for span in self.spans:
            if place < len(span):
                return span[place]
            place -= len(span)
        raise IndexError("no token is held there")

    def before(self, position: int) -> int:
        """How many of the held tokens come before ``position``; they are held first."""
        return sum(len(range(span.start, min(span.stop, position))) for span in self.spans)

    def find(self, positions: Tensor) -> tuple[Tensor, Tensor]:
        """Of ``positions`` (n,), ascending: the numbers of those that are held, and where they are held."""
        numbers: list[Tensor] = []
        places: list[Tensor] = []
        earlier = 0
        for span in self.spans:
            inside = ((positions >= span.start) & (positions < span.stop)).nonzero()[:, 0]
            numbers.append(inside)
            places.append(positions[inside] - span.start + earlier)
            earlier += len(span)
        return torch.cat(numbers), torch.cat(places)


WHOLE = Held((range(sys.maxsize),))
"""All tokens, of a sequence of any length."""
