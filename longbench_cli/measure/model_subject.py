"""A language model as a subject: token ids in, logits out."""

from __future__ import annotations

import gc
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from attention_impls.api import Model, Unsupported
from longbench_cli.measure.inputs import DTYPES
from longbench_cli.measure.model_passes import Reduce, RunningModel
from longbench_cli.measure.model_verify import WholeBatch, verify_model
from longbench_cli.measure.tokens import TokenSource
from longbench_cli.measure.verify import Verified
from longbench_cli.sweep.case import Case

_TINY_SEQ_LEN = 64


@dataclass(frozen=True, slots=True)
class Part:
    """One rank's part of a batch.

    Attributes:
        sequences: of the batch.
        reduce: ends every backward, on all ranks at once.
        whole: how what it gives is checked.
    """

    sequences: range
    reduce: Reduce
    whole: WholeBatch


class ModelSubject:
    """A case's model with its parameters, on random tokens; these are its inputs, and nothing else is.

    With a ``part`` it runs on those sequences of the case's batch only.

    Raises:
        Unsupported: there is no next token to predict.
    """

    def __init__(self, case: Case, model: Model, backend: str | None, seed: int, part: Part | None = None) -> None:
        if case.pass_ != "fwd" and case.seq_len < 2:
            raise Unsupported("a next-token loss needs at least 2 tokens")
        self._source = TokenSource(case, model.vocab(case.options), seed, part.sequences if part else None)
        self._case = case if part is None else case.model_copy(update={"batch": len(part.sequences)})
        self._model, self._backend, self._seed, self._part = model, backend, seed, part
        self._running = self._make()

    @property
    def held_bytes(self) -> int:
        return self._running.nbytes

    def draw(self) -> Tensor:
        return self._source.draw()

    def work(self, drawn: Tensor) -> Callable[[], Any]:
        return self._running.work(drawn)

    def load_code(self) -> None:
        tiny = self._case.model_copy(update={"seq_len": min(self._case.seq_len, _TINY_SEQ_LEN), "batch": 1})
        self._running.work(TokenSource(tiny, self._model.vocab(tiny.options), self._seed).draw())()
        self._running.module.zero_grad()

    def verify(self, drawn: Tensor) -> Verified:
        whole = self._part.whole if self._part is not None else None
        return verify_model(self._case, self._model, self._running, drawn, self._seed, whole)

    def renew(self) -> None:
        """Draw the parameters again: steps have moved them, and they are to be timed as they were drawn."""
        if self._case.pass_ == "step":
            del self._running  # before the new ones are made: there may be no room for both
            gc.collect()
            self._running = self._make()

    def _make(self) -> RunningModel:
        case, make = self._case, self._model.load()
        where = {"backend": self._backend, "device": case.device, "dtype": DTYPES[case.dtype]}
        module = make(case.shape, case.options, **where, seed=self._seed)
        return RunningModel(case, module, self._part.reduce if self._part is not None else None)
