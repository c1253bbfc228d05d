"""Writing an output whole or not at all."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

from longbench_cli.errors import UsageError


def write_whole(path: Path, content: str | bytes) -> None:
    """Write ``content`` (text as UTF-8) to ``path`` through a temporary file beside it, so that no half is ever seen.

    Raises:
        UsageError: it cannot be written; what was there before is untouched.
    """
    target = Path(os.path.realpath(path))  # a link stays a link
    data = content.encode() if isinstance(content, str) else content
    try:
        if target.exists() and not target.is_file() and not target.is_dir():  # a pipe or a device: no renaming
            target.write_bytes(data)
        else:
            _replace(target, data)
    except OSError as error:
        raise UsageError(f"{path}: cannot write: {error.strerror}: choose another file") from error


def _replace(target: Path, data: bytes) -> None:
    if target.is_dir():
        raise IsADirectoryError(0, "is a folder")
    temporary = target.with_name(f".longbench-{os.getpid()}.tmp")
    try:
        with temporary.open("xb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(target)
    except BaseException:
        with contextlib.suppress(OSError):
            temporary.unlink()
        raise
