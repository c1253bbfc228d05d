"""``longbench list``: what there is to measure with."""

from __future__ import annotations

import json
from typing import Annotated, Any, Literal

import typer

What = Literal["impls", "backends", "profiles", "devices"]

_HEADERS = {"why_not": "why not", "memory_bytes": "memory"}
_PIPE_WIDTH = 10_000


def list_(
    what: Annotated[What, typer.Argument(help="impls, backends, profiles or devices.", metavar="WHAT")],
    *,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")] = False,
) -> None:
    """List implementations, back ends, profiles or devices."""
    rows = {"impls": _impls, "backends": _backends, "profiles": _profiles, "devices": _devices}[what]()
    if as_json:
        typer.echo(json.dumps(rows, indent=2))
    else:
        _print_table(rows)


def _impls() -> list[dict[str, Any]]:
    from attention_impls.api import implementations

    return [
        {"name": impl.name, "kind": impl.kind, "summary": impl.summary, "options": dict(impl.defaults)}
        for impl in implementations().values()
    ]


def _backends() -> list[dict[str, Any]]:
    from attention_impls.kernels.registry import backends

    return [
        {
            "name": backend.name,
            "device": device,
            "available": (reason := backend.why_unavailable(device)) is None,
            "why_not": reason,
            "summary": backend.summary,
        }
        for device in ("cpu", "cuda")
        for backend in backends(device).values()
    ]


def _profiles() -> list[dict[str, Any]]:
    import tomllib

    from longbench_cli.errors import UsageError
    from longbench_cli.resources import data_dir

    rows = []
    for path in sorted(data_dir("profiles").glob("*.toml")):
        try:
            profile = tomllib.loads(path.read_text(encoding="utf-8"))
        except (OSError, tomllib.TOMLDecodeError) as error:
            raise UsageError(f"{path}: {error}") from error
        rows.append({"name": path.stem, "description": profile.get("description", "")})
    return rows


def _devices() -> list[dict[str, Any]]:
    from longbench_cli.measure.machine import inspect_machine

    machine = inspect_machine()
    cpu = machine.cpu
    rows = [
        {
            "device": "cpu",
            "name": cpu.model,
            "memory_bytes": cpu.memory_total,
            "usable": True,
            "details": f"{cpu.physical_cores} cores, {cpu.threads} torch threads",
        }
    ]
    for gpu in machine.gpus:
        usable = gpu.index < machine.torch_gpus
        trouble = "" if usable else f", but torch {machine.torch} cannot use it"
        rows.append(
            {
                "device": f"cuda:{gpu.index}",
                "name": gpu.name,
                "memory_bytes": gpu.memory_total,
                "usable": usable,
                "details": f"driver {gpu.driver}{trouble}",
            }
        )
    return rows


def _print_table(rows: list[dict[str, Any]]) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table(box=None, pad_edge=False)
    for name in rows[0] if rows else ():
        table.add_column(_HEADERS.get(name, name), no_wrap=name in {"name", "device"})
    for row in rows:
        table.add_row(*(_cell(name, value) for name, value in row.items()))
    console = Console(highlight=False, markup=False)
    if not console.is_terminal:  # a pipe has no width: one line a row
        console.width = _PIPE_WIDTH
    console.print(table)


def _cell(name: str, value: Any) -> str:
    if name == "memory_bytes":
        return f"{value / 2**30:.1f} GiB"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, dict):
        # An option without a default is one all the same.
        return " ".join(key if item is None else f"{key}={item}" for key, item in value.items())
    return "" if value is None else str(value)
