"""Questions to the machine that may fail: an answer, or null and why."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from longbench_cli.nvml import NvmlError

T = TypeVar("T")


class Answers:
    """Asks, and keeps in ``missing`` why a question had no answer: name of the field to one line.

    What failed once is not asked again, and its field stays null to the end: half a series would
    pass for a whole one.
    """

    def __init__(self) -> None:
        self.missing: dict[str, str] = {}

    def ask(self, name: str, question: Callable[[], T], *also: str) -> T | None:
        """The answer; None where there is none, now or earlier. It tells ``also`` of other fields."""
        if name in self.missing:
            return None
        try:
            return question()
        except (NvmlError, OSError, ValueError, LookupError) as error:
            for field in (name, *also):
                self.lost(field, _reason(error))
            return None

    def lost(self, name: str, reason: str) -> None:
        """``name`` has no answer; the first reason stands."""
        self.missing.setdefault(name, " ".join(reason.split()))


def _reason(error: Exception) -> str:
    if isinstance(error, OSError) and error.strerror:
        return f"{error.strerror}: {error.filename}" if error.filename else error.strerror
    return str(error) or type(error).__name__
