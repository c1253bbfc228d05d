"""What a report says about where and how a run was made, as pairs of name and text."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from longbench_cli.present.units import count, format_bytes, is_count

if TYPE_CHECKING:
    from longbench_cli.record.journal import Run

Facts = list[tuple[str, str]]

_LONGEST_NAME = 120


def run_facts(run: Run) -> Facts:
    """The run itself: when, with what, how much of it is there."""
    header = run.header
    done = len({point.key for point in run.points} & set(header.plan))
    facts = [
        ("run", header.run_id),
        ("created", header.created),
        ("longbench", header.version),
        ("file", run.path.name),
        ("points", f"{done} of {len(header.plan)} planned"),
    ]
    if header.profile is not None:
        facts.append(("profile", header.profile))
    return facts


def command_line(run: Run) -> str:
    """What was typed, quoted for a shell."""
    return shlex.join(run.header.argv)


def machine_of(run: Run) -> str:
    """The machine in a few words: its GPUs where they were used, else its CPU."""
    return machine_words(run.header.environment, gpu=any(point.case.device == "cuda" for point in run.points))


def machine_words(environment: Mapping[str, Any], *, gpu: bool) -> str:
    """The GPUs of a run's environment if one was used and they are known, else its CPU."""
    gpus = environment.get("gpus")
    if gpu and isinstance(gpus, list) and gpus:
        names = [str(one.get("name", "GPU") if isinstance(one, dict) else one) for one in gpus]
        return names[0] if len(names) == 1 else f"{len(names)} × {names[0]}"
    cpu, cores = environment.get("cpu"), environment.get("cores")
    described = [str(cpu)] if cpu else []
    if isinstance(cores, int):
        described.append(count(cores, "core"))
    return ", ".join(described)


COMMIT = 9
"""Characters of a commit, as git itself shortens it in a large repository."""


def flatten(values: dict[str, Any], prefix: str = "") -> Facts:
    """Nested values as ``outer.inner`` names; bytes readable; what is not known is left out."""
    facts: Facts = []
    for name, value in values.items():
        where = _shortened(f"{prefix}{name}")
        if isinstance(value, dict):
            facts += flatten(value, f"{where}.")
        elif isinstance(value, list) and any(isinstance(item, dict) for item in value):
            facts += flatten({str(index): item for index, item in enumerate(value)}, f"{where}.")
        elif value is not None:
            facts.append((where, _text(name, value)))
    return facts


def _shortened(where: str) -> str:
    """Names within names grow with their depth, and there is one for each value."""
    return where if len(where) <= _LONGEST_NAME else f"{where[: _LONGEST_NAME - 1]}…"


def _text(name: str, value: Any) -> str:
    if name.endswith("_bytes") and is_count(value):
        return format_bytes(value)
    if isinstance(value, bool):
        return "yes" if value else "no"
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)
