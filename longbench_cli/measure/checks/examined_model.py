"""A language model under examination: its module in two dtypes, its reference, and tokens for them."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor
from torch.nn import Module

from attention_impls.api import Model, get_implementation
from longbench_cli.measure.checks.result import NotApplicable, as_said
from longbench_cli.measure.inputs import DTYPES
from longbench_cli.measure.model_verify import in_float64, place, position_errors
from longbench_cli.measure.tokens import TokenSource
from longbench_cli.measure.verify import Wrong, poisoned_memory
from longbench_cli.sweep.case import Case

WIDE_TOLERANCE = 1e-5
"""Largest scaled error of a position's logits in float64: a norm or a table inside may still be fp32."""

_PLAIN_BACKEND = "math"
_TRIED_TOKENS = 16


@dataclass(frozen=True)
class ExaminedModel:
    """A case of a model, the back end it runs on, and the seed of its parameters and tokens."""

    case: Case
    backend: str
    seed: int = 0

    @cached_property
    def model(self) -> Model:
        model = get_implementation(self.case.impl).model
        if model is None:
            raise TypeError(f"{self.case.impl} is an attention, not a model")
        return model

    @cached_property
    def vocab(self) -> int:
        return self.model.vocab(self.case.options)

    @cached_property
    def length(self) -> int:
        """Tokens at which every part of the model acts and the reference is affordable."""
        return min(self.case.seq_len, self.model.reference_tokens(self.case.shape, self.case.options))

    @cached_property
    def module(self) -> Module:
        """The model in the case's dtype, as it is timed."""
        return self.make(DTYPES[self.case.dtype], self.backend, self.seed)

    @cached_property
    def wide(self) -> Module:
        """The model in float64, where what is wrong stands out from rounding; on plain kernels if need be.

        Raises:
            NotApplicable: it does not run in float64.
        """
        said = ""
        for backend in dict.fromkeys((self.backend, _PLAIN_BACKEND)):
            try:
                module = self.make(torch.float64, backend, self.seed)
                module(self.tokens(1, min(self.length, _TRIED_TOKENS)))
            except Exception as error:  # whatever it says, it does not run
                said = as_said(error)
            else:
                return module
        raise NotApplicable(f"does not run in float64: {said}")

    def make(self, dtype: torch.dtype, backend: str, seed: int) -> Module:
        """The module, parameters drawn from ``seed``, in evaluation mode."""
        make = self.model.load()
        kernels = backend if get_implementation(self.case.impl).takes_backend else None
        where = {"backend": kernels, "device": self.case.device, "dtype": dtype}
        module: Module = make(self.case.shape, self.case.options, **where, seed=seed)
        return module.eval()

    def tokens(self, batch: int, length: int) -> Tensor:
        """Uniform token ids (batch, length), always the same ones."""
        case = self.case.model_copy(update={"batch": batch, "seq_len": length})
        return TokenSource(case, self.vocab, self.seed).draw()

    def logits(self, tokens: Tensor) -> Tensor:
        """The float64 module's logits, computed in memory that holds NaN before."""
        with poisoned_memory(), torch.no_grad():
            logits: Tensor = self.wide(tokens)
        return logits

    def reference(self, tokens: Tensor) -> Tensor:
        """The reference's logits for the float64 module's parameters."""
        parameters = in_float64(self.wide, leaves=False)
        logits: Tensor = self.model.load_reference()(parameters, tokens, self.case.shape, self.case.options)
        return logits


def refuse_difference(what: str, actual: Tensor, expected: Tensor, tolerance: float = WIDE_TOLERANCE) -> float:
    """The largest scaled error of logits (batch, seq, vocab); raises :class:`Wrong` above ``tolerance``."""
    if actual.shape != expected.shape:
        raise Wrong(f"{what}: logits of shape {tuple(actual.shape)}, not {tuple(expected.shape)}")
    errors = position_errors(actual, expected)
    worst = float(errors.max()) if len(errors) else 0.0
    if worst > tolerance:
        wrong = errors > tolerance
        first = place(int(wrong.nonzero()[0]), expected)
        raise Wrong(
            f"{what}: {int(wrong.sum())} of {len(errors)} positions, first at {first}: error {worst:.3g}", worst
        )
    return worst
