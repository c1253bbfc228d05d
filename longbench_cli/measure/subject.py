"""The thing being measured: an implementation bound to a case, callable on drawn inputs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from attention_impls.api import Implementation, get_implementation
from attention_impls.oracle import Problem, TensorRows
from attention_impls.pattern import Pattern
from longbench_cli.sweep.case import Case

if TYPE_CHECKING:
    from torch import Tensor

Attention = Callable[["Tensor", "Tensor", "Tensor"], "Tensor"]

DTYPES = {"float32": torch.float32, "float16": torch.float16, "bfloat16": torch.bfloat16}
_OFFSET_BYTES = 64
_OFFSETS = 64
"""Inputs start at a random multiple of 64 bytes within a page, so that no process keeps one layout."""


@dataclass(frozen=True, slots=True)
class Inputs:
    """One draw of q, k, v and grad_out, each (batch, seq, heads, head_dim)."""

    q: Tensor
    k: Tensor
    v: Tensor
    grad_out: Tensor | None

    @property
    def nbytes(self) -> int:
        return sum(x.nbytes for x in (self.q, self.k, self.v))

    def problem(self, pattern: Pattern) -> Problem:
        """These inputs as the oracle takes them."""
        scale = self.q.shape[-1] ** -0.5
        return Problem(pattern, TensorRows(self.q), TensorRows(self.k), TensorRows(self.v), scale)


class InputSource:
    """Draws standard normal inputs, every draw into fresh allocations at random offsets."""

    def __init__(self, case: Case, seed: int) -> None:
        self._case = case
        self._generator = torch.Generator(case.device).manual_seed(seed)

    def draw(self) -> Inputs:
        case = self._case
        with_grad = case.pass_ != "fwd"
        q = self._normal(case.heads)
        k, v = self._normal(case.kv_heads), self._normal(case.kv_heads)
        for x in (q, k, v):
            x.requires_grad_(with_grad)
        return Inputs(q, k, v, self._normal(case.heads) if with_grad else None)

    def _normal(self, heads: int) -> Tensor:
        case = self._case
        shape = (case.batch, case.seq_len, heads, case.head_dim)
        count = case.batch * case.seq_len * heads * case.head_dim
        step = _OFFSET_BYTES // case.element_bytes
        offset = step * int(torch.randint(_OFFSETS, (), generator=self._generator, device=case.device))
        flat = torch.empty(count + step * _OFFSETS, dtype=DTYPES[case.dtype], device=case.device)
        return flat[offset : offset + count].view(shape).normal_(generator=self._generator)


def bind(case: Case, backend: str | None) -> Attention:
    """The case's implementation as a function of (q, k, v) alone."""
    implementation: Implementation = get_implementation(case.impl)
    function = implementation.load()
    fixed = {name: value for name, value in case.options.items() if value is not None}
    if implementation.takes_backend:
        fixed["backend"] = backend

    def attention(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        result: Tensor = function(q, k, v, causal=case.causal, **fixed)
        return result

    return attention
