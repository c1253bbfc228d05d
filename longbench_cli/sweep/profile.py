"""Profiles: named sweeps, TOML files whose keys are the names of the options."""

from __future__ import annotations

import os
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from longbench_cli.errors import UsageError
from longbench_cli.resources import data_dir
from longbench_cli.sweep.axes import one_of, shown
from longbench_cli.sweep.fields import SweepOptions, read_options

MAX_BYTES = 16 << 10
MAX_LINE = 1000
"""Longest file and line: tomllib's work on a key of n dotted parts grows as n^2."""


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
    values = _parse(_read(path, file), file)
    description = values.pop("description", "")
    if not isinstance(description, str):
        raise UsageError(f"{file}: description {shown(description)}: expected a string")
    return Profile(name, file, description, read_options(values, lambda option: f"{file}: {option}"))


def is_file_name(name: str) -> bool:
    """Whether a profile called ``name`` is a file of the user's and not one of ours."""
    return name.endswith(".toml") or os.sep in name


def _find(name: str) -> tuple[Path, str]:
    if is_file_name(name):
        return Path(name), name
    if name not in profile_names():
        raise UsageError(f"--profile {shown(name)}: no such profile; {one_of(name, profile_names())}, or a FILE.toml")
    return data_dir("profiles") / f"{name}.toml", f"profiles/{name}.toml"


def _read(path: Path, file: str) -> str:
    try:
        with path.open("rb") as source:
            content = source.read(MAX_BYTES + 1)
        text = content.decode("utf-8")
    except OSError as error:
        raise UsageError(f"--profile {file}: {error.strerror}; give a readable TOML file") from error
    except UnicodeDecodeError as error:
        raise UsageError(f"--profile {file}: not a text file in UTF-8; give a TOML file") from error
    except ValueError as error:  # a name that no file system takes
        raise UsageError(f"--profile {file}: {error}; give a readable TOML file") from error
    if len(content) > MAX_BYTES:
        raise UsageError(f"--profile {file}: longer than {MAX_BYTES:,} bytes; no profile needs as many")
    if (longest := max(map(len, text.split("\n")))) > MAX_LINE:
        raise UsageError(f"--profile {file}: a line of {longest:,} characters, of at most {MAX_LINE:,}; break it")
    return text.replace("\r\n", "\n")


def _parse(text: str, file: str) -> dict[str, Any]:
    try:
        return tomllib.loads(text)
    except RecursionError as error:
        raise UsageError(f"--profile {file}: not valid TOML: nested too deeply") from error
    except ValueError as error:  # TOMLDecodeError, and what int() says of thousands of digits
        raise UsageError(f"--profile {file}: not valid TOML: {error}") from error
