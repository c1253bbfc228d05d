"""Text from files, workers and command lines, made safe to print.

A terminal obeys control characters: a run file from a stranger, or a kernel's coloured error, could move
the cursor, rename the window or hide a line. What is no visible character is shown as its escape.
"""

from __future__ import annotations

import json
import unicodedata

LONGEST = 1000
"""Characters of a one-line message."""

_TAIL = 300
_CUT = " [...] "


def printable(text: str) -> str:
    """``text`` with everything that is neither visible nor a space as a Python escape (``\\x1b``), line ends too."""
    return text if text.isprintable() else "".join(map(_shown, text))


def printable_lines(text: str) -> str:
    """As :func:`printable`, but line feeds stay: for what is meant to have lines."""
    return "\n".join(map(printable, text.split("\n")))


def printable_json(text: str) -> str:
    """JSON that means the same as the JSON ``text`` and holds no control character but its line feeds."""
    return "\n".join(line if line.isprintable() else "".join(map(_in_json, line)) for line in text.split("\n"))


def one_line(text: str) -> str:
    """``text`` as one printable line of at most :data:`LONGEST` characters; what is too much goes from its middle.

    The beginning of a message says where, and its end what to do.
    """
    flat = printable(" ".join(filter(None, map(str.strip, text.splitlines()))))
    return flat if len(flat) <= LONGEST else f"{flat[: LONGEST - _TAIL - len(_CUT)]}{_CUT}{flat[-_TAIL:]}"


def _visible(char: str) -> bool:
    return char.isprintable() or unicodedata.category(char) == "Zs"


def _in_json(char: str) -> str:
    return char if _visible(char) else json.dumps(char)[1:-1]


def _shown(char: str) -> str:
    return char if _visible(char) else char.encode("unicode_escape").decode("ascii")
