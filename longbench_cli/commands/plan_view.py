"""``longbench run --dry-run``: what would be measured, what it would take, and what would be left out."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from functools import cache, partial
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from longbench_cli.present.series import Varied, format_options, format_varied, varied_options
from longbench_cli.sweep.axes import format_length
from longbench_cli.sweep.case import Case, Device
from longbench_cli.sweep.hardware import free_bytes, gpu_name, hardware_of
from longbench_cli.sweep.plan import Plan, PlannedPoint
from longbench_cli.sweep.predict import Execution, execution_of, prune_reason
from longbench_cli.sweep.units import format_bytes, format_flops, format_seconds

_PLAIN_WIDTH = 160
"""Columns where the output is no terminal: reasons stay on one line."""

_ALWAYS: dict[str, Callable[[Case], str]] = {
    "impl": lambda case: case.impl,
    "seq": lambda case: format_length(case.seq_len),
    "pass": lambda case: case.pass_,
}
_WHERE_THEY_DIFFER: dict[str, Callable[[Case], str]] = {
    "batch": lambda case: format_length(case.batch),
    "heads": lambda case: str(case.heads),
    "kv-heads": lambda case: str(case.kv_heads),
    "head-dim": lambda case: str(case.head_dim),
    "dtype": lambda case: case.dtype,
    "causal": lambda case: str(case.causal).lower(),
    "gpus": lambda case: str(case.world_size),
    "device": lambda case: case.device,
    "backend": lambda case: case.backend,
}


def print_plan(
    plan: Plan,
    *,
    as_json: bool = False,
    console: Console | None = None,
    free: Callable[[Device], int] = free_bytes,
) -> None:
    """Print every point with its cost, prediction and fate; as JSON, one object a line.

    Args:
        plan: what to print.
        as_json: whether a program reads it.
        console: where to; standard output if None.
        free: free memory of a device, in bytes.
    """
    console = console or _console()
    known_free = cache(free)  # asked once a device, so that every point is judged by the same number
    fates = [
        None
        if point.refused
        else prune_reason(point, plan.settings, known_free(point.case.device), point.predicted_seconds)
        for point in plan.points
    ]
    executions = {p.key: execution_of(p, plan.settings, known_free(p.case.device)) for p in plan.points}
    if as_json:
        for point, reason in zip(plan.points, fates, strict=True):
            values = _json(point, reason) | {"execution": executions[point.key]}
            console.file.write(json.dumps(values) + "\n")
        return
    columns = {name: show for name, show in _WHERE_THEY_DIFFER.items() if len(_values(plan, show)) > 1}
    varied = varied_options(point.case for point in plan.points)
    if any(varied.values()):
        columns["options"] = partial(format_varied, varied=varied)
    console.print(_table(plan, fates, executions, {**_ALWAYS, **columns}))
    for line in _footer(plan, fates, columns, varied):
        console.print(Text(line))


def _console() -> Console:
    console = Console(highlight=False)
    if not console.is_terminal:
        console.width = _PLAIN_WIDTH
    return console


def _table(
    plan: Plan,
    fates: list[str | None],
    executions: dict[str, Execution],
    columns: dict[str, Callable[[Case], str]],
) -> Table:
    streamed = "streamed" in executions.values()
    table = Table(box=None, pad_edge=False, header_style="bold")
    for name in columns:
        table.add_column(name, justify="right" if name == "seq" else "left", no_wrap=True)
    per_rank = " a rank" if any(point.case.world_size > 1 for point in plan.points) else ""
    for name in ("FLOPs", "inputs", "time", f"memory{per_rank}"):
        table.add_column(name, justify="right", no_wrap=True)
    if streamed:
        table.add_column("execution", no_wrap=True)
    exchanged = any(point.cost.comm_bytes for point in plan.points)
    if exchanged:
        table.add_column("exchanged", justify="right", no_wrap=True)
    table.add_column("not measured", overflow="fold")
    for point, reason in zip(plan.points, fates, strict=True):
        cells = [
            *(show(point.case) for show in columns.values()),
            format_flops(point.cost.flops),
            format_bytes(point.input_bytes),
            format_seconds(point.predicted_seconds),
            format_bytes(point.predicted_bytes),
            *([executions[point.key]] if streamed else []),
            *([format_bytes(point.cost.comm_bytes)] if exchanged else []),
            f"unsupported: {point.refused}" if point.refused else reason or "",
        ]
        table.add_row(*map(Text, cells), style="dim" if point.refused or reason else None)
    return table


def _footer(
    plan: Plan, fates: list[str | None], columns: dict[str, Callable[[Case], str]], varied: Varied
) -> Iterator[str]:
    """What all points share, the totals, what the predictions assume, and where the settings came from."""
    common = [f"{name} {_values(plan, show).pop()}" for name, show in _WHERE_THEY_DIFFER.items() if name not in columns]
    yield f"all points: {', '.join(common)}"
    for impl, case in {point.case.impl: point.case for point in plan.points}.items():
        if same := format_options({name: value for name, value in case.options.items() if name not in varied[impl]}):
            yield f"{impl}: {same}"
    unsupported = sum(point.refused is not None for point in plan.points)
    pruned = sum(reason is not None for reason in fates)
    left = f", {unsupported} unsupported" if unsupported else ""
    yield f"{len(fates)} points: {len(fates) - pruned - unsupported} to measure, {pruned} pruned{left}"
    for device in sorted({point.case.device for point in plan.points}):
        absent = device == "cuda" and gpu_name() is None
        yield f"predicted for: {hardware_of(device).name}{', though no GPU is present' if absent else ''}"
    yield f"settings: {_sources(plan)}"


def _values(plan: Plan, show: Callable[[Case], str]) -> set[str]:
    return {show(point.case) for point in plan.points}


def _sources(plan: Plan) -> str:
    """Where every setting that is not a default came from, by source."""
    by_source: dict[str, list[str]] = {}
    for name, source in plan.sources.items():
        value = getattr(plan.settings, name, None)
        by_source.setdefault(source, []).append(
            name if value is None or isinstance(value, bool) else f"{name} {_setting(value)}"
        )
    by_source.pop("default", None)
    given = [f"{', '.join(names)} from the {source}" for source, names in by_source.items()]
    return "; ".join([*given, "the rest are defaults"])


def _setting(value: float | str) -> str:
    return value if isinstance(value, str) else f"{value:g}"


def _json(point: PlannedPoint, reason: str | None) -> dict[str, Any]:
    return {
        "key": point.key,
        "case": point.case.model_dump(by_alias=True),
        "details": point.details,
        "cost": {
            "flops": point.cost.flops,
            "dense_flops": point.cost.dense_flops,
            "io_bytes": point.cost.io_bytes,
            "comm_bytes": point.cost.comm_bytes,
        },
        "input_bytes": point.input_bytes,
        "predicted_seconds": point.predicted_seconds,
        "predicted_bytes": point.predicted_bytes,
        "prune_reason": reason,
        "unsupported_reason": point.refused,
    }
