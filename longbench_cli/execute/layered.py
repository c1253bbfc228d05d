"""A virtual environment on top of this one: its own packages come first, then everything that is installed here."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import re
import shlex
import site
import sys
import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from longbench_cli.errors import UsageError
from longbench_cli.execute.ask import Answer, ask
from longbench_cli.printable import one_line

BUILD_S: Final = 4 * 3600.0
"""Longest that a package may take to build: CUDA kernels take hours on few processors."""

_VENV_S: Final = 120.0
_MODULE: Final = "_longbench_layer"
_LAYER: Final = """\
import site, sys

def home(finder):
    return getattr(finder, "__module__", "")

own = [finder for finder in sys.meta_path if not home(finder).startswith("_frozen_importlib")]
standard = [finder for finder in sys.meta_path if finder not in own]
first = sys.path + [folder for folder in {first!r} if folder not in sys.path]
sys.path[:] = first
for folder in {folders!r}:
    site.addsitedir(folder)  # and not just a line in a path file: its own path files count
# An editable install may put itself before everything else: here it comes after.
sys.path[:] = first + [folder for folder in sys.path if folder not in first]
sys.meta_path[:] = own + standard + [finder for finder in sys.meta_path if finder not in own + standard]
"""
_TELLING = (
    re.compile(r"^\s*(?:[A-Za-z_]\w*\.)*[A-Za-z_]*(?:Error|Exception|Failed|NotFound)\b.*:"),
    re.compile(r"\berror:", re.IGNORECASE),
)


def site_folders() -> list[str]:
    """Where the packages of this interpreter are."""
    folders = site.getsitepackages() + ([site.getusersitepackages()] if site.ENABLE_USER_SITE else [])
    return [folder for folder in dict.fromkeys(folders) if Path(folder).is_dir()]


def make_layer(home: Path, first: Sequence[Path], folders: Sequence[str]) -> Path:
    """A virtual environment in the folder ``home``; modules are looked for in its own packages, then in the folders
    ``first``, then in the site folders ``folders``. Its interpreter, as a path that must not be resolved.

    Raises:
        UsageError: this interpreter cannot make one.
    """
    made = ask((sys.executable, "-m", "venv", "--without-pip", str(home)), home.parent, _VENV_S)
    if made.code != 0:
        raise UsageError(f"{sys.executable} -m venv failed: {made.last_line}: mend that, or give --base-python")
    version = f"python{sys.version_info.major}.{sys.version_info.minor}"
    packages = home / "lib" / version / "site-packages"
    text = _LAYER.format(first=[str(folder) for folder in first], folders=list(folders))
    (packages / f"{_MODULE}.py").write_text(text, encoding="utf-8")
    (packages / f"zzz{_MODULE}.pth").write_text(f"import {_MODULE}\n", encoding="utf-8")  # the last to be read
    return home / "bin" / "python"


def project_of(folder: Path, root: Path) -> Path | None:
    """The nearest folder from ``folder`` up to ``root`` that pip can install; None if none can."""
    for place in (folder, *folder.parents):
        if (place / "setup.py").is_file() or {"project", "build-system"} & _pyproject(place).keys():
            return place
        if place == root:
            break
    return None


def install_project(python: Path, project: Path, label: str) -> None:
    """Install ``project``, without its dependencies, into the environment of ``python``.

    It is built by what is installed here, if that is enough; else pip gets what the build asks for.

    Raises:
        UsageError: it does not build; the line says what pip told of it.
    """
    if importlib.util.find_spec("pip") is None:
        raise UsageError(
            f"--base-ref {label}: {sys.executable} has no pip to build it with: {sys.executable} -m ensurepip, or "
            "--base-install 'uv pip install --no-deps --python {python} {worktree}'"
        )
    isolation = ("--no-build-isolation",) if _can_build(_pyproject(project)) else ()
    pip = (sys.executable, "-m", "pip", "--python", str(python), "--disable-pip-version-check", "--no-input")
    # What is installed here under the same name is seen from there, and must be left alone.
    words = (*pip, "install", "--no-user", "--no-deps", "--ignore-installed", *isolation, str(project))
    _check(ask(words, python.parent, BUILD_S), f"--base-ref {label}: does not build", "give --base-install")


def install_by(command: str, python: Path, worktree: Path) -> None:
    """Run the user's own command in the folder ``worktree``; ``{python}`` and ``{worktree}`` in it are filled in.

    Raises:
        UsageError: it is no command line, cannot be started or fails.
    """
    try:
        words = [word.replace("{python}", str(python)).replace("{worktree}", str(worktree)) for word in _split(command)]
        answer = ask(words, worktree, BUILD_S)
    except OSError as error:
        raise UsageError(f"--base-install {command}: cannot be started: {error.strerror}") from None
    _check(answer, f"--base-install {command}: failed", "mend the command")


def _split(command: str) -> list[str]:
    try:
        words = shlex.split(command)
    except ValueError as error:
        raise UsageError(f"--base-install {command}: {error}: quote it as for a shell") from None
    if not words:
        raise UsageError("--base-install: is empty: give a command such as '{python} -m pip install {worktree}'")
    return words


def _check(answer: Answer, what: str, fix: str) -> None:
    if answer.code != 0:
        why = telling_line(answer) if answer.code is not None else f"no end in {BUILD_S / 3600:.0f} h"
        raise UsageError(f"{what}: {why}: choose another ref, or {fix}")


def telling_line(answer: Answer) -> str:
    """The line of a failed build that says most: the last exception, else the last error, else the last line."""
    lines = [one_line(line) for line in f"{answer.stdout}\n{answer.stderr}".splitlines()]
    for pattern in _TELLING:
        for line in reversed(lines):
            if pattern.search(line) and "subprocess" not in line:
                return line
    return answer.last_line


def _pyproject(folder: Path) -> dict[str, Any]:
    """What ``pyproject.toml`` says; one that cannot be read is left to pip to complain of."""
    try:
        return tomllib.loads((folder / "pyproject.toml").read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except (OSError, ValueError):
        return {"project": {}}


def _can_build(pyproject: dict[str, Any]) -> bool:
    """Whether what the build asks for is installed here, whatever its version: pip does not look either."""
    system = pyproject.get("build-system", {})
    needed = [
        re.split(r"[^\w.-]", word, maxsplit=1)[0] for word in system.get("requires", ["setuptools"]) if ";" not in word
    ]
    backend = str(system.get("build-backend", "setuptools")).partition(":")[0].partition(".")[0]
    found = "backend-path" in system or importlib.util.find_spec(backend) is not None
    return found and all(map(_is_installed, needed))


def _is_installed(distribution: str) -> bool:
    try:
        importlib.metadata.version(distribution)
    except importlib.metadata.PackageNotFoundError:
        return False
    return True
