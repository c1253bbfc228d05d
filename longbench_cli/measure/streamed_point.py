"""Measure one case in this process as a stream: any length in bounded memory."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import psutil
import torch

from attention_impls.api import Unsupported, get_implementation
from attention_impls.streams import Stream
from longbench_cli.measure.clock import now_ns, timer_for
from longbench_cli.measure.conditions import Conditions
from longbench_cli.measure.inputs import DTYPES, InputSource
from longbench_cli.measure.memory import held_bytes, peak_bytes
from longbench_cli.measure.nvml import NvmlPeak
from longbench_cli.measure.pick import pick_backend
from longbench_cli.measure.point import Report, as_incorrect, as_measured
from longbench_cli.measure.sampling import Trial, sample
from longbench_cli.measure.stream_check import StreamCheck
from longbench_cli.measure.streamed import PassTimes, run_pass
from longbench_cli.measure.types import Memory, Streaming
from longbench_cli.sweep.case import Case
from longbench_cli.sweep.settings import Settings

CHUNK_SHARE = 16
"""A chunk's tensors take one part in this many of the free memory."""

KEPT_SHARE = 8
"""The rows that span chunks take at most one part in this many."""

_TENSORS = {"fwd": 8, "bwd": 16, "fwd+bwd": 16}
"""Tensors like q alive at once in a chunk: inputs, results, a dilated branch's copies of them."""

_KEPT_TENSORS = 6


def measure_streamed_point(case: Case, settings: Settings, report: Report) -> dict[str, Any]:
    """The worker's result for one streamed case, as JSON-ready values.

    The first pass over the stream is verified and timed at once; more follow while time is left.

    Raises:
        Unsupported: the implementation cannot be streamed, or not this case on this machine.
        torch.OutOfMemoryError, MemoryError: it did not fit.
    """
    implementation = get_implementation(case.impl)
    if implementation.load_stream is None:
        raise Unsupported(f"{case.impl} cannot be streamed")
    backend = pick_backend(case, timer_for(case.device), settings.seed)
    pattern: Any = implementation.pattern(case.shape, case.options)
    chunk, rows = _limits(case, settings)
    stream: Stream = implementation.load_stream()(
        case.shape, case.options, case.device, DTYPES[case.dtype], backend, chunk, rows
    )
    source = InputSource(case, settings.seed)
    draw = source.draw()
    check = StreamCheck(case, pattern, draw, settings.seed)

    def progress(done: int, chunks: int, seconds: float) -> None:
        report(done, chunks, "chunks", done / seconds if seconds > 0 else None)

    passes: list[PassTimes] = []
    conditions = Conditions()
    start = now_ns()
    with NvmlPeak(case.device) as nvml:
        peak = peak_bytes(
            case.device,
            held_bytes(case.device),
            lambda: passes.append(run_pass(case, stream, draw, check.take, progress, now_ns)),
        )
    took = now_ns() - start
    verdict = check.verdict()
    if verdict.reason is not None:
        return as_incorrect(backend, "streamed", verdict)

    def further() -> int:
        return run_pass(case, stream, source.draw(), _drop, progress, now_ns).of(case.pass_)

    def trials() -> Iterator[Trial]:
        yield Trial(lambda: passes[0].of(case.pass_))
        while True:
            yield Trial(further)

    latency = sample(trials(), settings, now_ns, start_ns=now_ns() - took)
    shape = case.shape
    per_token = case.head_dim * case.element_bytes * case.batch
    memory = Memory(
        input_bytes=per_token * case.seq_len * (shape.heads + 2 * shape.kv_heads),
        peak_bytes=peak,
        nvml_peak_bytes=nvml.peak_bytes,
    )
    first_start, first_stop = stream.chunks[0]
    streaming = Streaming(
        chunk=first_stop - first_start,
        chunks=len(stream.chunks),
        generation_ns=passes[0].generation,
        recompute_ns=passes[0].recomputed(case.pass_),
    )
    measured = as_measured(case, pattern, backend, "streamed", verdict, latency, memory, conditions.telemetry())
    return measured | {"streaming": streaming.model_dump()}


def _drop(_event: object) -> None:
    """Later passes are timed alone: the first one has been checked."""


def _limits(case: Case, settings: Settings) -> tuple[int, int]:
    """(tokens of a chunk, rows kept across chunks) at most, from the memory that is free now."""
    free = torch.cuda.mem_get_info()[0] if case.device == "cuda" else psutil.virtual_memory().available
    row_bytes = case.head_dim * case.element_bytes
    token_bytes = case.batch * case.heads * row_bytes * _TENSORS[case.pass_]
    chunk = settings.chunk or max(1, free // CHUNK_SHARE // token_bytes)
    return chunk, free // KEPT_SHARE // (row_bytes * _KEPT_TENSORS)
