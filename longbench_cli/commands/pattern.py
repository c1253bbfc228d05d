"""``longbench pattern``: what an attention sees, what that costs, and how far information gets."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from longbench_cli.commands import run_options as options
from longbench_cli.errors import UsageError

if TYPE_CHECKING:
    from attention_impls.pattern import Pattern
    from longbench_cli.present.pattern_picture import Picture
    from longbench_cli.present.pattern_view import PatternView
    from longbench_cli.sweep.plan import PlannedPoint

DEFAULT_SEQ = "64k"
DEFAULT_DEPTH = 12
"""Layers of LongNet's 125M model."""
_PIPE_WIDTH = 10_000
_PICTURE_WIDTH = 100
"""Letters of a line above a picture."""

_shape = partial(typer.Option, rich_help_panel="The shape", show_default=False)
_look = partial(typer.Option, rich_help_panel="What to look at", show_default=False)


def pattern(
    impl: Annotated[
        str, typer.Argument(help="An attention, or yours: package.module:function.", metavar="IMPL")
    ] = "dilated",
    *,
    seq: Annotated[
        str | None, _shape("--seq", metavar="N", help=f"Tokens, e.g. 8k or 1m (default: {DEFAULT_SEQ}).")
    ] = None,
    heads: Annotated[str | None, _shape("--heads", metavar="N", help="Query heads (default: 8).")] = None,
    kv_heads: Annotated[
        str | None, _shape("--kv-heads", metavar="N", help="Key and value heads (default: as many as --heads).")
    ] = None,
    head_dim: Annotated[str | None, _shape("--head-dim", metavar="N", help="Features of a head (default: 64).")] = None,
    causal: Annotated[
        str | None,
        _shape("--causal", metavar="true|false", help="Whether a query is kept from later keys (default: false)."),
    ] = None,
    schedule: options.Schedule = None,
    segments: options.Segments = None,
    dilations: options.Dilations = None,
    offsets: options.Offsets = None,
    pattern: options.Pattern = None,
    stride: options.Stride = None,
    columns: options.Columns = None,
    match_flops: options.MatchFlops = None,
    window: options.Window = None,
    head: Annotated[
        int | None, _look("--head", metavar="J", help="Look at one head, 0 being the first (default: all together).")
    ] = None,
    start: Annotated[
        str | None, _look("--start", metavar="T", help="Token to search from (default: the middle one).")
    ] = None,
    depth: Annotated[
        int, _look("--depth", metavar="HOPS", min=0, help=f"Layers; each is a hop (default: {DEFAULT_DEPTH}).")
    ] = DEFAULT_DEPTH,
    picture: Annotated[
        Path | None,
        _look("--picture", metavar="FILE", help="Draw the mask to FILE.svg, .html or .png (png needs kaleido)."),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of tables.")] = False,
) -> None:
    """Show what an attention sees: pairs, FLOPs, the phases its heads cover, and how far information gets.

    Nothing is run: all of it follows from the pattern, without a GPU and for up to 16m tokens.

    Exit codes: 0 shown; 2 usage.
    """
    from longbench_cli.present.pattern_picture import check_format, write_picture

    if picture is not None:
        check_format(picture)
    point = _one_point(
        impl,
        {
            "seq": DEFAULT_SEQ if seq is None else seq, "heads": heads, "kv_heads": kv_heads, "head_dim": head_dim,
            "causal": causal, "schedule": schedule, "segments": segments, "dilations": dilations, "offsets": offsets,
            "pattern": pattern, "stride": stride, "columns": columns, "match_flops": match_flops, "window": window,
        },
    )  # fmt: skip
    if head is not None and not 0 <= head < point.case.heads:
        raise UsageError(f"--head {head}: there are {point.case.heads} heads, 0 to {point.case.heads - 1}")
    seen = _pattern_of(point)
    view = _view(point, seen, head, _token(start, point.case.seq_len), depth)
    if picture is not None:
        write_picture(picture, _picture(point, seen, head))
    if as_json:
        typer.echo(json.dumps(view.as_json(None if picture is None else str(picture)), indent=2))
        return
    _print(view)
    if picture is not None:
        typer.echo(f"\npicture: {picture}")


def _one_point(impl: str, given: dict[str, str | None]) -> PlannedPoint:
    """The case that the options name, read and refused as ``longbench run`` does."""
    from attention_impls.api import UnknownImplementation, get_implementation
    from longbench_cli.sweep.fields import LIST_OPTIONS
    from longbench_cli.sweep.options import resolve
    from longbench_cli.sweep.plan import make_plan

    try:
        kind = get_implementation(impl).kind
    except UnknownImplementation as error:
        raise UsageError(str(error)) from error
    if kind == "model":
        raise UsageError(f"{impl} is a model, whose layers attend each in its own way: give the attention they use")
    resolved = resolve({**given, "impl": impl, "device": "cpu"})  # to name a device spares looking for one
    for name, text in given.items():
        values = getattr(resolved.values, name)
        if isinstance(values, list) and len(values) > 1 and name not in LIST_OPTIONS:
            raise UsageError(f"{resolved.where(name)} {text}: pattern looks at one case: give one value")
    (point,) = make_plan(resolved).points
    return point


def _pattern_of(point: PlannedPoint) -> Pattern:
    from attention_impls.api import get_implementation

    return get_implementation(point.case.impl).pattern(point.case.shape, point.case.options)


def _token(text: str | None, seq_len: int) -> int:
    from longbench_cli.sweep.axes import parse_lengths

    if text is None:
        return seq_len // 2
    found = [0] if text.strip() == "0" else parse_lengths(text, "--start")
    if len(found) != 1 or found[0] >= seq_len:
        raise UsageError(f"--start {text}: expected one token, 0 to {seq_len - 1}")
    return found[0]


def _view(point: PlannedPoint, seen: Pattern, head: int | None, start: int, depth: int) -> PatternView:
    from longbench_cli.analyse.pattern_facts import pattern_facts
    from longbench_cli.present.pattern_view import PatternView

    try:
        facts = pattern_facts(seen, start=start, depth=depth, head=head)
    except ValueError as error:  # too long a sequence, or a pattern that does not tell enough
        raise UsageError(f"{point.case.impl}: {error}") from error
    return PatternView(point.case, point.details, facts)


def _picture(point: PlannedPoint, seen: Pattern, head: int | None) -> Picture:
    from textwrap import wrap

    from longbench_cli.analyse.pattern_tiles import tile_pattern
    from longbench_cli.present.pattern_picture import Picture
    from longbench_cli.present.pattern_view import heads_taken, subtitle
    from longbench_cli.sweep.axes import format_length

    case = point.case
    chosen = range(case.heads) if head is None else range(head, head + 1)
    title = f"{case.impl} attention, N = {format_length(case.seq_len)}: the keys that each query sees"
    mask = "causal" if case.causal else "not causal"
    said = (f"{heads_taken(case.heads, head)}, {mask}", *subtitle(case, point.details))
    lines = tuple(part for line in said for part in wrap(line, _PICTURE_WIDTH))
    return Picture(title, lines, tile_pattern(seen, chosen))


def _print(view: PatternView) -> None:
    from rich.console import Console

    console = Console(highlight=False, markup=False)
    if not console.is_terminal:  # a pipe has no width: one line a sentence
        console.width = _PIPE_WIDTH
    for item in view.as_renderables():
        console.print(item)
