"""What a case computes and holds: an attention by its pattern, a model by its own account."""

from __future__ import annotations

from dataclasses import dataclass

from attention_impls.api import Implementation
from attention_impls.pattern import PASS_PARTS, Cost, attention_cost
from longbench_cli.sweep.case import Case
from longbench_cli.sweep.predict import input_bytes, predict_bytes


@dataclass(frozen=True, slots=True)
class Workload:
    """One iteration of a case.

    Attributes:
        cost: of the whole pass.
        parts: of its forward and its backward, in order.
        input_bytes: of all ranks together.
        peak_bytes: predicted peak of one rank, all tensors resident.
    """

    cost: Cost
    parts: tuple[Cost, ...]
    input_bytes: int
    peak_bytes: int


def workload(case: Case, impl: Implementation) -> Workload:
    """The work of ``case``; raises whatever the implementation's own functions raise on options that do not fit."""
    names = PASS_PARTS[case.pass_]
    if impl.model is not None:
        work = impl.model.work(case.shape, case.options, case.pass_, case.element_bytes)
        parts = (impl.model.work(case.shape, case.options, name, case.element_bytes).cost for name in names)
        return Workload(work.cost, tuple(parts), work.input_bytes, -(-work.peak_bytes // case.world_size))
    pattern = impl.pattern(case.shape, case.options)
    return Workload(
        cost=attention_cost(pattern, case.pass_, case.element_bytes),
        parts=tuple(attention_cost(pattern, name, case.element_bytes) for name in names),
        input_bytes=input_bytes(case),
        peak_bytes=predict_bytes(case, pattern),
    )
