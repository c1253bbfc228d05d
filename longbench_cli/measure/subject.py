"""The thing being measured: an implementation bound to a case, callable on drawn inputs."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor

from attention_impls.api import get_implementation
from longbench_cli.sweep.case import Case

Attention = Callable[[Tensor, Tensor, Tensor], Tensor]


def bind(case: Case, backend: str | None) -> Attention:
    """The case's implementation as a function of (q, k, v) alone."""
    implementation = get_implementation(case.impl)
    function = implementation.load()
    fixed = {name: value for name, value in case.options.items() if value is not None}
    if implementation.takes_backend:
        fixed["backend"] = backend

    def attention(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        result: Tensor = function(q, k, v, causal=case.causal, **fixed)
        return result

    return attention
