"""The plan: every point of a sweep, in the order of measurement, with what it is predicted to need."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import product, zip_longest
from math import prod
from typing import Any

from attention_impls.api import Implementation, UnknownImplementation, get_implementation, implementations
from attention_impls.pattern import Cost
from attention_impls.shape import AttentionShape
from longbench_cli.errors import UsageError
from longbench_cli.sweep.axes import format_length
from longbench_cli.sweep.case import Case
from longbench_cli.sweep.fields import IMPL_OPTIONS, LIST_OPTIONS
from longbench_cli.sweep.hardware import hardware_of, usable_cores
from longbench_cli.sweep.options import COMMAND_LINE, DEFAULT, ResolvedOptions
from longbench_cli.sweep.predict import predict_seconds
from longbench_cli.sweep.settings import Settings
from longbench_cli.sweep.workload import workload

MAX_POINTS = 20_000
"""Most points of a sweep: the axes multiply, and more is a slip of the pen."""


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
    """

    case: Case
    key: str
    details: dict[str, Any]
    cost: Cost
    input_bytes: int
    predicted_seconds: float
    predicted_bytes: int
    streams: bool = False


@dataclass(frozen=True, slots=True)
class Plan:
    """What ``longbench run`` will do. ``sources``: option name to where its value came from."""

    points: tuple[PlannedPoint, ...]
    settings: Settings
    profile: str | None
    sources: dict[str, str]


@dataclass(frozen=True, slots=True)
class _Variant:
    """An implementation with one choice of back end and of its own options."""

    impl: Implementation
    backend: str
    options: dict[str, Any]


def make_plan(options: ResolvedOptions) -> Plan:
    """Multiply the axes out: shorter sequences first, implementations taking turns, no point twice.

    Raises:
        UsageError: an unknown implementation, an option that none takes, values that do not fit together.
    """
    impls = [_implementation(name) for name in options.values.impl]
    _refuse_unused(options, impls)
    turns = [list(_variants(impl, options)) for impl in impls]
    variants = [variant for turn in zip_longest(*turns) for variant in turn if variant is not None]
    _refuse_too_many(options, len(variants))
    points: dict[str, PlannedPoint] = {}
    for frame in _frames(options):
        for variant in variants:
            case = _case(variant, frame, options)
            if case.key not in points:
                points[case.key] = _point(case, variant.impl, options)
    _refuse_unheard(options, points.values())
    name = options.profile.name if options.profile else None
    return Plan(tuple(points.values()), options.settings, name, dict(options.sources))


def _implementation(name: str) -> Implementation:
    try:
        return get_implementation(name)
    except UnknownImplementation as error:
        raise UsageError(f"--impl {name}: {_one_line(error)}") from error


def _refuse_unused(options: ResolvedOptions, impls: list[Implementation]) -> None:
    kinds = {impl.kind for impl in impls}
    if options.values.pass_ == ["step"] and "model" not in kinds:
        models = ", ".join(other.name for other in implementations().values() if other.kind == "model")
        raise UsageError(f"{options.where('pass')} step: only models have parameters to optimise ({models})")
    if kinds == {"model"} and True not in options.values.causal and options.sources["causal"] != DEFAULT:
        raise UsageError(f"{options.where('causal')} false: a language model is causal; leave it out")
    for name in (*IMPL_OPTIONS, "backend"):
        if _for_these_impls(options, name) and not any(_takes(impl, name) for impl in impls):
            takers = ", ".join(other.name for other in implementations().values() if _takes(other, name))
            raise UsageError(
                f"{options.where(name)}: none of this sweep's implementations takes it "
                f"({', '.join(impl.name for impl in impls)}); leave it out, or add one that does ({takers})"
            )


def _refuse_unheard(options: ResolvedOptions, points: Iterable[PlannedPoint]) -> None:
    """Refuse a number of key heads that no point has, since its models have as many as query heads."""
    if not _for_these_impls(options, "kv_heads"):
        return
    found = {point.case.kv_heads for point in points}
    for asked in options.values.kv_heads or ():
        if asked not in found:
            raise UsageError(
                f"{options.where('kv_heads')} {asked}: this sweep's models have as many key heads as query heads; "
                "leave it out, or add an implementation that takes fewer (block-recurrent, or an attention)"
            )


def _for_these_impls(options: ResolvedOptions, name: str) -> bool:
    """Whether an option was given for them: a profile's may be idle where the command line chose others."""
    source = options.sources[name]
    return source == COMMAND_LINE or (source != DEFAULT and options.sources["impl"] == source)


def _takes(impl: Implementation, option: str) -> bool:
    return impl.takes_backend if option == "backend" else option in impl.defaults


def _variants(impl: Implementation, options: ResolvedOptions) -> Iterator[_Variant]:
    """Every choice of back end and options that differs for ``impl``."""
    values = options.values
    explicit = values.segments is not None or values.dilations is not None
    axes: dict[str, list[Any]] = {name: [default] for name, default in impl.defaults.items()}
    for name in IMPL_OPTIONS:
        given = getattr(values, name)
        if name not in impl.defaults:
            continue
        if name == "schedule" and explicit:
            axes[name] = [None]
        elif given is not None:
            axes[name] = [given] if name in LIST_OPTIONS else given
    for backend in values.backend if impl.takes_backend else ["none"]:
        for choice in product(*axes.values()):
            yield _Variant(impl, backend, dict(zip(axes, choice, strict=True)))


def _refuse_too_many(options: ResolvedOptions, variants: int) -> None:
    values = options.values
    axes: list[list[Any]] = [
        values.seq, values.tokens or values.batch, values.heads, values.kv_heads or [1], values.head_dim,
        values.dtype, values.causal, values.pass_, values.gpus, values.device,
    ]  # fmt: skip
    count = prod(map(len, axes)) * variants
    if count > MAX_POINTS:
        raise UsageError(f"the axes multiply to {count:,} points, of at most {MAX_POINTS:,}: sweep fewer at a time")


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


def _case(variant: _Variant, frame: dict[str, Any], options: ResolvedOptions) -> Case:
    impl = variant.impl
    case = Case(impl=impl.name, kind=impl.kind, backend=variant.backend, options=variant.options, **frame)
    if impl.model is None:
        return case
    try:
        real = impl.model.shape(case.shape, case.options)
    except Exception as error:  # an implementation may be anybody's code
        raise UsageError(_misfit(error, impl, case.shape, options)) from error
    own = ("heads", "kv_heads", "head_dim", "causal")
    return case.model_copy(update={name: getattr(real, name) for name in own})


def _point(case: Case, impl: Implementation, options: ResolvedOptions) -> PlannedPoint:
    shape = case.shape
    try:
        work = workload(case, impl)
        details = impl.details(shape, case.options)
    except Exception as error:  # an implementation may be anybody's code
        raise UsageError(_misfit(error, impl, shape, options)) from error
    hardware = hardware_of(case.device)
    return PlannedPoint(
        case=case,
        key=case.key,
        details=details,
        cost=work.cost,
        input_bytes=work.input_bytes,
        predicted_seconds=predict_seconds(case, work.parts, hardware, options.values.threads or usable_cores()),
        predicted_bytes=work.peak_bytes,
        streams=impl.load_stream is not None and case.world_size == 1,
    )


def _misfit(error: Exception, impl: Implementation, shape: AttentionShape, options: ResolvedOptions) -> str:
    """Which options an implementation refused, at which length, and what it said."""
    asked = [options.where(n) for n in IMPL_OPTIONS if _takes(impl, n) and options.sources[n] != DEFAULT]
    said = _one_line(error) if isinstance(error, ValueError) else f"{type(error).__name__}: {_one_line(error)}"
    return f"{', '.join(asked) or impl.name}: {said} ({impl.name} at {format_length(shape.seq_len)})"


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())
