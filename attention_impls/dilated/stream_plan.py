"""How a dilated attention is cut into a stream of chunks. Plain arithmetic: no torch here."""

from __future__ import annotations

from dataclasses import dataclass
from math import lcm

from attention_impls.dilated.schedule import Branch, Schedule
from attention_impls.shape import AttentionShape


@dataclass(frozen=True, slots=True)
class StreamPlan:
    """How a sequence is streamed: ``chunk`` tokens at a time, and which branches fit in a chunk."""

    chunk: int
    local: Schedule
    spanning: Schedule

    def kept_rows(self, shape: AttentionShape) -> int:
        """Rows (of head_dim features) that the spanning branches keep of each of q, k, v and out."""
        per_head = sum(-(-shape.seq_len // r) for _, r in self.spanning.branches)
        return shape.batch * shape.heads * per_head


def plan_stream(schedule: Schedule, seq_len: int, chunk_limit: int) -> StreamPlan:
    """Choose the longest chunk of at most ``chunk_limit`` tokens that cuts no segment of its local branches."""
    unit = 1
    local: list[Branch] = []
    spanning: list[Branch] = []
    for w, r in sorted(schedule.branches):
        whole = lcm(unit, min(w, seq_len))
        if whole <= chunk_limit:
            unit = whole
            local.append((w, r))
        else:
            spanning.append((w, r))
    chunk = min(chunk_limit // unit * unit, -(-seq_len // unit) * unit)
    return StreamPlan(chunk, Schedule(tuple(local)), Schedule(tuple(spanning)))


def too_many_rows(plan: StreamPlan, shape: AttentionShape, row_limit: int) -> str | None:
    """Why a stream that keeps at most ``row_limit`` rows cannot be; None if it can."""
    kept = plan.kept_rows(shape)
    if kept <= row_limit:
        return None
    widest = min(plan.spanning.branches, key=lambda branch: branch[1])
    return (
        f"streaming in chunks of {plan.chunk} tokens keeps {kept} rows of branches that span chunks, "
        f"more than {row_limit}: raise the dilation rate of w={widest[0]} r={widest[1]}, or free memory"
    )
