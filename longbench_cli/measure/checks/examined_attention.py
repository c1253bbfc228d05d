"""An attention under examination, callable at its own case and at cases near it."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from attention_impls.api import get_implementation
from attention_impls.pattern import Pattern
from longbench_cli.measure.checks.declared import Declared
from longbench_cli.measure.inputs import Inputs, InputSource
from longbench_cli.measure.subject import Attention, bind
from longbench_cli.measure.tolerance import OUTPUT_TOLERANCE, scaled_error
from longbench_cli.measure.verify import poisoned_memory
from longbench_cli.sweep.case import Case


@dataclass(frozen=True)
class ExaminedAttention:
    """A case of an attention, the back end it runs on, and the seed of its inputs; checks look at one sequence."""

    case: Case
    backend: str
    seed: int = 0

    def at(self, **change: Any) -> ExaminedAttention:
        """The same implementation at a case that differs in ``change`` (fields of the case)."""
        return ExaminedAttention(self.case.model_copy(update=change), self.backend, self.seed)

    @cached_property
    def attention(self) -> Attention:
        """The bare function of (q, k, v)."""
        return bind(self.case, self.backend)

    @cached_property
    def pattern(self) -> Pattern:
        """What the implementation declares to compute; raises ValueError if it declines the case."""
        return get_implementation(self.case.impl).pattern(self.case.shape, self.case.options)

    @cached_property
    def declared(self) -> Declared:
        return Declared(self.pattern)

    @cached_property
    def inputs(self) -> Inputs:
        """Standard normal inputs, leaves that require a gradient if the case's pass has a backward."""
        return InputSource(self.case, self.seed).draw().inputs()

    @cached_property
    def out(self) -> Tensor:
        """The output on :attr:`inputs`."""
        return self(self.inputs.q, self.inputs.k, self.inputs.v)

    @property
    def tolerance(self) -> float:
        """Of an output of the case's dtype."""
        return OUTPUT_TOLERANCE[self.case.dtype]

    def __call__(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """The output, computed in memory that holds NaN before, from copies that the call may write to."""
        copies = (x.clone() for x in (q, k, v))
        with poisoned_memory():
            return self.attention(*copies)


def wide_rows(out: Tensor) -> Tensor:
    """The only sequence of a batch (1, seq, heads, d), in float64 on the CPU: (seq, heads, d)."""
    return out.detach()[0].cpu().to(torch.float64)


def moved(after: Tensor, before: Tensor) -> Tensor:
    """Scaled error of each row of (rows, d); 0 for one that held the same before, NaN and infinities included."""
    same = (after == before) | (after.isnan() & before.isnan())
    return scaled_error(after, before).masked_fill(same.all(-1), 0.0)
