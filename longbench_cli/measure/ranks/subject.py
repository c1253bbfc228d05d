"""One rank's part of an attention whose sequence is shared."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from attention_impls.api import Parallel, get_implementation
from attention_impls.distributed.comm import Communicator
from longbench_cli.measure.held import Held
from longbench_cli.measure.inputs import Draw, Inputs, InputSource
from longbench_cli.measure.passes import work_of
from longbench_cli.measure.subject import Attention
from longbench_cli.measure.verify import Together, Verified, verify
from longbench_cli.sweep.case import Case

_TINY_SEQ_LEN = 64
"""Tokens of each rank."""


@dataclass(frozen=True, slots=True)
class PartDrawn:
    """This rank's tokens of a draw, and the draw, which knows the others too."""

    draw: Draw
    inputs: Inputs

    @property
    def nbytes(self) -> int:
        return self.inputs.nbytes


class SequenceShare:
    """A case's attention on this rank's tokens. Every rank calls each method, in the same order.

    All draw from the same seed: an input is a function of its position, so none needs another's.
    """

    held_bytes = 0

    def __init__(
        self, case: Case, parallel: Parallel, backend: str | None, seed: int, comm: Communicator, together: Together
    ) -> None:
        self._case, self._parallel, self._backend, self._seed = case, parallel, backend, seed
        self._comm, self._together = comm, together
        self._spans = parallel.spans(case.shape, case.options, comm.rank)
        self._attention = self._bind(case)
        self._source = InputSource(case, seed)

    def draw(self) -> PartDrawn:
        draw = self._source.draw()
        return PartDrawn(draw, draw.inputs(self._spans))

    def work(self, drawn: PartDrawn) -> Callable[[], Any]:
        return work_of(self._case, self._attention, drawn.inputs)

    def load_code(self) -> None:
        case, parallel = self._case, self._parallel
        length = min(case.seq_len, _TINY_SEQ_LEN * case.world_size)
        tiny = case.model_copy(update={"seq_len": length, "batch": 1})
        if parallel.refuse(tiny.shape, tiny.options) is None:
            spans = parallel.spans(tiny.shape, tiny.options, self._comm.rank)
            work_of(tiny, self._bind(tiny), InputSource(tiny, self._seed).draw().inputs(spans))()

    def verify(self, drawn: PartDrawn) -> Verified:
        case = self._case
        problem = drawn.draw.problem(get_implementation(case.impl).pattern(case.shape, case.options))
        return verify(case, self._attention, problem, drawn.inputs, self._seed, Held(self._spans), self._together)

    def renew(self) -> None:
        """Nothing to undo."""

    def _bind(self, case: Case) -> Attention:
        function, shape = self._parallel.load(), case.shape
        fixed = {name: value for name, value in case.options.items() if value is not None}
        fixed |= {"comm": self._comm, "shape": shape, "backend": self._backend, "causal": case.causal}

        def attention(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
            result: Tensor = function(q, k, v, **fixed)
            return result

        return attention
