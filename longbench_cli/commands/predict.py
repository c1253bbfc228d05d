"""``longbench predict``: what points would take that nobody has measured, from those that somebody has."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from longbench_cli.commands import run_options as options
from longbench_cli.commands.report import distinct, refuse_input
from longbench_cli.errors import UsageError
from longbench_cli.printable import printable

if TYPE_CHECKING:
    from attention_impls.api import Implementation
    from longbench_cli.analyse.prediction.families import Family
    from longbench_cli.analyse.prediction.held_out import Condition
    from longbench_cli.present.predict_view import Section
    from longbench_cli.sweep.hardware import Hardware
    from longbench_cli.sweep.options import ResolvedOptions

Format = Literal["table", "md", "json", "html"]

DEFAULT_SEQ = "1b"
_HERE = "Where it would run"
_OUTPUT = "Where it goes"
_NOT_OF_THE_SWEEP = frozenset({"files", "hardware", "link", "per_node", "hold_out", "format_", "output"})
_SIZES = ("seq", "gpus", "scaling", "batch", "heads", "kv_heads", "parallel")
"""Options that say what to predict; a point that is held out has its own."""


def predict(
    files: Annotated[
        list[Path] | None,
        typer.Argument(
            help="Run files, from which it is predicted. Without one, a roofline of --hardware.",
            metavar="[FILE]...",
            show_default=False,
        ),
    ] = None,
    *,
    impl: options.Impl = None,
    backend: options.Backend = None,
    seq: Annotated[
        str | None,
        typer.Option(
            "--seq",
            metavar="AXIS",
            help=f"Sequence lengths in tokens, as of longbench run (default: {DEFAULT_SEQ}).",
            rich_help_panel="What to sweep",
        ),
    ] = None,
    batch: options.Batch = None,
    heads: options.Heads = None,
    kv_heads: options.KvHeads = None,
    head_dim: options.HeadDim = None,
    dtype: options.Dtype = None,
    causal: options.Causal = None,
    pass_: options.Pass = None,
    gpus: options.Gpus = None,
    scaling: options.Scaling = None,
    device: options.Device = None,
    parallel: options.Parallel = None,
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
    hardware: Annotated[
        str | None,
        typer.Option(
            "--hardware",
            metavar="NAME|FILE.toml",
            help="Network and memory by a profile: a100, h100, h200, b200, cpu, or yours "
            "(default: that of the device measured on).",
            rich_help_panel=_HERE,
        ),
    ] = None,
    link: Annotated[
        str | None,
        typer.Option(
            "--link",
            metavar="NAME",
            help="Of the profile's links, the one between ranks of a node: nvlink, pcie (default: the profile's).",
            rich_help_panel=_HERE,
        ),
    ] = None,
    per_node: Annotated[
        int | None,
        typer.Option(
            "--per-node",
            metavar="RANKS",
            min=1,
            help="Ranks on a node (default: 8 GPUs; of a CPU all ranks share one machine).",
            rich_help_panel=_HERE,
        ),
    ] = None,
    hold_out: Annotated[
        str | None,
        typer.Option(
            "--hold-out",
            metavar="CONDITION",
            help="Instead: predict measured points from the rest, and say how wrong that was: 'seq>64k', 'gpus>2'.",
            rich_help_panel="How good it is",
        ),
    ] = None,
    format_: Annotated[Format, typer.Option("--format", "-f", help="What to make.", rich_help_panel=_OUTPUT)] = "table",
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", metavar="FILE", help="Where to, instead of stdout.", rich_help_panel=_OUTPUT),
    ] = None,
) -> None:
    """Predict time and memory of lengths, ranks and sizes that nobody has measured, with a 90% interval.

    From run files: a rate of each implementation fitted to its measured points, communication from records of
    several ranks or else from a hardware profile. Without run files: a roofline of --hardware. What fits in memory,
    resident or streamed, is said of every point. --hold-out checks all of it against points that were measured.

    The defaults below are a roofline's. From run files all is predicted that was measured, as it was measured, but
    for --seq and for --gpus.

    Exit codes: 0 predicted; 2 usage.
    """
    asked = {name: value for name, value in locals().items() if name not in _NOT_OF_THE_SWEEP and value is not None}
    if format_ == "html" and output is None:
        raise UsageError("--format html: a page goes to a file: give one with -o")
    if format_ == "html" and hold_out is not None:
        raise UsageError("--format html has no held-out points: leave out --hold-out, or choose table, md or json")
    if hold_out is not None:
        _refuse_sizes([*(name for name in _SIZES if name in asked), *(["per_node"] if per_node else [])])
    paths = distinct(files or [])
    if output is not None:
        refuse_input(output, paths)
    where = _Where(hardware, link, per_node)
    if paths:
        sections = _from_runs(paths, asked, where, hold_out)
    elif hold_out is not None:
        raise UsageError("--hold-out needs run files: points that were measured")
    elif hardware is None:
        raise UsageError("give run files to predict from, or --hardware NAME for a roofline of what was never measured")
    else:
        sections = [_roofline(asked, where)]
    _show(sections, format_, output)


class _Where:
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


def _from_runs(files: Sequence[Path], asked: dict[str, Any], where: _Where, hold_out: str | None) -> list[Section]:
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
    where: _Where,
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


def _roofline(asked: dict[str, Any], where: _Where) -> Section:
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


def _refuse_sizes(names: Sequence[str]) -> None:
    """Refuse what says what to predict, where it is known: the points that are held out."""
    if names:
        raise UsageError(
            f"--{names[0].replace('_', '-')}: what --hold-out holds out is predicted as it was measured: leave one out"
        )


def _warn(lines: Iterable[str]) -> None:
    for line in lines:
        typer.echo(printable(f"longbench: warning: {line}"), err=True)


def _show(sections: list[Section], format_: Format, output: Path | None) -> None:
    from longbench_cli.present.files import write_whole

    if format_ == "table":
        from longbench_cli.present.predict_terminal import render

        content = render(sections, plain=output is not None)
    elif format_ == "html":
        from longbench_cli.present.predict_page import render_predictions

        content = render_predictions(sections)
    else:
        from longbench_cli.present.predict_view import to_json, to_markdown

        content = {"md": to_markdown, "json": to_json}[format_](sections)
    if output is None:
        typer.echo(content, nl=False)
    else:
        write_whole(output, content)
        typer.echo(printable(f"predictions: {output}"))
