"""Gives a command the options of a sweep, so that each command that plans one asks for it in the same words."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

from longbench_cli.commands import run_options as options

SWEEP_OPTIONS: dict[str, Any] = {
    "profile": options.Profile,
    "impl": options.Impl,
    "backend": options.Backend,
    "seq": options.Seq,
    "batch": options.Batch,
    "tokens": options.Tokens,
    "heads": options.Heads,
    "kv_heads": options.KvHeads,
    "head_dim": options.HeadDim,
    "dtype": options.Dtype,
    "causal": options.Causal,
    "pass_": options.Pass,
    "gpus": options.Gpus,
    "scaling": options.Scaling,
    "device": options.Device,
    "parallel": options.Parallel,
    "schedule": options.Schedule,
    "segments": options.Segments,
    "dilations": options.Dilations,
    "offsets": options.Offsets,
    "mixing_gradient": options.MixingGradient,
    "pattern": options.Pattern,
    "stride": options.Stride,
    "columns": options.Columns,
    "match_flops": options.MatchFlops,
    "window": options.Window,
    "preset": options.Preset,
    "depth": options.Depth,
    "ff_mult": options.FfMult,
    "vocab": options.Vocab,
    "feed_forward": options.FeedForward,
    "qk_norm": options.QkNorm,
    "parallel_block": options.ParallelBlock,
    "attention": options.AttentionOf,
    "block_width": options.BlockWidth,
    "states": options.States,
    "compressed_memory": options.CompressedMemory,
    "bptt": options.Bptt,
    "levels": options.Levels,
    "max_point_time": options.MaxPointTime,
    "max_time": options.MaxTime,
    "precision": options.Precision,
    "min_iterations": options.MinIterations,
    "max_iterations": options.MaxIterations,
    "seed": options.Seed,
    "threads": options.Threads,
    "timeout": options.Timeout,
    "stream": options.Stream,
    "chunk": options.Chunk,
    "cache": options.Cache,
    "graphs": options.Graphs,
    "order": options.Order,
    "sessions": options.Sessions,
    "no_prune": options.NoPrune,
    "budget": options.Budget,
}
"""By the names of parameters, in the order of ``--help``."""

Function = Callable[..., None]


def sweep_options(but: frozenset[str] = frozenset()) -> Callable[[Function], Function]:
    """Decorate ``f(asked, *, ...)``: the command has f's own options and those of a sweep, without ``but``.

    ``asked`` gets those of the sweep by name, None where one was not given.
    """
    names = [name for name in SWEEP_OPTIONS if name not in but]

    def decorate(function: Function) -> Function:
        _, *own = inspect.signature(function, eval_str=True).parameters.values()
        sweep = [
            inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=SWEEP_OPTIONS[name])
            for name in names
        ]
        positional = [one for one in own if one.kind is not inspect.Parameter.KEYWORD_ONLY]
        parameters = [*positional, *sweep, *(one for one in own if one.kind is inspect.Parameter.KEYWORD_ONLY)]

        def command(*args: Any, **given: Any) -> None:
            asked = {name: given.pop(name, None) for name in names}
            function(asked, *args, **given)

        command.__doc__ = function.__doc__
        command.__name__ = function.__name__
        command.__annotations__ = {one.name: one.annotation for one in parameters}
        command.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]  # what typer reads
        return command

    return decorate
