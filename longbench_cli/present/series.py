"""Series: curves ready to be shown, each with a name, a look and its fit. Computed once for every output."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from longbench_cli.analyse.curves import UNRESOLVED, Curve, Workload, curves_of
from longbench_cli.analyse.scaling import (
    LocalExponent,
    PowerLaw,
    fit_power_law,
    local_exponents,
)
from longbench_cli.analyse.speedup import Speedup, over_full_attention
from longbench_cli.present.units import count, format_range
from longbench_cli.sweep.axes import format_length
from longbench_cli.sweep.case import Case

if TYPE_CHECKING:
    from longbench_cli.record.journal import Run

# Told apart by people with any colour vision, and at least 3:1 against both a white and a near-black page.
PALETTE = ("#2f7fd6", "#dc6a0b", "#139a74", "#c2509b", "#8a6fe0", "#a8820a", "#d64550", "#5f7d8c")
DASHES = {"fwd": "solid", "bwd": "dash", "fwd+bwd": "dot", "step": "dashdot"}


@dataclass(frozen=True)
class Series:
    """A curve with everything that is said about it.

    Attributes:
        label: its name: implementation, pass, and whatever else tells it from the others.
        color, dash: its look, one colour a variant and one dash a pass.
        fit: None with fewer than 3 measured lengths.
        work: the exponent that its floating-point operations have over the same lengths: 2 for full attention
            at a constant batch. None without a fit.
        speedup: over full attention; None for that itself, or without a point of it to compare with.
    """

    curve: Curve
    label: str
    color: str
    dash: str
    fit: PowerLaw | None
    local: list[LocalExponent]
    work: float | None
    speedup: Speedup | None


class Named(Protocol):
    """A curve of any kind, as far as its name goes."""

    @property
    def run(self) -> int: ...

    @property
    def case(self) -> Case: ...

    @property
    def execution(self) -> str: ...

    @property
    def workload(self) -> Workload: ...


def build_series(runs: Sequence[Run]) -> list[Series]:
    """Name, colour and fit every curve of ``runs``."""
    curves = curves_of(runs)
    variants = variant_names(curves, runs)
    colors = colors_of(variants)
    return [
        Series(
            curve=curve,
            label=" ".join((curve.case.impl, curve.case.pass_, *variant[1:])),
            color=colors[variant],
            dash=DASHES[curve.case.pass_],
            fit=fit_power_law(*curve.medians),
            local=local_exponents(*curve.medians),
            work=fit.exponent if (fit := fit_power_law(*curve.work)) else None,
            speedup=speedup,
        )
        for curve, variant, speedup in zip(curves, variants, over_full_attention(curves), strict=True)
    ]


def run_label(run: Run, runs: Sequence[Run]) -> str:
    """A short name that tells ``run`` from the others: its file's name, with its folders if it must be."""
    same_name = [other for other in runs if other.path.stem == run.path.stem]
    return run.path.stem if len(same_name) == 1 else str(run.path)


def colors_of(variants: Iterable[tuple[str, ...]]) -> dict[tuple[str, ...], str]:
    """A colour for each, in the order in which they come."""
    return {variant: PALETTE[number % len(PALETTE)] for number, variant in enumerate(dict.fromkeys(variants))}


def variant_names(curves: Sequence[Named], runs: Sequence[Run]) -> list[tuple[str, ...]]:
    """For each curve its implementation, and the value of every axis that varies, the pass aside."""
    names: list[list[str]] = [[curve.case.impl] for curve in curves]
    of_impl: dict[str, list[int]] = {}
    for index, curve in enumerate(curves):
        of_impl.setdefault(curve.case.impl, []).append(index)
    for members in of_impl.values():  # these differ by nature: compared within an implementation
        if len({_backend(curves[index]) for index in members} - {""}) > 1:
            for index in members:
                names[index].append(_backend(curves[index]))
    varied = varied_options(curve.case for curve in curves)
    for name, curve in zip(names, curves, strict=True):
        name.append(format_varied(curve.case, varied))
    for axis in (_mask, _dtype, _heads, _kv_heads, _head_dim, _workload, _ranks, _device):
        if len({axis(curve) for curve in curves}) > 1:
            for name, curve in zip(names, curves, strict=True):
                name.append(axis(curve))
    for name, curve in zip(names, curves, strict=True):
        if curve.execution != "resident":
            name.append(curve.execution)
    _add_runs(names, curves, runs)
    return [tuple(part for part in name if part) for name in names]


def _add_runs(names: list[list[str]], curves: Sequence[Named], runs: Sequence[Run]) -> None:
    """Add the run to every curve if the same curve is in more than one run."""
    seen: dict[tuple[str, ...], set[int]] = {}
    for name, curve in zip(names, curves, strict=True):
        seen.setdefault((*name, curve.case.pass_), set()).add(curve.run)
    if any(len(places) > 1 for places in seen.values()):
        labels = [run_label(run, runs) for run in runs]
        for name, curve in zip(names, curves, strict=True):
            name.append(f"[{labels[curve.run]}]")


def _backend(curve: Named) -> str:
    return "" if curve.case.backend == UNRESOLVED else curve.case.backend


def _mask(curve: Named) -> str:
    return "causal" if curve.case.causal else "full"


def _dtype(curve: Named) -> str:
    return curve.case.dtype


def _heads(curve: Named) -> str:
    return f"{curve.case.heads} heads"


def _kv_heads(curve: Named) -> str:
    return f"{curve.case.kv_heads} kv heads"


def _head_dim(curve: Named) -> str:
    return f"head dim {curve.case.head_dim}"


def _workload(curve: Named) -> str:
    return format_workload(curve)


def _ranks(curve: Named) -> str:
    return count(curve.case.world_size, "rank")


def _device(curve: Named) -> str:
    return curve.case.device


def format_workload(curve: Named) -> str:
    """``batch 4``, or ``1m tokens`` where the batch shrinks as the sequence grows."""
    if curve.workload == "batch":
        return f"batch {curve.case.batch}"
    return f"{format_length(curve.case.batch * curve.case.seq_len)} tokens"


def format_options(options: dict[str, object]) -> str:
    """``schedule=lm``, or nothing where every option has no value."""
    given = {name: value for name, value in sorted(options.items()) if value is not None}
    return " ".join(
        f"{name}={','.join(map(str, value)) if isinstance(value, list) else value}" for name, value in given.items()
    )


Varied = Mapping[str, frozenset[str]]
"""For each implementation, which of its options differ from point to point."""

NOTHING_VARIES: Varied = {}


def varied_options(cases: Iterable[Case]) -> Varied:
    """Compared within an implementation: the options of two differ by nature."""
    first: dict[str, dict[str, object]] = {}
    varied: dict[str, set[str]] = {}
    for case in cases:
        known, own = first.setdefault(case.impl, case.options), case.options
        names = {name for name in known.keys() | own.keys() if known.get(name) != own.get(name)}
        varied.setdefault(case.impl, set()).update(names)
    return {impl: frozenset(names) for impl, names in varied.items()}


def format_varied(case: Case, varied: Varied) -> str:
    """The options of a case that tell it from others: ``depth=2``."""
    names = varied.get(case.impl, frozenset())
    return format_options({name: value for name, value in case.options.items() if name in names})


def title_of(series: Sequence[Series]) -> str:
    """What was measured: ``dilated and vanilla attention, longnet model, 1k–64k tokens``."""
    if not series:
        return "no point"
    impls: dict[str, list[str]] = {"op": [], "model": []}
    for kind, impl in dict.fromkeys((one.curve.case.kind, one.curve.case.impl) for one in series):
        impls[kind].append(impl)
    named = []
    if impls["op"]:
        named.append(f"{_listed(impls['op'])} attention")
    if models := impls["model"]:
        named.append(f"{_listed(models)} model{'' if len(models) == 1 else 's'}")
    lengths = [point.case.seq_len for one in series for point in one.curve.points]
    return f"{', '.join(named)}, {format_range(lengths)} tokens"


def _listed(names: Sequence[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"
