"""What ``longbench predict`` is asked to look at: families of measured points, or a roofline, and on which hardware."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from longbench_cli.errors import UsageError
from longbench_cli.printable import printable

if TYPE_CHECKING:
    from attention_impls.api import Implementation
    from longbench_cli.analyse.prediction.families import Family
    from longbench_cli.analyse.prediction.held_out import Condition
    from longbench_cli.present.predict_view import Section
    from longbench_cli.sweep.hardware import Hardware
    from longbench_cli.sweep.options import ResolvedOptions

DEFAULT_SEQ = "1b"


class Where:
    """The profile asked for, and what the user says of the machines beside it."""

    def __init__(self, name: str | None, link: str | None, per_node: int | None) -> None:
        self.name, self.link, self.per_node = name, link, per_node

    def profile(self) -> Hardware | None:
        from longbench_cli.sweep.hardware import find_hardware

        return self._linked(find_hardware(self.name)) if self.name is not None else None

    def profile_of(self, family: Family) -> Hardware:
        """The one asked for, which must be of what was measured on; else the shipped one."""
        from longbench_cli.sweep.hardware import hardware_for, load_hardware

        machine, given = family.machine, self.profile()
        if given is not None:
            same = given.device == machine.device and (given.match or "").lower() in machine.name.lower()
            if not same:
                raise UsageError(
                    f"--hardware {self.name}: these points were measured on {machine.name}, and no rate is carried "
                    "from one device to another: leave out the run files for a roofline, or --hardware"
                )
            return given
        if machine.device == "cpu":
            return self._linked(load_hardware("cpu"))
        found = hardware_for(machine.name)
        if found is None:
            raise UsageError(f"{machine.name}: no profile describes it: write one and give --hardware FILE.toml")
        return self._linked(found)

    def ranks_per_node(self, hardware: Hardware) -> int | None:
        return self.per_node or hardware.network.ranks_per_node

    def _linked(self, hardware: Hardware) -> Hardware:
        from longbench_cli.sweep.axes import one_of

        if self.link is None:
            return hardware
        network = hardware.network
        if self.link not in network.links:
            raise UsageError(f"--link {self.link}: {hardware.name}: {one_of(self.link, network.links)}")
        return hardware.model_copy(update={"network": network.model_copy(update={"within": self.link})})


def sections_of_runs(files: Sequence[Path], asked: dict[str, Any], where: Where, hold_out: str | None) -> list[Section]:
    """One section a family that the options choose: predictions, or with ``hold_out`` how wrong they were.

    Raises:
        UsageError: run files or options from which nothing can be predicted.
    """
    from longbench_cli.analyse.prediction.families import families_of
    from longbench_cli.analyse.prediction.held_out import parse_condition
    from longbench_cli.analyse.prediction.targets import chosen, refuse_idle
    from longbench_cli.record.loading import load_run

    runs = [load_run(path) for path in files]
    _warn(warning for run in runs for warning in run.warnings)
    given = {name.rstrip("_"): str(value) for name, value in asked.items()}
    options = _resolve(asked)
    families = chosen(families_of(runs), options, given)
    condition = parse_condition(hold_out) if hold_out is not None else None
    machines = list(dict.fromkeys(family.machine.label for family in families))
    if len(machines) > 1:
        _warn([f"{len(machines)} machines, each fitted apart: {'; '.join(machines)}"])
    named = str(asked.get("impl") or "").split(",")
    known, skipped = [], []
    for family in families:
        why = _too_little(family)
        if why is None:
            known.append((family, _implementation(family, named)))
        else:
            skipped.append(why)
    if not known:
        raise UsageError(f"{skipped[0]}: measure it at another length too")
    refuse_idle([impl for _, impl in known], options, given)
    sections = []
    for family, impl in known:
        try:
            sections.append(_section(family, impl, options, given, where, condition))
        except ValueError as error:  # what an implementation says of options that do not fit
            raise UsageError(f"{family.label}: {error}: predict other sizes, or other run files") from error
    _warn(f"{why}: not predicted" for why in skipped)
    if condition is not None and not any(section.held_out for section in sections):
        raise UsageError(
            f"--hold-out {hold_out}: holds out no measured point whose rest has two lengths: choose another"
        )
    return sections


def _section(
    family: Family,
    impl: Implementation,
    options: ResolvedOptions,
    given: Mapping[str, str],
    where: Where,
    condition: Condition | None,
) -> Section:
    from longbench_cli.analyse.prediction.forecast import FamilyModel
    from longbench_cli.analyse.prediction.held_out import hold_out
    from longbench_cli.analyse.prediction.model import leave_one_out
    from longbench_cli.analyse.prediction.targets import cases_of
    from longbench_cli.present.predict_view import Section

    hardware = where.profile_of(family)
    network = hardware.network
    errors = tuple(leave_one_out(family.points, family.machine.cores, network))
    if condition is not None:
        rows = hold_out(family, impl, condition, network)
        warnings = ("what is not held out has one length only: nothing to fit to",) if rows is None else ()
        return Section(family.label, family, errors, (), tuple(rows or ()), warnings)
    room = hardware.memory_bytes if where.name else family.machine.memory_bytes or hardware.memory_bytes
    model = FamilyModel(family, impl, hardware, room, where.ranks_per_node(hardware))
    forecasts = tuple(model.forecast(case) for case in cases_of(family, impl, options, given))
    return Section(family.label, family, errors, forecasts, None)


def roofline_section(asked: dict[str, Any], where: Where) -> Section:
    """What the hardware that was asked for could do at best; nothing of it is measured.

    Raises:
        UsageError: options that a roofline does not have.
    """
    from attention_impls.api import get_implementation
    from longbench_cli.analyse.prediction.forecast import roofline
    from longbench_cli.present.predict_view import Section
    from longbench_cli.sweep.hardware import usable_cores
    from longbench_cli.sweep.plan import make_plan

    hardware = where.profile()
    assert hardware is not None  # noqa: S101 (the caller has looked)
    if hardware.device == "cpu" and where.per_node is not None:
        raise UsageError("--per-node: a roofline of a CPU is of one machine: leave it out, or give run files")
    if "device" in asked:
        raise UsageError("--device: a roofline is of the device of --hardware: leave it out")
    cases = [point.case.model_copy(update={"device": hardware.device}) for point in make_plan(_resolve(asked)).points]
    forecasts = tuple(
        roofline(case, get_implementation(case.impl), hardware, where.ranks_per_node(hardware), usable_cores())
        for case in cases
    )
    return Section(
        f"{', '.join(dict.fromkeys(case.impl for case in cases))} on {hardware.name}", None, (), forecasts, None
    )


def _resolve(asked: dict[str, Any]) -> ResolvedOptions:
    """The options of a sweep; a device is named so that none is looked for, which would import torch."""
    from longbench_cli.sweep.options import resolve

    return resolve({"seq": DEFAULT_SEQ, "device": "cpu"} | asked)


def _implementation(family: Family, named: Sequence[str]) -> Implementation:
    """What a family is of. A run file is data: code is imported only for what the command line names."""
    from attention_impls.api import UnknownImplementation, get_implementation

    name = family.case.impl
    if ":" in name and name not in named:
        raise UsageError(
            f"{name}: code is imported only for what a command line names: if you trust it, add --impl {name}"
        )
    try:
        return get_implementation(name)
    except UnknownImplementation as error:
        raise UsageError(f"--impl {name}: {error}") from error


def _too_little(family: Family) -> str | None:
    from longbench_cli.analyse.prediction.model import can_fit
    from longbench_cli.sweep.axes import format_length

    if can_fit(family.points):
        return None
    return f"{family.label}: measured at one length only ({format_length(family.points[0].case.seq_len)})"


def _warn(lines: Iterable[str]) -> None:
    for line in lines:
        typer.echo(printable(f"longbench: warning: {line}"), err=True)
