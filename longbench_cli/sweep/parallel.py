"""What several ranks change in a plan: whether a case can be shared by them, what they exchange, who has most to do.

An attention's ranks share the sequence, as its ``parallel`` says. A model's ranks share the batch, each with all
of the weights, and average the gradients.
"""

from __future__ import annotations

from collections.abc import Iterable

from attention_impls.api import Implementation
from attention_impls.distributed import traffic
from attention_impls.distributed.traffic import Traffic
from longbench_cli.sweep.case import Case


def refusal(case: Case, impl: Implementation) -> str | None:
    """Why ``case`` cannot run on its world size; None if it can, as on one rank it always does."""
    ranks = case.world_size
    if ranks == 1:
        return None
    if impl.model is not None:
        if case.batch % ranks == 0:
            return None
        return (
            f"the {ranks} ranks of a model share the batch, and {case.batch} is no multiple of {ranks}: "
            f"--batch {-(-case.batch // ranks) * ranks} is"
        )
    if impl.parallel is None:
        return f"{impl.name} cannot be shared by {ranks} ranks: {impl.not_parallel}"
    return impl.parallel.refuse(case.shape, case.options)


def traffic_of(case: Case, impl: Implementation) -> tuple[Traffic, ...]:
    """What every rank exchanges in one iteration, a rank each; empty where nothing is. ``case`` is not refused.

    The ranks of a model average all gradients in one all-reduce, after a backward.
    """
    ranks = case.world_size
    if ranks == 1:
        return ({},)
    if impl.model is not None:
        if case.pass_ == "fwd":
            return ({},) * ranks
        parameters = impl.model.work(case.shape, case.options, case.pass_, case.element_bytes).parameters
        each: Traffic = {"all_reduce": traffic.all_reduce(parameters * case.element_bytes, ranks)}
        return (each,) * ranks
    if impl.parallel is None:
        raise ValueError(f"{impl.name} is not shared by ranks")
    return impl.parallel.traffic(case.shape, case.options, case.pass_, case.element_bytes)


def received_bytes(of_ranks: Iterable[Traffic]) -> int:
    """Bytes that all ranks together receive."""
    return sum(count.received for one in of_ranks for count in one.values())


def buffer_bytes(of_ranks: Iterable[Traffic]) -> int:
    """Bytes of the buffers that what is exchanged may need at once, on the rank with most of them.

    A pass's collectives are all begun before the first is needed; of messages to and fro two are under way.
    """
    return max((sum(_held(kind, count) for kind, count in one.items()) for one in of_ranks), default=0)


def _held(kind: traffic.Kind, count: traffic.Count) -> int:
    return -(-2 * count.size // count.calls) if kind == "send_recv" and count.calls else count.size


def slowest_share(case: Case, impl: Implementation) -> float:
    """Share of the whole work that the rank with most of it has. ``case`` is not refused."""
    if case.world_size == 1 or impl.parallel is None:
        return 1 / case.world_size
    pairs = impl.parallel.pairs(case.shape, case.options)
    return max(pairs) / sum(pairs) if any(pairs) else 1 / case.world_size
