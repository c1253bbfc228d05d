"""What a worker printed: only its end is kept, however much it was."""

from __future__ import annotations

import os
from typing import IO

TAIL_LINES = 50
_TAIL_BYTES = 1 << 16
_LINE_CHARS = 500


def last_lines(printed: IO[bytes]) -> list[str]:
    """The last lines of a file, each cut to a readable length; empty ones are left out."""
    size = os.fstat(printed.fileno()).st_size
    printed.seek(max(0, size - _TAIL_BYTES))
    text = printed.read(_TAIL_BYTES).decode(errors="replace")
    lines = [line.rstrip()[:_LINE_CHARS] for line in text.splitlines()]
    return [line for line in lines if line][-TAIL_LINES:]


def last_words(lines: list[str]) -> str:
    """The line that says most about the end: the last one, or where Python was when a signal struck."""
    fatal = next((number for number, line in enumerate(lines) if line.startswith("Fatal Python error")), None)
    if fatal is None:
        return lines[-1].strip() if lines else ""
    report = lines[fatal:]  # faulthandler's: each thread's frames, the innermost first
    current = next((number for number, line in enumerate(report) if line.startswith("Current thread")), 0)
    return next((line.strip() for line in report[current:] if line.startswith("  File ")), report[0])
