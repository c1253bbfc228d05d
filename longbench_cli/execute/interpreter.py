"""One side of a duet: an interpreter, the folder that its processes run in, and what it would run there."""

from __future__ import annotations

import json
import os
import re
import shutil
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from longbench_cli.errors import UsageError
from longbench_cli.execute.ask import Answer, Ask, ask
from longbench_cli.execute.protocol import DUET_PROTOCOL

PROBE: Final = "longbench_cli.record.side"
PROBE_S: Final = 300.0
"""Longest that a side may take to import what it would run: torch, from a cold network disk."""

_NOT_FOUND = re.compile(r"No module named '?longbench_cli(?P<inside>\.)?")
_PATH_OF_OTHERS: Final[dict[str, str | None]] = {"PYTHONPATH": None, "PYTHONHOME": None}


@dataclass(frozen=True, slots=True)
class Interpreter:
    """How the processes of a side are started.

    Attributes:
        python: absolute, but not resolved: the interpreter of a virtual environment is a link, and finds its packages
            by where the link is.
        cwd: where its processes run. ``python -m`` puts it first among the places of modules.
        label: what the user calls this side.
        variables: environment variables that its processes have set, or (None) lack.
    """

    python: Path
    cwd: Path
    label: str
    variables: Mapping[str, str | None] = field(default_factory=dict)

    def command(self, module: str, *words: str) -> tuple[str, ...]:
        """The words that run ``module`` with the variables of this side; to be started in :attr:`cwd`."""
        gone = [word for name, value in self.variables.items() if value is None for word in ("-u", name)]
        put = [f"{name}={value}" for name, value in self.variables.items() if value is not None]
        prefix = ("env", *gone, *put) if self.variables else ()
        return (*prefix, str(self.python), "-m", module, *words)


@dataclass(frozen=True, slots=True)
class Probed:
    """What an interpreter would run: ``version`` of longbench, of Python, where its longbench and it run."""

    interpreter: Interpreter
    version: str
    python_version: str
    location: str
    environment: dict[str, Any]


def current(label: str = "this environment") -> Interpreter:
    """The interpreter that runs this, in the current directory: what is being worked on here."""
    return Interpreter(Path(sys.executable), Path.cwd(), label)


@contextmanager
def installed(python: str, label: str | None = None) -> Iterator[Interpreter]:
    """An interpreter as a user names it, in an empty folder of its own: only what is installed in it counts.

    Neither the current directory's modules nor those of PYTHONPATH are found: else both sides would import them.

    Raises:
        UsageError: there is no such program.
    """
    found = python if os.sep in python else shutil.which(python)
    if found is None:
        raise UsageError(f"{python}: no such interpreter on PATH: give the path of one, like .venv/bin/python")
    with tempfile.TemporaryDirectory(prefix="longbench-side-", ignore_cleanup_errors=True) as folder:
        path = Path(found).expanduser().absolute()
        home = Path(folder).resolve()
        yield Interpreter(path, home, label or python, _PATH_OF_OTHERS | own_builds(home))


def own_builds(folder: Path) -> dict[str, str]:
    """Where torch puts extensions that are compiled on import: by name, so that each side needs a place of its own."""
    return {"TORCH_EXTENSIONS_DIR": str(folder / "torch-extensions")}


def probe(interpreter: Interpreter, impls: Sequence[str], *, seconds: float = PROBE_S, run: Ask = ask) -> Probed:
    """Ask ``interpreter`` what it would run, and whether it finds each of ``impls`` there.

    Raises:
        UsageError: it cannot be started or does not answer; it has no longbench, or one that cannot take part in a
            duet with this one, or that does not import; it does not find an implementation.
    """
    python, label = interpreter.python, interpreter.label
    if not python.is_file():
        raise UsageError(f"{python}: no such interpreter: give the path of one, like .venv/bin/python")
    if not os.access(python, os.X_OK):
        raise UsageError(f"{python}: is not executable: give the path of an interpreter, like .venv/bin/python")
    try:
        answer = run(interpreter.command(PROBE, *impls), interpreter.cwd, seconds)
    except OSError as error:
        raise UsageError(f"{python}: cannot be started: {error.strerror}: give the path of an interpreter") from None
    told = _told(answer.stdout)
    if told is None and answer.code is None:
        raise UsageError(f"{label}: did not answer within {seconds:.0f} s: does `import torch` hang there?")
    if told is None:
        raise UsageError(_silence(interpreter, answer))
    if told.get("protocol") != DUET_PROTOCOL:
        raise UsageError(
            f"{label}: its longbench {told.get('version')} speaks duet {told.get('protocol')}, this one "
            f"{DUET_PROTOCOL}: install the same version on both sides"
        )
    for reason in told["impls"].values():
        if reason is not None:
            raise UsageError(f"{label}: {reason}: a gate compares what both sides have")
    return Probed(interpreter, told["version"], told["python"], told["location"], told["environment"])


def _told(printed: str) -> dict[str, Any] | None:
    """The answer among whatever else was printed by what it imported."""
    for line in reversed(printed.splitlines()):
        if line.startswith('{"longbench_side":'):
            try:
                told: dict[str, Any] = json.loads(line)["longbench_side"]
            except (ValueError, TypeError):
                continue
            return told
    return None


def _silence(interpreter: Interpreter, answer: Answer) -> str:
    """Why there is no answer, by what the interpreter printed instead."""
    label, last = interpreter.label, answer.last_line
    missing = _NOT_FOUND.search(last)
    if missing and missing["inside"]:
        return f"{label}: its longbench is too old for a duet: upgrade it there, or choose a later one"
    if missing:
        return f"{label}: has no longbench: install it there: {interpreter.python} -m pip install longbench-cli"
    if "Traceback" in answer.stderr:
        return f"{label}: its longbench does not import: {last}: mend that until `longbench doctor` runs there"
    return f"{label}: did not answer ({last}): is it a Python interpreter?"
