"""Which families the options of a sweep ask for, and the cases to predict of each."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from itertools import product
from typing import Any

from attention_impls.api import Implementation
from longbench_cli.analyse.prediction.families import PARALLEL, Family
from longbench_cli.errors import UsageError
from longbench_cli.sweep.case import Case
from longbench_cli.sweep.fields import IMPL_OPTIONS, LIST_OPTIONS
from longbench_cli.sweep.options import ResolvedOptions
from longbench_cli.sweep.plan import refuse_too_many_ranks
from longbench_cli.sweep.scaling import refuse_wrong_sharing, settled, sized
from longbench_cli.sweep.variants import takes

_FIXED = ("impl", "backend", "pass", "dtype", "causal", "head_dim", "device")
"""Options that choose among what was measured: no rate is carried from one of their values to another."""

_SHOWN = 6


def chosen(families: Sequence[Family], options: ResolvedOptions, given: Mapping[str, str]) -> list[Family]:
    """The families that the ``given`` options ask for, each by its name as it was typed.

    Raises:
        UsageError: there is none.
    """
    found = [family for family in families if _is_asked_for(family.case, options, given)]
    if found:
        return found
    known = list(dict.fromkeys(family.label for family in families))
    shown = "; ".join(known[:_SHOWN]) + ("; ..." if len(known) > _SHOWN else "")
    asked = " ".join(
        f"{options.where(name)} {text}" for name, text in given.items() if name in (*_FIXED, *IMPL_OPTIONS)
    )
    raise UsageError(
        f"{asked}: no measured point of that: measure it first, or choose from what was measured: {shown}"
        if known
        else "no measured point in these run files: measure some first with `longbench run`"
    )


def refuse_idle(impls: Sequence[Implementation], options: ResolvedOptions, given: Collection[str]) -> None:
    """Refuse an option that none of ``impls`` takes, an algorithm that none has, and what means nothing on one rank.

    Raises:
        UsageError: as said.
    """
    for name in IMPL_OPTIONS:
        if name in given and not any(takes(impl, name) for impl in impls):
            names = ", ".join(dict.fromkeys(impl.name for impl in impls))
            raise UsageError(f"{options.where(name)}: nothing that was measured takes it ({names}); leave it out")
    refuse_wrong_sharing(options, impls)


def cases_of(family: Family, impl: Implementation, options: ResolvedOptions, given: Collection[str]) -> list[Case]:
    """The cases to predict: the sizes and ranks that are given, the rest as it was measured.

    Raises:
        UsageError: numbers of heads that do not go together, or more ranks than can be counted.
    """
    found: dict[str, Case] = {}
    algorithms, widths = _algorithms(family, impl, options, given), list(_widths(family, options, given))
    refuse_too_many_ranks(len(options.values.seq) * len(algorithms) * len(widths), options)
    for seq_len, ranks, parallel in product(sorted(options.values.seq), options.values.gpus, algorithms):
        for batch, heads, kv_heads in widths:
            frame: dict[str, Any] = {"seq_len": seq_len, "world_size": ranks, "batch": batch}
            own = settled({**family.case.options, PARALLEL: parallel}, impl, ranks)
            if PARALLEL not in impl.defaults:
                own.pop(PARALLEL)
            changes = {**sized(frame, impl, options), "heads": heads, "kv_heads": kv_heads, "options": own}
            case = family.case.model_copy(update=changes)
            found.setdefault(case.key, case)
    return list(found.values())


def _is_asked_for(case: Case, options: ResolvedOptions, given: Collection[str]) -> bool:
    values = options.values
    own = {**case.model_dump(), "pass": case.pass_}
    for name in _FIXED:
        asked = getattr(values, "pass_" if name == "pass" else name)
        if name in given and own[name] not in asked and asked != ["auto"]:
            return False
    for name in IMPL_OPTIONS:
        if name in given and name != PARALLEL and name in case.options:
            asked, has = getattr(values, name), case.options[name]
            if has != asked if name in LIST_OPTIONS else has not in asked:
                return False
    return True


def _algorithms(
    family: Family, impl: Implementation, options: ResolvedOptions, given: Collection[str]
) -> Sequence[str | None]:
    """Those given; else those measured; else the default."""
    if PARALLEL in given and getattr(options.values, PARALLEL):
        known = impl.parallel.algorithms if impl.parallel else ()
        return [name for name in getattr(options.values, PARALLEL) if name in known] or [None]
    measured = [point.case.options.get(PARALLEL) for point in family.points if point.case.options.get(PARALLEL)]
    return list(dict.fromkeys(measured)) or [None]


def _widths(family: Family, options: ResolvedOptions, given: Collection[str]) -> Iterator[tuple[int, int, int]]:
    """Batch, heads and key heads: as given, or as measured."""
    measured = dict.fromkeys((p.case.batch, p.case.heads, p.case.kv_heads) for p in family.points)
    if not {"batch", "heads", "kv_heads"} & set(given):
        yield from measured
        return
    batches = options.values.batch if "batch" in given else dict.fromkeys(batch for batch, _, _ in measured)
    widths = dict.fromkeys(
        width for _, heads, kv_heads in measured for width in _heads(heads, kv_heads, options, given)
    )
    for batch, (heads, kv_heads) in product(batches, widths):
        yield batch, heads, kv_heads


def _heads(
    measured: int, measured_kv: int, options: ResolvedOptions, given: Collection[str]
) -> Iterator[tuple[int, int]]:
    """Heads and key heads. Where other heads are given alone, as many of them share a key head as were measured."""
    values = options.values
    for heads in values.heads if "heads" in given else [measured]:
        for kv_heads in values.kv_heads or [max(1, heads * measured_kv // measured)]:
            if heads % kv_heads:
                raise UsageError(
                    f"{options.where('kv_heads')} {kv_heads}: {heads} heads are no multiple of it; "
                    "give numbers of kv-heads that divide every number of heads"
                )
            yield heads, kv_heads
