"""Profiles: named sweeps, TOML files whose keys are the names of the options."""

from __future__ import annotations

import os
import tomllib
from dataclasses import dataclass
from pathlib import Path

from longbench_cli.errors import UsageError
from longbench_cli.resources import data_dir
from longbench_cli.sweep.axes import one_of
from longbench_cli.sweep.fields import SweepOptions, read_options


@dataclass(frozen=True, slots=True)
class Profile:
    """One profile.

    Attributes:
        name: as given: ``quick``, or the path of a file.
        file: the file, as messages show it.
        description: one line for ``longbench list profiles``.
        options: what it sets (``model_fields_set``).
    """

    name: str
    file: str
    description: str
    options: SweepOptions

    def where(self, option: str) -> str:
        """The place of an option in this profile, to open a message with."""
        return f"{self.file}: {option}"


def profile_names() -> list[str]:
    """The profiles that ship with longbench."""
    return sorted(path.stem for path in data_dir("profiles").glob("*.toml"))


def load_profile(name: str) -> Profile:
    """The shipped profile ``name``, or the one in a file if it ends in ``.toml`` or has a folder in it.

    Raises:
        UsageError: it does not exist, cannot be read, is not TOML, or sets what is no option.
    """
    path, file = _find(name)
    try:
        values = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UsageError(f"--profile {file}: {error.strerror}; give a readable TOML file") from error
    except UnicodeDecodeError as error:
        raise UsageError(f"--profile {file}: not a text file in UTF-8; give a TOML file") from error
    except tomllib.TOMLDecodeError as error:
        raise UsageError(f"--profile {file}: not valid TOML: {error}") from error
    description = values.pop("description", "")
    if not isinstance(description, str):
        raise UsageError(f"{file}: description {description!r}: expected a string")
    return Profile(name, file, description, read_options(values, lambda option: f"{file}: {option}"))


def _find(name: str) -> tuple[Path, str]:
    if name.endswith(".toml") or os.sep in name:
        return Path(name), name
    if name not in profile_names():
        raise UsageError(f"--profile {name!r}: no such profile; {one_of(name, profile_names())}, or a FILE.toml")
    return data_dir("profiles") / f"{name}.toml", f"profiles/{name}.toml"
