"""Errors that a user can mend: printed as one line, exit code 2."""

from __future__ import annotations

from longbench_cli.printable import one_line


class UsageError(Exception):
    """What was wrong, where, and what to do. Whatever a file or a name brought in, it is one printable line."""

    def __init__(self, message: str) -> None:
        super().__init__(one_line(message))
