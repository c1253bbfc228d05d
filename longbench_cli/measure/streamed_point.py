"""Measure one case in this process as a stream: any length in bounded memory."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import cache
from typing import Any

from attention_impls.api import Unsupported, get_implementation
from attention_impls.streams import Stream
from longbench_cli.measure.clock import now_ns
from longbench_cli.measure.inputs import DTYPES, InputSource
from longbench_cli.measure.memory import free_bytes, held_bytes, peak_bytes, reserved_peak_bytes
from longbench_cli.measure.passes import refuse_step
from longbench_cli.measure.pick import pick_backend
from longbench_cli.measure.point import Report, as_incorrect, as_measured
from longbench_cli.measure.sampling import Trial, sample
from longbench_cli.measure.stream_check import StreamCheck
from longbench_cli.measure.streamed import Group, PassTimes, run_pass
from longbench_cli.measure.telemetry.watch import Watch
from longbench_cli.measure.types import Memory, Streaming, Timing
from longbench_cli.sweep.case import Case
from longbench_cli.sweep.settings import Settings
from longbench_cli.sweep.streaming import stream_limits


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
    refuse_step(case)
    if settings.graphs == "on":
        raise Unsupported("a stream cannot be replayed as a CUDA graph: --graphs auto takes graphs where they can be")
    if settings.cache == "cold":
        raise Unsupported("a stream's caches are as its chunks leave them: leave --cache out for what is streamed")
    backend = pick_backend(case, settings)
    pattern: Any = implementation.pattern(case.shape, case.options)
    groups = _groups(case, settings, backend, implementation.load_stream())
    source = InputSource(case, settings.seed)
    draw = source.draw()
    check = StreamCheck(case, pattern, draw, settings.seed)

    def progress(done: int, chunks: int, seconds: float) -> None:
        report(done, chunks, "chunks", done / seconds if seconds > 0 else None)

    passes: list[PassTimes] = []

    def one_pass() -> int:
        """The checked pass once, then others: a trial is called again while its times are short."""
        times = passes.pop() if passes else run_pass(case, groups, source.draw(), _drop, progress, now_ns)
        return times.of(case.pass_)

    def trials() -> Iterator[Trial]:
        while True:
            yield Trial(one_pass)

    start = now_ns()
    with Watch(case.device) as watch:
        peak = peak_bytes(
            case.device,
            held_bytes(case.device),
            lambda: passes.append(run_pass(case, groups, draw, check.take, progress, now_ns)),
        )
        reserved = reserved_peak_bytes(case.device)
        verified = check.verified()
        if verified.reason is not None:
            return as_incorrect(backend, "streamed", verified)
        first = passes[0]
        taken = sample(trials(), settings, now_ns, start_ns=start)
    shape = case.shape
    per_token = case.head_dim * case.element_bytes * case.batch
    memory = Memory(
        input_bytes=per_token * case.seq_len * (shape.heads + 2 * shape.kv_heads),
        peak_bytes=peak,
        nvml_peak_bytes=watch.nvml_peak_bytes,
        reserved_peak_bytes=reserved,
        nvml_process_peak_bytes=watch.nvml_process_peak_bytes,
    )
    first_start, first_stop = groups[0].stream.chunks[0]
    streaming = Streaming(
        chunk=first_stop - first_start,
        sequences=groups[0].count,
        chunks=sum(len(group.stream.chunks) for group in groups),
        generation_ns=first.generation,
        recompute_ns=first.recomputed(case.pass_),
    )
    timing = Timing(cache="hot", graph=False, blocking_start=False, host_median_ns=None)
    telemetry = watch.telemetry(taken.windows, case.batch * case.seq_len)
    measured = as_measured(case, settings, backend, "streamed", verified, taken, memory, telemetry, timing)
    # A pass has no energy of its own: making its inputs and checking its results are mixed into it.
    measured["telemetry"] |= {"joules_per_iteration": None, "joules_per_token": None}
    return measured | {"streaming": streaming.model_dump()}


def _drop(_first: int, _event: object) -> None:
    """Later passes are timed alone: the first one has been checked."""


def _groups(case: Case, settings: Settings, backend: str, make: Callable[..., Stream]) -> list[Group]:
    """The batch, cut into as many sequences at a time as the memory that is free now takes whole.

    Where it does not take one whole, one at a time is streamed in chunks.
    """
    free = free_bytes(case.device)
    tokens, rows = stream_limits(case, free)
    chunk = settings.chunk or tokens
    count = min(case.batch, max(1, tokens // case.seq_len)) if chunk >= case.seq_len else 1

    @cache
    def stream(sequences: int) -> Stream:
        shape = replace(case.shape, batch=sequences)
        return make(shape, case.options, case.device, DTYPES[case.dtype], backend, chunk, rows)

    sizes = [(first, min(count, case.batch - first)) for first in range(0, case.batch, count)]
    return [Group(first, size, stream(size)) for first, size in sizes]
