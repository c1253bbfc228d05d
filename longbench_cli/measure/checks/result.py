"""What one check found."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from longbench_cli.measure.verify import Wrong

Outcome = Literal["passed", "failed", "not-applicable"]


@dataclass(frozen=True, slots=True)
class Result:
    """``detail`` says what was looked at, where and by how much it is wrong, or why the check says nothing."""

    name: str
    outcome: Outcome
    detail: str


class NotApplicable(Exception):
    """The check has nothing to say about this subject; the message says why."""


def as_said(error: Exception) -> str:
    """One line for what went wrong in a check."""
    said = " ".join(str(error).split())
    if isinstance(error, Wrong | NotApplicable):
        return said
    return f"raises {type(error).__name__}: {said}" if said else f"raises {type(error).__name__}"
