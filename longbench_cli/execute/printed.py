"""What a worker printed: only its end is kept, however much it was."""

from __future__ import annotations

import os
from typing import IO

TAIL_LINES = 50
_TAIL_BYTES = 1 << 16
_LINE_CHARS = 500
_TRACEBACK = "Traceback (most recent call last):"


def last_lines(printed: IO[bytes]) -> list[str]:
    """The last lines of a file, each cut to a readable length; empty ones are left out."""
    size = os.fstat(printed.fileno()).st_size
    # Not by seeking: the one who prints may still be at it, and shares this file's position.
    text = os.pread(printed.fileno(), _TAIL_BYTES, max(0, size - _TAIL_BYTES)).decode(errors="replace")
    lines = [line.rstrip()[:_LINE_CHARS] for line in text.splitlines()]
    return [line for line in lines if line][-TAIL_LINES:]


def last_words(lines: list[str]) -> str:
    """The line that says most about the end.

    Where Python was when a signal struck; else what was raised, by the first line of its message: the
    last line of a long one is seldom what went wrong; else the last line.
    """
    fatal = next((number for number, line in enumerate(lines) if line.startswith("Fatal Python error")), None)
    if fatal is not None:
        report = lines[fatal:]  # faulthandler's: each thread's frames, the innermost first
        current = next((number for number, line in enumerate(report) if line.startswith("Current thread")), 0)
        return next((line.strip() for line in report[current:] if line.startswith("  File ")), report[0])
    raised = max((number for number, line in enumerate(lines) if line == _TRACEBACK), default=len(lines))
    said = (line for line in lines[raised + 1 :] if not line.startswith(" "))
    return next(said, lines[-1].strip() if lines else "")
