"""``longbench verify``: is an implementation right? Every check that applies, on one case of it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from functools import partial
from typing import TYPE_CHECKING, Annotated

import typer

from longbench_cli.commands import run_options as options
from longbench_cli.errors import UsageError

if TYPE_CHECKING:
    from longbench_cli.measure.checks.report import Report
    from longbench_cli.sweep.case import Case

EXIT_FAILED = 1
"""A check failed."""

ALL = "all"
_SHAPE = {"seq": "8k", "heads": "4", "head_dim": "32", "dtype": "fp32", "causal": "both"}
"""The case that is examined where nothing else is said; a sequence length is then chosen from 8k down."""

_what = partial(typer.Option, rich_help_panel="What to sweep", show_default=False)  # beside the options of run


def verify(
    impls: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[IMPL]...",
            help="Implementations as --impl of run takes them, yours as package.module:function, "
            "or all (default: all).",
            show_default=False,
        ),
    ] = None,
    *,
    seq: Annotated[
        str | None,
        _what(
            "--seq",
            metavar="AXIS",
            help="Sequence length in tokens; ragged ones follow from it (default: the shortest of 1k to 8k at which "
            "every part of the pattern acts; 8k for a model).",
        ),
    ] = None,
    heads: Annotated[str | None, _what("--heads", metavar="AXIS", help="Query heads (default: 4).")] = None,
    kv_heads: options.KvHeads = None,
    head_dim: Annotated[
        str | None, _what("--head-dim", metavar="AXIS", help="Features of a head (default: 32).")
    ] = None,
    dtype: Annotated[
        str | None,
        _what("--dtype", metavar="NAMES", help="fp32, fp16, bf16 (default: fp32, or bf16 if only that is taken)."),
    ] = None,
    causal: Annotated[
        str | None,
        _what("--causal", metavar="true|false|both", help="Whether a query is kept from later keys (default: both)."),
    ] = None,
    device: Annotated[
        str | None, _what("--device", metavar="NAMES", help="cpu, cuda, or auto: cuda if there is one (default: auto).")
    ] = None,
    backend: options.Backend = None,
    schedule: options.Schedule = None,
    segments: options.Segments = None,
    dilations: options.Dilations = None,
    offsets: options.Offsets = None,
    mixing_gradient: options.MixingGradient = None,
    pattern: options.Pattern = None,
    stride: options.Stride = None,
    columns: options.Columns = None,
    match_flops: options.MatchFlops = None,
    window: options.Window = None,
    preset: options.Preset = None,
    depth: options.Depth = None,
    ff_mult: options.FfMult = None,
    vocab: options.Vocab = None,
    feed_forward: options.FeedForward = None,
    qk_norm: options.QkNorm = None,
    parallel_block: options.ParallelBlock = None,
    attention: options.AttentionOf = None,
    block_width: options.BlockWidth = None,
    states: options.States = None,
    compressed_memory: options.CompressedMemory = None,
    bptt: options.Bptt = None,
    levels: options.Levels = None,
    seed: options.Seed = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of text.")] = False,
) -> None:
    """Check an implementation in every way that applies: shapes, values, pattern, gradients, independence.

    Exit codes: 0 no check failed; 1 a check failed; 2 usage.
    """
    asked = {name: value for name, value in locals().items() if name not in {"impls", "as_json"}}
    from longbench_cli.measure.checks.report import examine
    from longbench_cli.present import checks_view

    names = _names(impls or [ALL])
    reports: list[Report] = []
    for case, number in _cases(names, asked):
        report = examine(case, number, narrower=dtype is None)
        reports.append(report)
        if not as_json:
            typer.echo("\n".join(checks_view.as_lines(report)) + "\n")
    if as_json:
        typer.echo(json.dumps([checks_view.as_json(report) for report in reports], indent=2))
    else:
        typer.echo("\n".join(checks_view.summary(reports)))
    if not any(report.examined for report in reports):
        raise UsageError(f"{reports[0].case.impl}: {reports[0].results[0].detail}")
    if any(report.failed for report in reports):
        raise typer.Exit(EXIT_FAILED)


def _names(words: list[str]) -> list[str]:
    """The implementations that are meant, each once and known."""
    from attention_impls.api import UnknownImplementation, get_implementation, implementations
    from longbench_cli.sweep.axes import parse_words

    names: dict[str, None] = {}
    for name in (name for word in words for name in parse_words(word, "IMPL")):
        names.update(dict.fromkeys(implementations() if name == ALL else [name]))
    for name in names:
        try:
            get_implementation(name)
        except UnknownImplementation as error:
            raise UsageError(str(error)) from error
    return list(names)


def _cases(names: list[str], asked: dict[str, str | int | None]) -> Iterator[tuple[Case, int]]:
    """What to examine, an implementation at a time, and the seed; refused as ``longbench run`` refuses it."""
    from longbench_cli.commands.run_checks import refuse_unrunnable, visible_gpus
    from longbench_cli.sweep.options import resolve
    from longbench_cli.sweep.plan import make_plan

    sized_by_preset = {"heads", "head_dim"} if asked["preset"] is not None else set()
    defaults = {name: value for name, value in _SHAPE.items() if name not in sized_by_preset}
    given = {name: value for name, value in asked.items() if value is not None}
    resolved = resolve({"impl": ",".join(names), **defaults, **given})
    plan = make_plan(resolved)
    refuse_unrunnable(plan, device_left_open="auto" in resolved.values.device, gpus_found=visible_gpus)
    cases = [point.case for point in plan.points]
    for case in sorted(cases, key=lambda case: names.index(case.impl)):
        length = case.seq_len if "seq" in given else _length(case)
        yield case.model_copy(update={"seq_len": length}), resolved.values.seed


def _length(case: Case) -> int:
    """The length to examine a case at that was planned at the longest of the default ones."""
    from dataclasses import replace

    from attention_impls.api import get_implementation
    from longbench_cli.measure.checks.lengths import acting_length

    implementation = get_implementation(case.impl)
    if implementation.model is not None:
        return case.seq_len
    return acting_length(lambda n: implementation.pattern(replace(case.shape, seq_len=n), case.options))
