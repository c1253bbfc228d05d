"""The run file that a command line stands for: its name, its header, and whether another goes on with it."""

from __future__ import annotations

import json
import re
import uuid
from collections.abc import Mapping
from datetime import UTC, datetime
from itertools import count
from pathlib import Path
from typing import Any

from longbench_cli import __version__
from longbench_cli.errors import UsageError
from longbench_cli.record.environment import environment
from longbench_cli.record.loading import Run
from longbench_cli.record.schema import RunHeader
from longbench_cli.sweep.plan import Plan
from longbench_cli.sweep.settings import Settings

_WORDS = ["longbench", "run"]
_SHOWN_KEYS = 3
_SAME_MACHINE = ("cpu", "cores", "gpus", "packages", "python")


def default_path(plan: Plan, folder: Path, now: datetime) -> Path:
    """A new file in ``folder``, named by the time in UTC and by the profile or the implementations."""
    impls = "-".join(dict.fromkeys(point.case.impl for point in plan.points))
    name = Path(plan.profile).stem if plan.profile else impls
    stem = f"{now:%Y%m%dT%H%M%SZ}-{re.sub(r'[^A-Za-z0-9._-]+', '-', name)[:60]}"
    tries = (folder / f"{stem}{'' if number == 1 else f'-{number}'}.jsonl" for number in count(1))
    return next(path for path in tries if not path.exists())


def make_header(plan: Plan, asked: Mapping[str, object], now: datetime | None = None) -> RunHeader:
    """The first line of a run of ``plan``; ``asked`` are the options of the sweep as given."""
    return RunHeader(
        run_id=uuid.uuid4().hex,
        created=f"{now or datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}",
        argv=to_argv(asked),
        version=__version__,
        profile=plan.profile,
        settings=plan.settings.model_dump(mode="json"),
        plan=[point.key for point in plan.points],
        environment=environment(),
    )


def to_argv(asked: Mapping[str, object]) -> list[str]:
    """The command line that asks for the same sweep: only what decides what is measured, and how."""
    words = list(_WORDS)
    for name, value in asked.items():
        if value is not None:
            words += [f"--{name.rstrip('_').replace('_', '-')}", str(value)]
    return words


def from_argv(header: RunHeader, path: Path) -> dict[str, object]:
    """The options of the sweep that :func:`to_argv` wrote.

    Raises:
        UsageError: the recorded command line is of another kind.
    """
    words = header.argv[len(_WORDS) :]
    names, values = words[::2], words[1::2]
    if header.argv[: len(_WORDS)] != _WORDS or len(names) != len(values):
        raise UsageError(f"{path}: line 1: argv: cannot be asked for again: give the sweep's options beside --resume")
    asked: dict[str, object] = {}
    for name, value in zip(names, values, strict=True):
        option = name.removeprefix("--").replace("-", "_")
        asked[option] = json.loads(value) if option in Settings.model_fields else value
    return asked


def refuse_other_plan(run: Run, header: RunHeader) -> None:
    """Refuse to go on with ``run`` by what would be another sweep.

    Raises:
        UsageError: its points or its settings differ; says which.
    """
    differences = [
        f"{name} is {_shown(header.settings.get(name))} here and {_shown(run.header.settings.get(name))} there"
        for name in sorted(header.settings.keys() | run.header.settings.keys())
        if header.settings.get(name) != run.header.settings.get(name)
    ]
    here, there = set(header.plan), set(run.header.plan)
    for more, less, where in ((header.plan, there, "here"), (run.header.plan, here, "there")):
        if only := [key for key in more if key not in less]:
            shown = ", ".join(only[:_SHOWN_KEYS]) + (", ..." if len(only) > _SHOWN_KEYS else "")
            differences.append(f"{len(only)} of {len(more)} points only {where} ({shown})")
    if differences:
        raise UsageError(
            f"--resume {run.path}: not the same sweep: {'; '.join(differences)}: "
            "give the same options, or none to take those of the file, or choose another file"
        )


def machine_warning(run: Run, header: RunHeader) -> str | None:
    """What a reader must know of a run that goes on where it did not begin."""
    then, now = run.header.environment, header.environment
    changed = [name for name in _SAME_MACHINE if then.get(name) != now.get(name)]
    if not changed:
        return None
    return f"{run.path}: was begun elsewhere ({', '.join(changed)} differ): its points may not be comparable"


def _shown(value: Any) -> str:
    return json.dumps(value)
