"""The plan: every point of a sweep, in the order of measurement, with what it is predicted to need."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import product
from math import prod
from typing import Any

from attention_impls.api import Implementation
from attention_impls.pattern import Cost
from attention_impls.shape import AttentionShape
from longbench_cli.errors import UsageError
from longbench_cli.sweep.axes import format_length
from longbench_cli.sweep.case import Case
from longbench_cli.sweep.fields import IMPL_OPTIONS
from longbench_cli.sweep.hardware import hardware_of, usable_cores
from longbench_cli.sweep.options import DEFAULT, ResolvedOptions
from longbench_cli.sweep.predict import predict_seconds
from longbench_cli.sweep.scaling import refuse_wrong_sharing, settled, sized
from longbench_cli.sweep.settings import Settings
from longbench_cli.sweep.variants import Variant, given_for_impls, one_line, takes, variants_of
from longbench_cli.sweep.workload import workload

MAX_POINTS = 20_000
"""Most points of a sweep: the axes multiply, and more is a slip of the pen."""

MAX_RANKS_IN_ALL = 2**19
"""Most ranks of all points together: of each it is worked out what it exchanges."""


@dataclass(frozen=True, slots=True)
class PlannedPoint:
    """One point to measure.

    Attributes:
        key: identity of the case as planned.
        details: what the implementation's options come to at this length.
        input_bytes: of all ranks together.
        predicted_seconds: of one iteration.
        predicted_bytes: peak of one rank, all tensors resident.
        streams: whether the implementation can be streamed.
        refused: why its ranks cannot share it: it is recorded as unsupported, and never started.
    """

    case: Case
    key: str
    details: dict[str, Any]
    cost: Cost
    input_bytes: int
    predicted_seconds: float
    predicted_bytes: int
    streams: bool = False
    refused: str | None = None


@dataclass(frozen=True, slots=True)
class Plan:
    """What ``longbench run`` will do.

    Attributes:
        sources: option name to where its value came from.
        budget: seconds that one invocation may take; None for as long as it takes.
    """

    points: tuple[PlannedPoint, ...]
    settings: Settings
    profile: str | None
    sources: dict[str, str]
    budget: float | None = None


def make_plan(options: ResolvedOptions) -> Plan:
    """Multiply the axes out: shorter sequences first, implementations taking turns, no point twice.

    Raises:
        UsageError: an unknown implementation, an option that none takes, values that do not fit together.
    """
    points = tuple(_point(case, impl, options) for case, impl in cases_of(options))
    name = options.profile.name if options.profile else None
    return Plan(points, options.settings, name, dict(options.sources), options.values.budget)


def cases_of(options: ResolvedOptions) -> list[tuple[Case, Implementation]]:
    """Every case of a plan in its order, without what it is predicted to need.

    Raises:
        UsageError: as :func:`make_plan`, but for what only the work of a case tells.
    """
    variants = variants_of(options)
    refuse_wrong_sharing(options, [variant.impl for variant in variants])
    _refuse_too_many(options, len(variants))
    cases: dict[str, tuple[Case, Implementation]] = {}
    for frame in _frames(options):
        for variant in variants:
            case = _case(variant, frame, options)
            cases.setdefault(case.key, (case, variant.impl))
    _refuse_unheard(options, [case for case, _ in cases.values()])
    return list(cases.values())


def _refuse_unheard(options: ResolvedOptions, cases: Iterable[Case]) -> None:
    """Refuse a number of key heads that no case has, since its models have as many as query heads."""
    if not given_for_impls(options, "kv_heads"):
        return
    found = {case.kv_heads for case in cases}
    for asked in options.values.kv_heads or ():
        if asked not in found:
            raise UsageError(
                f"{options.where('kv_heads')} {asked}: this sweep's models have as many key heads as query heads; "
                "leave it out, or add an implementation that takes fewer (block-recurrent, or an attention)"
            )


def _refuse_too_many(options: ResolvedOptions, variants: int) -> None:
    values = options.values
    axes: list[list[Any]] = [
        values.seq, values.tokens or values.batch, values.heads, values.kv_heads or [1], values.head_dim,
        values.dtype, values.causal, values.pass_, values.gpus, values.device,
    ]  # fmt: skip
    count = prod(map(len, axes)) * variants
    if count > MAX_POINTS:
        raise UsageError(f"the axes multiply to {count:,} points, of at most {MAX_POINTS:,}: sweep fewer at a time")
    refuse_too_many_ranks(count // len(values.gpus), options)


def refuse_too_many_ranks(points: int, options: ResolvedOptions) -> None:
    """Refuse ``points`` for each number of ranks if they have more together than are counted in a reasonable time."""
    ranks = points * sum(options.values.gpus)
    if ranks > MAX_RANKS_IN_ALL:
        raise UsageError(
            f"{options.where('gpus')}: all points together have {ranks:,} ranks, of at most {MAX_RANKS_IN_ALL:,}: "
            "ask for fewer at a time"
        )


def _frames(options: ResolvedOptions) -> Iterator[dict[str, Any]]:
    """All of a case but its implementation, by sequence length."""
    values = options.values
    for seq_len in sorted(values.seq):
        for device, gpus, dtype, causal, batch, heads, head_dim in product(
            options.devices, values.gpus, values.dtype, values.causal, _batches(options, seq_len),
            values.heads, values.head_dim,
        ):  # fmt: skip
            for kv_heads, pass_ in product(values.kv_heads or [heads], values.pass_):
                if heads % kv_heads:
                    raise UsageError(
                        f"{options.where('kv_heads')} {kv_heads}: {heads} heads ({options.where('heads')}) are no "
                        "multiple of it; give numbers of kv-heads that divide every number of heads"
                    )
                yield {
                    "seq_len": seq_len, "batch": batch, "heads": heads, "kv_heads": kv_heads, "head_dim": head_dim,
                    "dtype": dtype, "causal": causal, "pass_": pass_, "world_size": gpus, "device": device,
                }  # fmt: skip


def _batches(options: ResolvedOptions, seq_len: int) -> list[int]:
    if options.values.tokens is None:
        return options.values.batch
    for tokens in options.values.tokens:
        if tokens % seq_len:
            raise UsageError(
                f"{options.where('tokens')} {format_length(tokens)}: not a multiple of the sequence length "
                f"{format_length(seq_len)} ({options.where('seq')}); sweep lengths that divide it"
            )
    return [tokens // seq_len for tokens in options.values.tokens]


def _case(variant: Variant, frame: dict[str, Any], options: ResolvedOptions) -> Case:
    impl = variant.impl
    case = Case(
        impl=impl.name,
        kind=impl.kind,
        backend=variant.backend,
        options=settled(variant.options, impl, frame["world_size"]),
        **sized(frame, impl, options),
    )
    if impl.model is None:
        return case
    try:
        real = impl.model.shape(case.shape, case.options)
    except Exception as error:  # an implementation may be anybody's code
        raise misfit(error, impl, case.shape, options) from error
    own = ("heads", "kv_heads", "head_dim", "causal")
    return case.model_copy(update={name: getattr(real, name) for name in own})


def _point(case: Case, impl: Implementation, options: ResolvedOptions) -> PlannedPoint:
    shape = case.shape
    try:
        work = workload(case, impl)
        details = impl.details(shape, case.options)
    except Exception as error:  # an implementation may be anybody's code
        raise misfit(error, impl, shape, options) from error
    cores = options.values.threads or usable_cores()
    return PlannedPoint(
        case=case,
        key=case.key,
        details=details,
        cost=work.cost,
        input_bytes=work.input_bytes,
        predicted_seconds=predict_seconds(case, work.parts, hardware_of(case.device), cores, work.slowest_share),
        predicted_bytes=work.peak_bytes,
        streams=impl.load_stream is not None and case.world_size == 1,
        refused=work.refused,
    )


def misfit(error: Exception, impl: Implementation, shape: AttentionShape, options: ResolvedOptions) -> UsageError:
    """Which options an implementation refused, at which length, and what it said."""
    asked = [options.where(n) for n in IMPL_OPTIONS if takes(impl, n) and options.sources[n] != DEFAULT]
    said = one_line(error) if isinstance(error, ValueError) else f"{type(error).__name__}: {one_line(error)}"
    return UsageError(f"{', '.join(asked) or impl.name}: {said} ({impl.name} at {format_length(shape.seq_len)})")
