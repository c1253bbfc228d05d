"""A key and value cache that decodes any pattern: what a full forward attends to, one token at a time."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from attention_impls.pattern import Pattern


class Cache:
    """The keys and values of the tokens so far, for every layer; and attention of new tokens to them.

    Which keys a new token sees, and how often, is asked of the pattern: a row costs its own keys, whatever
    the length. Nothing is differentiated through the cache.

    Args:
        pattern: causal, at a length of the capacity.
        attend: the same attention over a whole sequence: used for tokens that nothing goes before.
        shape: (layers, batch, heads, capacity, head_dim).
        dtype: of keys and values.
        device: of keys and values.
    """

    def __init__(
        self,
        pattern: Pattern,
        attend: Callable[[Tensor, Tensor, Tensor], Tensor],
        shape: tuple[int, int, int, int, int],
        dtype: torch.dtype,
        device: torch.device,
    ) -> None:
        self.length = 0
        self._pattern, self._attend = pattern, attend
        self._keys = torch.zeros(shape, dtype=dtype, device=device)
        self._values = torch.zeros(shape, dtype=dtype, device=device)
        self._rows: dict[int, tuple[Tensor, Tensor]] = {}

    def make_room(self, batch: int, tokens: int) -> None:
        """See that ``tokens`` more fit.

        Raises:
            ValueError: they do not, or the batch is another.
        """
        _, expected, _, capacity, _ = self._keys.shape
        if batch != expected:
            raise ValueError(f"the cache was made for a batch of {expected}, not {batch}")
        if self.length + tokens > capacity:
            raise ValueError(
                f"the cache has room for {capacity} tokens and holds {self.length}: {tokens} more do not fit"
            )

    def attend(self, layer: int, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """Attention of the tokens after ``length``; q, k, v and the result are (batch, new tokens, heads, head_dim)."""
        start, new = self.length, q.shape[1]
        for kept, rows in ((self._keys, k), (self._values, v)):
            kept[layer, :, :, start : start + new] = rows.detach().transpose(1, 2)
        if start == 0:
            return self._attend(q, k, v)
        return torch.stack([self._attend_one(layer, q[:, i], start + i) for i in range(new)], 1)

    def advance(self, tokens: int) -> None:
        """Count ``tokens`` as seen, now that every layer has attended to them."""
        self.length += tokens
        self._rows.clear()

    def _attend_one(self, layer: int, q: Tensor, position: int) -> Tensor:
        """One token's (batch, heads, head_dim); zeros for a head that sees nothing."""
        if position not in self._rows:
            self._rows[position] = self._row(position)
        index, seen = self._rows[position]
        head = torch.arange(q.shape[1], device=q.device).unsqueeze(1)
        wide = torch.float64 if q.dtype == torch.float64 else torch.float32
        keys = self._keys[layer][:, head, index].to(wide)
        values = self._values[layer][:, head, index].to(wide)
        scores = torch.einsum("bhd,bhkd->bhk", q.to(wide), keys) * q.shape[2] ** -0.5
        weights = scores.masked_fill(~seen, float("-inf")).softmax(-1).masked_fill(~seen, 0)
        return torch.einsum("bhk,bhkd->bhd", weights, values).to(q.dtype)

    def _row(self, position: int) -> tuple[Tensor, Tensor]:
        """(heads, keys): each head's keys, padded to equal number, and which of them are not padding."""
        heads = [_positions(self._pattern.key_ranges(head, position)) for head in range(self._keys.shape[2])]
        counts = torch.tensor([len(keys) for keys in heads])
        index = pad_sequence(heads, batch_first=True)
        seen = torch.arange(index.shape[1]) < counts.unsqueeze(1)
        return index.to(self._keys.device), seen.to(self._keys.device)


def _positions(ranges: Sequence[range]) -> Tensor:
    """The keys of some ranges, one after the other: a key in two of them is there twice."""
    parts = [torch.arange(keys.start, keys.stop, keys.step) for keys in ranges]
    return torch.cat(parts) if parts else torch.zeros(0, dtype=torch.int64)
