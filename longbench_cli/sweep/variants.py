"""Which implementations a sweep has, each with every choice of back end and of the options it takes."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product, zip_longest
from typing import Any

from attention_impls.api import Implementation, UnknownImplementation, get_implementation, implementations
from longbench_cli.errors import UsageError
from longbench_cli.sweep.fields import IMPL_OPTIONS, LIST_OPTIONS
from longbench_cli.sweep.options import COMMAND_LINE, DEFAULT, ResolvedOptions


@dataclass(frozen=True, slots=True)
class Variant:
    """An implementation with one choice of back end and of its own options."""

    impl: Implementation
    backend: str
    options: dict[str, Any]


def variants_of(options: ResolvedOptions) -> list[Variant]:
    """The variants of a sweep, implementations taking turns. An option counts for those that take it.

    Raises:
        UsageError: an unknown implementation, or an option that none takes or that has no effect on any.
    """
    impls = [_implementation(name) for name in options.values.impl]
    _refuse_wrong_kind(options, impls)
    _refuse_unused(options, impls)
    turns = [list(_variants(impl, options)) for impl in impls]
    found = [variant for turn in zip_longest(*turns) for variant in turn if variant is not None]
    _refuse_idle(options, found)
    return found


def takes(impl: Implementation, option: str) -> bool:
    """Whether ``impl`` has this option, ``backend`` included."""
    return impl.takes_backend if option == "backend" else option in impl.defaults


def given_for_impls(options: ResolvedOptions, name: str) -> bool:
    """Whether an option was given for these: a profile's may be idle where the command line chose others."""
    source = options.sources[name]
    return source == COMMAND_LINE or (source != DEFAULT and options.sources["impl"] == source)


def one_line(error: Exception) -> str:
    """What ``error`` says, its lines joined."""
    return " ".join(str(error).split())


def _implementation(name: str) -> Implementation:
    try:
        return get_implementation(name)
    except UnknownImplementation as error:
        raise UsageError(f"--impl {name}: {one_line(error)}") from error


def _variants(impl: Implementation, options: ResolvedOptions) -> Iterator[Variant]:
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
            chosen = dict(zip(axes, choice, strict=True))
            idle = {name: impl.defaults[name] for name in impl.idle(chosen)}
            yield Variant(impl, backend, chosen | idle)


def _refuse_wrong_kind(options: ResolvedOptions, impls: list[Implementation]) -> None:
    kinds = {impl.kind for impl in impls}
    if options.values.pass_ == ["step"] and "model" not in kinds:
        models = ", ".join(other.name for other in implementations().values() if other.kind == "model")
        raise UsageError(f"{options.where('pass')} step: only models have parameters to optimise ({models})")
    if kinds == {"model"} and True not in options.values.causal and options.sources["causal"] != DEFAULT:
        raise UsageError(f"{options.where('causal')} false: a language model is causal; leave it out")
    unsized = [impl.name for impl in impls if impl.kind == "model" and not takes(impl, "preset")]
    if given_for_impls(options, "preset") and unsized:
        raise UsageError(
            f"{options.where('preset')}: {', '.join(unsized)} has no presets, and would be of another size; "
            "give --heads, --head-dim and --depth instead, or leave it out of --impl"
        )


def _refuse_unused(options: ResolvedOptions, impls: list[Implementation]) -> None:
    for name in (*IMPL_OPTIONS, "backend"):
        if given_for_impls(options, name) and not any(takes(impl, name) for impl in impls):
            takers = ", ".join(other.name for other in implementations().values() if takes(other, name))
            raise UsageError(
                f"{options.where(name)}: none of this sweep's implementations takes it "
                f"({', '.join(impl.name for impl in impls)}); leave it out, or add one that does ({takers})"
            )


def _refuse_idle(options: ResolvedOptions, variants: list[Variant]) -> None:
    for name in IMPL_OPTIONS:
        takers = [variant for variant in variants if takes(variant.impl, name)]
        if given_for_impls(options, name) and all(name in one.impl.idle(one.options) for one in takers):
            choices = dict.fromkeys(_choices(one) for one in takers)
            raise UsageError(
                f"{options.where(name)}: it has no effect here ({'; '.join(choices)}); leave it out, "
                "or choose what takes it"
            )


def _choices(variant: Variant) -> str:
    """The implementation, with the options that tell what kind of attention it is."""
    kinds = [f"{name} {variant.options[name]}" for name in ("attention", "pattern") if variant.options.get(name)]
    return " ".join([variant.impl.name, *(f"with {kind}" for kind in kinds)])
