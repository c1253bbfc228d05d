"""What each rank of a case has to do, by arithmetic alone."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import chain
from typing import Literal

from attention_impls.api import Implementation, Unsupported
from attention_impls.distributed.sharding import Spans
from attention_impls.distributed.traffic import KINDS, Count, Traffic
from longbench_cli.measure.passes import refuse_step
from longbench_cli.sweep.case import Case
from longbench_cli.sweep.parallel import refusal, traffic_of


@dataclass(frozen=True, slots=True)
class Sharing:
    """Of all ranks, a value each.

    Attributes:
        shares: what is cut: the sequence, or a model's batch.
        algorithm: the name of how.
        spans: tokens of the sequence; of a model, sequences of the batch.
        tokens: of the sequence, or of the share of the batch.
        pairs: (batch, head, query, key) pairs of a forward; None for a model.
        traffic: what is exchanged in one iteration.
    """

    shares: Literal["sequence", "batch"]
    algorithm: str
    spans: tuple[Spans, ...]
    tokens: tuple[int, ...]
    pairs: tuple[int, ...] | None
    traffic: tuple[Traffic, ...]

    @property
    def imbalance(self) -> float | None:
        """The most pairs of a rank over the mean, less 1."""
        return None if self.pairs is None else over_mean(self.pairs)


def over_mean(values: tuple[float, ...] | list[float]) -> float:
    """The greatest over the mean, less 1; 0 where all are 0."""
    total = sum(values)
    return max(0.0, max(values) * len(values) / total - 1) if total else 0.0


def sharing_of(case: Case, impl: Implementation) -> Sharing:
    """How the case's ranks share it.

    Raises:
        Unsupported: they cannot.
    """
    reason = refusal(case, impl)
    if reason is not None:
        raise Unsupported(reason)
    ranks = range(case.world_size)
    if impl.model is not None:
        each = case.batch // case.world_size
        spans: tuple[Spans, ...] = tuple((range(rank * each, (rank + 1) * each),) for rank in ranks)
        tokens = (each * case.seq_len,) * case.world_size
        return Sharing("batch", "data", spans, tokens, None, traffic_of(case, impl))
    parallel = impl.parallel
    if parallel is None:
        raise Unsupported(f"{impl.name} cannot be shared by ranks: {impl.not_parallel}")
    refuse_step(case)
    spans = tuple(parallel.spans(case.shape, case.options, rank) for rank in ranks)
    return Sharing(
        shares="sequence",
        algorithm=case.options.get("parallel") or parallel.algorithms[0],
        spans=spans,
        tokens=tuple(sum(map(len, own)) for own in spans),
        pairs=tuple(parallel.pairs(case.shape, case.options)),
        traffic=tuple(parallel.traffic(case.shape, case.options, case.pass_, case.element_bytes)),
    )


def not_whole(sharing: Sharing, count: int) -> str | None:
    """Why the ranks' shares do not make up ``count`` tokens or sequences, each held once; None if they do."""
    held = sorted((span.start, span.stop) for span in chain.from_iterable(sharing.spans) if span)
    reached = 0
    for start, stop in held:
        if start != reached:
            what = "held by no rank" if start > reached else "held twice"
            return f"the ranks' shares are no partition: number {min(start, reached)} of {count} is {what}"
        reached = stop
    return None if reached == count else f"the ranks' shares end at {reached} of {count}"


def kept_bytes(of_ranks: Iterable[Traffic]) -> int:
    """Bytes of all that is sent and received in an iteration, on the rank with most: what a breakdown keeps."""
    return max(
        (sum(count.size + max(count.size, count.received) for count in one.values()) for one in of_ranks), default=0
    )


def unlike(counted: Traffic, predicted: Traffic) -> str | None:
    """How what was counted in an iteration differs from what was predicted; None if it does not."""
    for kind in KINDS:
        found, wanted = counted.get(kind, Count()), predicted.get(kind, Count())
        if found != wanted:
            return f"exchanged {_named(found)} by {kind} in one iteration, but {_named(wanted)} are predicted"
    return None


def _named(count: Count) -> str:
    calls = "1 call" if count.calls == 1 else f"{count.calls} calls"
    return f"{calls} of size {count.size} in all ({count.sent} bytes sent, {count.received} received)"
