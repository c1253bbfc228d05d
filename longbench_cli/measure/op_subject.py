"""An attention as a subject: q, k, v in, out."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from attention_impls.api import get_implementation
from longbench_cli.measure.inputs import Inputs, InputSource
from longbench_cli.measure.passes import refuse_step, work_of
from longbench_cli.measure.subject import bind
from longbench_cli.measure.verify import Verified, verify
from longbench_cli.sweep.case import Case

_TINY_SEQ_LEN = 64


class OpSubject:
    """A case's attention on drawn q, k, v; it holds nothing of its own.

    Raises:
        Unsupported: the pass is an optimiser step.
    """

    held_bytes = 0

    def __init__(self, case: Case, backend: str, seed: int) -> None:
        refuse_step(case)
        self._case, self._seed = case, seed
        self._attention = bind(case, backend)
        self._source = InputSource(case, seed)

    def draw(self) -> Inputs:
        return self._source.draw().inputs()

    def work(self, drawn: Inputs) -> Callable[[], Any]:
        return work_of(self._case, self._attention, drawn)

    def load_code(self) -> None:
        tiny = self._case.model_copy(update={"seq_len": min(self._case.seq_len, _TINY_SEQ_LEN), "batch": 1})
        work_of(tiny, self._attention, InputSource(tiny, self._seed).draw().inputs())()

    def verify(self, drawn: Inputs) -> Verified:
        pattern = get_implementation(self._case.impl).pattern(self._case.shape, self._case.options)
        return verify(self._case, self._attention, drawn.problem(pattern), drawn, self._seed)

    def renew(self) -> None:
        """Nothing to undo."""
