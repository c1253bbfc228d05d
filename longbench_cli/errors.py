"""Errors that a user can mend: printed as one line, exit code 2."""

from __future__ import annotations


class UsageError(Exception):
    """What was wrong, where, and what to do, in one line."""
