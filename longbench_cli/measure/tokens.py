"""Token ids: what a model is given, drawn anew for every trial."""

from __future__ import annotations

import torch
from torch import Tensor

from longbench_cli.measure.inputs import scattered
from longbench_cli.sweep.case import Case


class TokenSource:
    """Draws uniform token ids below ``vocab`` for a case, each time into fresh memory at a random offset."""

    def __init__(self, case: Case, vocab: int, seed: int) -> None:
        self._case, self._vocab = case, vocab
        self._random = torch.Generator().manual_seed(seed)

    def draw(self) -> Tensor:
        """Ids (batch, seq), int64. The first draw of a seed is always the same, and so is each after it."""
        shape = (self._case.batch, self._case.seq_len)
        ids = torch.randint(self._vocab, shape, generator=self._random)
        return scattered(shape, torch.int64, self._case.device, self._random).copy_(ids)
