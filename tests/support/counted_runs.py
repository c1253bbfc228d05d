"""Points of several ranks as a run leaves them, with what each rank counted."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from rank_runs import on_ranks

from attention_impls.distributed.traffic import Count, Traffic
from longbench_cli.measure.types import CollectiveCount
from longbench_cli.record.schema import MeasuredPoint
from longbench_cli.sweep.case import Case


def counted_point(case: Case, ranks: Sequence[Traffic], **changes: Any) -> MeasuredPoint:
    """A measured point of ``case`` whose ranks counted ``ranks``."""
    received = [sum(count.received for count in one.values()) for one in ranks]
    point = on_ranks(case, [1.5e6] * len(ranks), 1e6, 5e5, received=received)
    records = [
        record.model_copy(update={"traffic": {kind: _counted(count) for kind, count in one.items()}})
        for record, one in zip(point.ranks or (), ranks, strict=True)
    ]
    return point.model_copy(update={"ranks": records} | changes)


def _counted(count: Count) -> CollectiveCount:
    return CollectiveCount(
        calls=count.calls, size_bytes=count.size, sent_bytes=count.sent, received_bytes=count.received
    )
