"""Dilated attention as an entry of the registry; its code is in :mod:`attention_impls.dilated.op`."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from attention_impls.api import Implementation, Options, Parallel, Unsupported
from attention_impls.dilated.pattern import OFFSETS, DilatedPattern
from attention_impls.dilated.schedule import Schedule, named_schedule
from attention_impls.dilated.stream_plan import plan_stream, too_many_rows
from attention_impls.distributed.dilated_cost import dilated_pairs, dilated_traffic
from attention_impls.distributed.sharding import Spans, contiguous, too_short
from attention_impls.distributed.traffic import Traffic
from attention_impls.pattern import Pattern
from attention_impls.shape import AttentionShape
from attention_impls.streams import Stream

if TYPE_CHECKING:
    import torch

MIXING_GRADIENTS = ("exact", "detached")


def schedule_of(shape: AttentionShape, options: Options) -> Schedule:
    """Explicit segments and dilations if given, else the named schedule.

    Raises:
        ValueError: only one of segments and dilations, or values that do not fit.
    """
    segments, dilations = options.get("segments"), options.get("dilations")
    if segments is None and dilations is None:
        return named_schedule(options.get("schedule") or "geometric", shape.seq_len, shape.world_size)
    if segments is None or dilations is None:
        raise ValueError("segments and dilations go together: give both or neither")
    return Schedule.of(segments, dilations)


def _choice(options: Options, name: str, allowed: tuple[str, ...]) -> str:
    value = str(options.get(name) or allowed[0])
    if value not in allowed:
        raise ValueError(f"unknown {name.replace('_', ' ')} {value!r}: choose {' or '.join(allowed)}")
    return value


def _pattern(shape: AttentionShape, options: Options) -> Pattern:
    exact = _choice(options, "mixing_gradient", MIXING_GRADIENTS) == "exact"
    return DilatedPattern(shape, schedule_of(shape, options), _choice(options, "offsets", OFFSETS), exact)


def _details(shape: AttentionShape, options: Options) -> dict[str, Any]:
    schedule = schedule_of(shape, options)
    coverage = DilatedPattern(shape, schedule, _choice(options, "offsets", OFFSETS)).coverage()
    return {"segments": schedule.segments, "dilations": schedule.dilations, "coverage": coverage}


def _load() -> Callable[..., Any]:
    from attention_impls.dilated.op import dilated_attention
    from attention_impls.shape import AttentionShape

    def run(q: Any, k: Any, v: Any, *, causal: bool, backend: str | None = None, **options: Any) -> Any:
        schedule = schedule_of(AttentionShape(seq_len=q.shape[1]), options)
        return dilated_attention(
            q,
            k,
            v,
            segments=schedule.segments,
            dilations=schedule.dilations,
            causal=causal,
            offsets=_choice(options, "offsets", OFFSETS),
            mixing_gradient=_choice(options, "mixing_gradient", MIXING_GRADIENTS),
            backend=backend,
        )

    return run


_STREAMED_MIXING = "streamed execution has the exact mixing gradient only"


def _refuse_stream(shape: AttentionShape, options: Options, chunk: int, rows: int) -> str | None:
    if _choice(options, "mixing_gradient", MIXING_GRADIENTS) != "exact":
        return _STREAMED_MIXING
    return too_many_rows(plan_stream(schedule_of(shape, options), shape.seq_len, chunk), shape, rows)


def _load_stream() -> Callable[..., Stream]:
    from attention_impls.dilated.streaming import DilatedStream
    from attention_impls.kernels.registry import get_backend

    def stream(
        shape: AttentionShape, options: Options, device: str, dtype: torch.dtype, backend: str, chunk: int, rows: int
    ) -> Stream:
        if _choice(options, "mixing_gradient", MIXING_GRADIENTS) != "exact":
            raise Unsupported(_STREAMED_MIXING)
        return DilatedStream(
            shape,
            schedule_of(shape, options),
            _choice(options, "offsets", OFFSETS),
            get_backend(backend, device, dtype, shape.head_dim),
            chunk_limit=chunk,
            row_limit=rows,
        )

    return stream


def _refuse(shape: AttentionShape, _options: Options) -> str | None:
    return too_short(shape, shape.world_size)


def _spans(shape: AttentionShape, _options: Options, rank: int) -> Spans:
    return contiguous(shape, rank)


def _traffic(shape: AttentionShape, options: Options, pass_: str, element_bytes: int) -> tuple[Traffic, ...]:
    offsets = _choice(options, "offsets", OFFSETS)
    return dilated_traffic(shape, schedule_of(shape, options), offsets, pass_, element_bytes)


def _pairs(shape: AttentionShape, options: Options) -> tuple[int, ...]:
    return dilated_pairs(shape, schedule_of(shape, options), _choice(options, "offsets", OFFSETS))


def _load_parallel() -> Callable[..., Any]:
    from attention_impls.distributed.dilated import dilated_parallel

    def run(
        q: Any,
        k: Any,
        v: Any,
        *,
        comm: Any,
        shape: AttentionShape,
        backend: str | None,
        causal: bool,
        return_lse: bool = False,
        **options: Any,
    ) -> Any:
        return dilated_parallel(
            q,
            k,
            v,
            comm=comm,
            shape=shape,
            schedule=schedule_of(shape, options),
            causal=causal,
            offsets=_choice(options, "offsets", OFFSETS),
            mixing_gradient=_choice(options, "mixing_gradient", MIXING_GRADIENTS),
            backend=backend,
            return_lse=return_lse,
        )

    return run


DILATED = Implementation(
    name="dilated",
    summary="LongNet's dilated attention: segments and dilations mixed by log-sum-exp",
    load=_load,
    pattern=_pattern,
    details=_details,
    defaults={
        "schedule": "geometric",
        "segments": None,
        "dilations": None,
        "offsets": "paper",
        "mixing_gradient": "exact",
    },
    takes_backend=True,
    load_stream=_load_stream,
    refuse_stream=_refuse_stream,
    parallel=Parallel(
        algorithms=("gather",),
        refuse=_refuse,
        spans=_spans,
        traffic=_traffic,
        pairs=_pairs,
        load=_load_parallel,
    ),
)
