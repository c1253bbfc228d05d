"""``longbench doctor``: what this machine can measure, and how well."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from longbench_cli.present.examination import Examination

SECONDS_PER_DEVICE = 3.0


def doctor(
    *,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of text.")] = False,
) -> None:
    """Say what this machine can measure, how well, and what would improve it. Takes about 10 seconds."""
    found = examine(SECONDS_PER_DEVICE)
    if as_json:
        typer.echo(json.dumps(found.as_json(), indent=2))
    else:
        for line in found.as_lines():
            typer.echo(line)


def examine(seconds: float) -> Examination:
    """Inspect the machine and measure each device that torch can use for about ``seconds``."""
    from attention_impls.kernels.registry import backends
    from longbench_cli import __version__
    from longbench_cli.analyse.advice import advise
    from longbench_cli.measure.capability import measure_timer
    from longbench_cli.measure.machine import inspect_machine
    from longbench_cli.measure.probe import measure_device
    from longbench_cli.present.examination import BackendState, Examination

    machine = inspect_machine()
    devices = ["cpu", "cuda"] if machine.torch_gpus else ["cpu"]
    states = [
        BackendState(backend.name, device, backend.why_unavailable(device))
        for device in ("cpu", "cuda")
        for backend in backends(device).values()
    ]
    rates = [measure_device(device, seconds) for device in devices]
    missing = {state.name: state.why_not for state in states if state.device in devices and state.why_not}
    return Examination(
        version=__version__,
        machine=machine,
        backends=states,
        timer=measure_timer(),
        rates=rates,
        advice=advise(machine, rates, missing),
    )
