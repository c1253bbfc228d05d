"""How a number of ranks goes into a case: the size of its problem, and the algorithm by which they share it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from attention_impls.api import Implementation
from longbench_cli.errors import UsageError
from longbench_cli.sweep.axes import MAX_NUMBER, format_length, one_of
from longbench_cli.sweep.options import COMMAND_LINE, DEFAULT, ResolvedOptions
from longbench_cli.sweep.variants import given_for_impls

PARALLEL = "parallel"
"""The option that names the algorithm, of an implementation that has several."""


def sized(frame: dict[str, Any], impl: Implementation, options: ResolvedOptions) -> dict[str, Any]:
    """``frame`` with the size of the whole problem; under weak scaling it was given for one rank.

    What grows with the ranks is what they share: the sequence, or the batch of a model.
    """
    if options.values.scaling == "strong":
        return frame
    name = "seq_len" if impl.model is None else "batch"
    ranks, whole = frame["world_size"], frame[name] * frame["world_size"]
    if whole > MAX_NUMBER:
        what = "tokens" if impl.model is None else "sequences"
        raise UsageError(
            f"{options.where('scaling')} weak: {format_length(frame[name])} {what} on each of {ranks} ranks are more "
            f"than {format_length(MAX_NUMBER)}; give less, or fewer ranks"
        )
    return {**frame, name: whole}


def settled(chosen: dict[str, Any], impl: Implementation, world_size: int) -> dict[str, Any]:
    """The options of a case: the algorithm is named where there are ranks, and several to choose from."""
    if PARALLEL not in impl.defaults:
        return chosen
    if world_size == 1 or impl.parallel is None:
        return {**chosen, PARALLEL: None}
    return {**chosen, PARALLEL: chosen[PARALLEL] or impl.parallel.algorithms[0]}


def refuse_wrong_sharing(options: ResolvedOptions, impls: Iterable[Implementation]) -> None:
    """Refuse an algorithm that none has, and what says how ranks share where every point has one rank.

    Raises:
        UsageError: as said.
    """
    if given_for_impls(options, PARALLEL):
        known = {name: None for impl in impls if impl.parallel for name in impl.parallel.algorithms}
        for name in getattr(options.values, PARALLEL) or ():
            if name not in known:
                raise UsageError(f"{options.where(PARALLEL)} {name}: no such algorithm; {one_of(name, known)}")
    if max(options.values.gpus) > 1:
        return
    for name in (PARALLEL, "scaling"):
        source = options.sources[name]
        # A profile's may be idle where the command line asks for one rank.
        if source == COMMAND_LINE or (source != DEFAULT and options.sources["gpus"] != COMMAND_LINE):
            raise UsageError(
                f"{options.where(name)}: it has no effect on one rank; leave it out, or give --gpus 2 or more"
            )
