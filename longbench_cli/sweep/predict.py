"""What a point is predicted to need, before anything is run: a roofline, and the tensors it holds."""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal

from attention_impls.pattern import PASS_PARTS, Cost, Pattern
from longbench_cli.sweep.case import Case
from longbench_cli.sweep.hardware import Hardware
from longbench_cli.sweep.settings import Settings
from longbench_cli.sweep.units import format_bytes, format_seconds

if TYPE_CHECKING:
    from longbench_cli.sweep.plan import PlannedPoint

Execution = Literal["resident", "streamed"]

MAX_POINT_TIME = 60.0
"""Seconds an iteration may take unless --max-point-time says otherwise, or the point could be streamed."""

RESIDENT_SHARE = 0.25
"""Share of the free memory up to which a point that could be streamed is run resident."""

WORKING_SHARE = 1.5
"""Peak memory over the tensors that must exist: half as much again for partial results and copies."""

_FP32_BYTES = 4
_FORWARD_SCORES, _BACKWARD_SCORES = 2, 3
"""fp32 (seq, seq) matrices alive at once in the back end that materialises them."""


def predict_seconds(case: Case, parts: Sequence[Cost], hardware: Hardware, cores: int, slowest_share: float) -> float:
    """Time of one iteration: each part bound by arithmetic or by memory traffic, plus a fixed time.

    ``parts`` are the costs of the pass's forward, if it has one, and then of its backward, all ranks together;
    ``slowest_share`` is that of the rank with most work. The ranks of a CPU share its cores, each with its share
    of the threads, and its memory. Crude: what the ranks exchange is taken to take no time (``longbench predict``
    knows better).
    """
    on_cpu = case.device == "cpu"
    threads = max(1, cores // case.world_size) if on_cpu else 1
    memories = 1 if on_cpu else case.world_size
    seconds = 0.0
    for name, cost in zip(PASS_PARTS[case.pass_], parts, strict=True):
        efficiency = hardware.forward_efficiency if name == "fwd" else hardware.backward_efficiency
        rate = hardware.peak_flops[case.dtype] * efficiency[case.dtype]
        alone = cost.flops * slowest_share / (rate * threads)
        together = cost.flops / (rate * cores) if on_cpu else 0.0  # more ranks than cores take turns on them
        seconds += max(alone, together, cost.io_bytes / (hardware.memory_bandwidth * memories))
        seconds += hardware.overhead_seconds
    return seconds


def input_bytes(case: Case) -> int:
    """Bytes of q, k and v, and of grad_out if the pass has a backward; of all ranks together."""
    q_like, kv_like = _tensor_bytes(case)
    return q_like + 2 * kv_like + (0 if case.pass_ == "fwd" else q_like)


def predict_bytes(case: Case, pattern: Pattern) -> int:
    """Peak bytes of one rank: inputs, out, lse and gradients, times :data:`WORKING_SHARE`.

    The ``math`` back end adds its scores.
    """
    q_like, kv_like = _tensor_bytes(case)
    held = input_bytes(case) + q_like + case.batch * case.heads * case.seq_len * _FP32_BYTES
    if case.pass_ != "fwd":
        held += q_like + 2 * kv_like
    scores = 0
    if case.backend == "math":
        visible = pattern.pairs() * (2 if case.causal else 1)  # a causal matrix is stored whole
        scores = visible * _FP32_BYTES * (_FORWARD_SCORES if case.pass_ == "fwd" else _BACKWARD_SCORES)
    return -(-round(held * WORKING_SHARE + scores) // case.world_size)


def execution_of(point: PlannedPoint, settings: Settings, free_bytes: int | None) -> Execution:
    """Streamed if asked for, or if what a resident point holds is more than a quarter of the free memory.

    A quarter: verification and redrawn inputs hold as much again for moments, and others live here too.
    Only an implementation that can be streamed is.
    """
    if not point.streams:
        return "resident"
    too_big = free_bytes is not None and bytes_here(point) > RESIDENT_SHARE * free_bytes
    return "streamed" if settings.stream or too_big else "resident"


def prune_reason(
    point: PlannedPoint, settings: Settings, free_bytes: int | None, predicted_seconds: float
) -> str | None:
    """Why a point is not worth starting, in one line with both numbers; None if it is.

    ``predicted_seconds`` is given apart from the point, because measured neighbours may know better;
    ``free_bytes`` is None where nobody knows. What can be streamed is there for lengths that take
    hours, and fits in any memory: it is pruned for its time only if a limit was given.
    """
    if settings.no_prune:
        return None
    streamed = execution_of(point, settings, free_bytes) == "streamed"
    limit = settings.max_point_time or (math.inf if point.streams else MAX_POINT_TIME)
    if predicted_seconds > limit:
        return f"predicted {format_seconds(predicted_seconds)} per iteration > --max-point-time {format_seconds(limit)}"
    return None if free_bytes is None or streamed else memory_reason(point, free_bytes)


def memory_reason(point: PlannedPoint, free_bytes: int) -> str | None:
    """Why a point does not fit in ``free_bytes`` with all its tensors resident; None if it does."""
    needed = bytes_here(point)
    if needed > free_bytes:
        return f"predicted {format_bytes(needed)} of memory > {format_bytes(free_bytes)} free"
    return None


def bytes_here(point: PlannedPoint) -> int:
    """Predicted bytes of all ranks that share this memory."""
    return point.predicted_bytes * ranks_here(point.case)


def ranks_here(case: Case) -> int:
    """Ranks that share one memory: those of a CPU do, in a job of torchrun those of a node; each GPU has its own."""
    if case.device != "cpu":
        return 1
    return min(case.world_size, _ranks_of_node() or case.world_size)


def _ranks_of_node() -> int | None:
    """Of the job that this process is one of several of; None if it is of none."""
    several = "TORCHELASTIC_RUN_ID" in os.environ and os.environ.get("WORLD_SIZE") not in (None, "1")
    of_node = os.environ.get("LOCAL_WORLD_SIZE", "")
    return int(of_node) if several and of_node.isdecimal() else None


def _tensor_bytes(case: Case) -> tuple[int, int]:
    """Bytes of one tensor like q, and of one like k."""
    per_head = case.batch * case.seq_len * case.head_dim * case.element_bytes
    return per_head * case.heads, per_head * case.kv_heads
