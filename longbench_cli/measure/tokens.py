"""Token ids: what a model is given, drawn anew for every trial."""

from __future__ import annotations

import torch
from torch import Tensor

from longbench_cli.measure.inputs import scattered
from longbench_cli.sweep.case import Case


class TokenSource:
    """Draws uniform token ids below ``vocab`` for a case, each time into fresh memory at a random offset.

    ``sequences`` are those of the batch that are kept; the others are drawn and dropped, so that ranks that
    keep different ones hold different parts of one batch.
    """

    def __init__(self, case: Case, vocab: int, seed: int, sequences: range | None = None) -> None:
        self._case, self._vocab = case, vocab
        self._sequences = range(case.batch) if sequences is None else sequences
        self._random = torch.Generator().manual_seed(seed)

    def draw(self) -> Tensor:
        """Ids (sequences, seq), int64. The first draw of a seed is always the same, and so is each after it."""
        kept, length = self._sequences, self._case.seq_len
        ids = torch.empty(len(kept), length, dtype=torch.int64)
        for sequence in range(self._case.batch):
            drawn = torch.randint(self._vocab, (length,), generator=self._random)
            if sequence in kept:
                ids[kept.index(sequence)] = drawn
        return scattered(tuple(ids.shape), torch.int64, self._case.device, self._random).copy_(ids)
