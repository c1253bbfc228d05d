"""The run file that a command line stands for: its name, its header, and whether another goes on with it."""

from __future__ import annotations

import json
import re
import shlex
import uuid
from collections.abc import Mapping
from datetime import UTC, datetime
from itertools import count, pairwise
from pathlib import Path
from typing import Any

from longbench_cli import __version__
from longbench_cli.errors import UsageError
from longbench_cli.record.environment import environment
from longbench_cli.record.loading import Run
from longbench_cli.record.schema import RunHeader
from longbench_cli.sweep.axes import shown
from longbench_cli.sweep.fields import OPTION_NAMES, option_name
from longbench_cli.sweep.plan import Plan
from longbench_cli.sweep.profile import is_file_name
from longbench_cli.sweep.settings import Settings

_WORDS = ["longbench", "run"]
_SHOWN_KEYS = 3
_LONGEST_COMMAND = 600
_NUMBERS = frozenset(Settings.model_fields) - {"chunk", "cache", "graphs", "order"}
"""Options that the command line reads as numbers."""
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
        if value is not None and value is not False:
            words += [_flag(name)] if value is True else [_flag(name), str(value)]
    return words


def _flag(name: str) -> str:
    return f"--{name.rstrip('_').replace('_', '-')}"


def from_argv(header: RunHeader, path: Path) -> dict[str, object]:
    """The options of the sweep that :func:`to_argv` wrote.

    Raises:
        UsageError: the recorded command line is of another kind.
    """
    refusal = f"{path}: line 1: argv: cannot be asked for again: give the sweep's options beside --resume"
    words = header.argv[len(_WORDS) :]
    starts = [i for i, word in enumerate(words) if word.startswith("--")]
    spans = [words[i:j] for i, j in pairwise([*starts, len(words)])]
    if header.argv[: len(_WORDS)] != _WORDS or starts[:1] != [0] * bool(words) or any(len(s) > 2 for s in spans):
        raise UsageError(refusal)
    asked: dict[str, object] = {}
    for flag, *value in spans:
        option = option_name(flag.removeprefix("--").replace("-", "_"))
        if option not in OPTION_NAMES and option != "profile":
            raise UsageError(refusal)
        try:
            asked[option] = _read(option, value[0]) if value else True
        except (ValueError, RecursionError):
            raise UsageError(refusal) from None
    return asked


def resumed_options(header: RunHeader, path: Path) -> dict[str, object]:
    """The options to go on with ``path`` by, from its own header.

    Raises:
        UsageError: as :func:`from_argv`; or they lead to code: a run file is data, and may be anybody's.
    """
    asked = from_argv(header, path)
    if code := _code_in(asked):
        command = resume_command(asked, path)
        retype = f"type: {command}" if len(command) <= _LONGEST_COMMAND else "give its options again beside --resume"
        raise UsageError(
            f"--resume {path}: its sweep uses {shown(code)}, and code is imported only for what a command line names: "
            f"if you trust it, {retype}"
        )
    return asked


def resume_command(asked: Mapping[str, object], path: Path) -> str:
    """What to type to go on with ``path``: the options too where they lead to code."""
    return shlex.join([*(to_argv(asked) if _code_in(asked) else _WORDS), "--resume", str(path)])


def _code_in(asked: Mapping[str, object]) -> str | None:
    """The first module path, or profile of the user's own (which may name one), among the options."""
    profile = str(asked.get("profile") or "")
    impls = str(asked.get("impl") or "").split(",")
    return profile if is_file_name(profile) else next((name.strip() for name in impls if ":" in name), None)


def _read(option: str, text: str) -> object:
    """A number where the option is one, as the command line itself would give it."""
    return json.loads(text) if option in _NUMBERS else text


def refuse_other_plan(run: Run, header: RunHeader) -> None:
    """Refuse to go on with ``run`` by what would be another sweep.

    Raises:
        UsageError: its points or its settings differ; says which.
    """
    # A setting that an older longbench did not know yet had what is now its default.
    settings = Settings().model_dump(mode="json") | run.header.settings
    differences = [
        f"{name} is {_shown(header.settings.get(name))} here and {_shown(settings[name])} there"
        for name in sorted(settings)
        if header.settings.get(name) != settings[name]
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
