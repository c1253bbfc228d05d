"""What a case computes, holds and exchanges: an attention by its pattern, a model by its own account."""

from __future__ import annotations

from dataclasses import dataclass, replace

from attention_impls.api import Implementation
from attention_impls.pattern import PASS_PARTS, Cost, attention_cost
from longbench_cli.sweep.case import Case
from longbench_cli.sweep.parallel import buffer_bytes, received_bytes, refusal, slowest_share, traffic_of
from longbench_cli.sweep.predict import input_bytes, predict_bytes


@dataclass(frozen=True, slots=True)
class Workload:
    """One iteration of a case.

    Attributes:
        cost: of the whole pass, all ranks together.
        parts: of its forward and its backward, in order.
        input_bytes: of all ranks together.
        peak_bytes: predicted peak of one rank, all tensors resident.
        slowest_share: of the work, that of the rank with most of it.
        refused: why the ranks cannot share it; it is then taken to be shared evenly, and nothing exchanged.
    """

    cost: Cost
    parts: tuple[Cost, ...]
    input_bytes: int
    peak_bytes: int
    slowest_share: float
    refused: str | None


def workload(case: Case, impl: Implementation) -> Workload:
    """The work of ``case``; raises whatever the implementation's own functions raise on options that do not fit."""
    refused = refusal(case, impl)
    exchanged = () if refused else traffic_of(case, impl)
    names = PASS_PARTS[case.pass_]
    if impl.model is not None:
        work = impl.model.work(case.shape, case.options, case.pass_, case.element_bytes)
        cost, inputs = work.cost, work.input_bytes
        parts = [impl.model.work(case.shape, case.options, name, case.element_bytes).cost for name in names]
        share = replace(case.shape, batch=-(-case.batch // case.world_size))
        peak = impl.model.work(share, case.options, case.pass_, case.element_bytes).peak_bytes
    else:
        pattern = impl.pattern(case.shape, case.options)
        cost, inputs = attention_cost(pattern, case.pass_, case.element_bytes), input_bytes(case)
        parts = [attention_cost(pattern, name, case.element_bytes) for name in names]
        peak = predict_bytes(case, pattern)
    return Workload(
        cost=replace(cost, comm_bytes=received_bytes(exchanged)),
        parts=tuple(parts),
        input_bytes=inputs,
        peak_bytes=peak + buffer_bytes(exchanged),
        slowest_share=1 / case.world_size if refused else slowest_share(case, impl),
        refused=refused,
    )
