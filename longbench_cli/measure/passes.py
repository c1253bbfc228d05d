"""What one iteration of a pass is, and what of it is timed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from attention_impls.api import Unsupported
from longbench_cli.measure.inputs import Inputs
from longbench_cli.measure.subject import Attention
from longbench_cli.sweep.case import Case


def refuse_step(case: Case) -> None:
    """Raise Unsupported if the pass of an attention's case is one that only a model has."""
    if case.pass_ == "step":
        raise Unsupported("step is an optimiser step: only models have parameters")


def work_of(case: Case, attention: Attention, inputs: Inputs) -> Callable[[], Any]:
    """The timed work of one iteration.

    ``fwd``: the forward without a graph, as in inference. ``bwd``: the backward alone, of a forward
    that ran once, untimed. ``fwd+bwd``: both.
    """
    leaves = (inputs.q, inputs.k, inputs.v)
    if case.pass_ == "fwd":

        def forward() -> Any:
            with torch.no_grad():
                return attention(*leaves)

        return forward
    if case.pass_ == "bwd":
        out = attention(*leaves)
        return lambda: torch.autograd.grad(out, leaves, inputs.grad_out, retain_graph=True)
    return lambda: torch.autograd.grad(attention(*leaves), leaves, inputs.grad_out)
