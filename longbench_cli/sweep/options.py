"""What the user asked for: command line over profile over defaults, each option with its source."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from longbench_cli.errors import UsageError
from longbench_cli.sweep.case import Device
from longbench_cli.sweep.fields import SweepOptions, Where, option_name, read_options
from longbench_cli.sweep.hardware import detect_device
from longbench_cli.sweep.profile import Profile, load_profile
from longbench_cli.sweep.settings import Settings

COMMAND_LINE = "command line"
DEFAULT = "default"

_EXCLUSIVE = (
    (("batch",), ("tokens",)),
    (("schedule",), ("segments", "dilations")),
    (("stride",), ("match_flops",)),
    (("preset",), ("heads", "kv_heads", "head_dim", "depth")),
)
"""Two ways to say one thing: within a layer an error, across layers the upper one's way is taken."""


@dataclass(frozen=True, slots=True)
class ResolvedOptions:
    """Every option with its value and where that came from.

    Attributes:
        values: the options; ``device`` may still say ``auto``.
        devices: the devices that ``values.device`` comes to on this machine.
        sources: option name to ``command line``, ``profile NAME`` or ``default``.
        profile: the profile, if one was asked for.
    """

    values: SweepOptions
    devices: tuple[Device, ...]
    sources: Mapping[str, str]
    profile: Profile | None

    @property
    def settings(self) -> Settings:
        """How it is measured, without what."""
        return Settings(**{name: getattr(self.values, name) for name in Settings.model_fields})

    def where(self, option: str) -> str:
        """Where ``option`` was given, to open a message with."""
        if self.profile and self.sources[option] == _profile_source(self.profile):
            return self.profile.where(option)
        return _flag(option)


def resolve(cli: Mapping[str, object]) -> ResolvedOptions:
    """Put the layers together. ``cli`` holds the command line by option name, None where not given.

    The name ``profile`` chooses the profile; ``pass_`` is taken for ``pass``. Device ``auto`` is
    ``cuda`` for more than one GPU or if torch sees one, else ``cpu``; only looking imports torch.

    Raises:
        UsageError: an unknown option or profile, a value that does not parse, two that exclude each other.
    """
    given = {option_name(name): value for name, value in cli.items() if value is not None}
    chosen = given.pop("profile", None)
    upper = read_options(given, _flag)
    _refuse_both_ways(_given(upper), _flag)
    layers = [(COMMAND_LINE, upper, _given(upper))]
    profile = None
    if chosen is not None:
        profile = load_profile(str(chosen))
        lower = _given(profile.options)
        _refuse_both_ways(lower, profile.where)
        layers.append((_profile_source(profile), profile.options, lower - _replaced(_given(upper))))

    values: dict[str, object] = {}
    sources: dict[str, str] = {}
    for field in SweepOptions.model_fields:
        name = option_name(field)
        source, options = next(((s, o) for s, o, names in layers if name in names), (DEFAULT, None))
        sources[name] = source
        if options is not None:
            values[field] = getattr(options, field)
    merged = SweepOptions().model_copy(update=values)
    resolved = ResolvedOptions(merged, _devices(merged), sources, profile)
    if merged.min_iterations > merged.max_iterations and sources["min_iterations"] != DEFAULT:
        raise UsageError(
            f"{resolved.where('min_iterations')} {merged.min_iterations}: above "
            f"{resolved.where('max_iterations')} {merged.max_iterations}; lower it or raise the other"
        )
    return resolved


def _given(options: SweepOptions) -> set[str]:
    return {option_name(field) for field in options.model_fields_set}


def _refuse_both_ways(names: set[str], where: Where) -> None:
    for one, other in _EXCLUSIVE:
        clash = [next((name for name in side if name in names), None) for side in (one, other)]
        if clash[0] and clash[1]:
            raise UsageError(f"{where(clash[0])} and {where(clash[1])} exclude each other: give one of them")


def _replaced(names: set[str]) -> set[str]:
    """Options that no longer count because ``names``, given above them, say it the other way."""
    dropped: set[str] = set()
    for one, other in _EXCLUSIVE:
        dropped.update(other if names & set(one) else (), one if names & set(other) else ())
    return dropped


def _devices(options: SweepOptions) -> tuple[Device, ...]:
    found: dict[Device, None] = {}
    for name in options.device:
        if name == "auto":
            # Asking for several GPUs is asking for GPUs; processes on a CPU are had by naming it.
            found["cuda" if max(options.gpus) > 1 else detect_device()] = None
        else:
            found["cuda" if name == "cuda" else "cpu"] = None
    return tuple(found)


def _profile_source(profile: Profile) -> str:
    return f"profile {profile.name}"


def _flag(option: str) -> str:
    return f"--{option.replace('_', '-')}"
