"""The axis grammar: how the values of one axis of a sweep are written.

``8k``, ``1m`` and ``1b`` are 2^10, 2^20 and 2^30 of it; ``8k:1b`` doubles, ``8k:1b:x4`` multiplies
and ``8k:64k:+8k`` adds, up to the end (taken in if it is met); commas combine. Values keep the order
in which they are written, without repetition.
"""

from __future__ import annotations

import difflib
import math
import re
from collections.abc import Iterable

from longbench_cli.errors import UsageError

MAX_VALUES = 10_000
"""Most values of one axis: more is a slip of the pen."""

MAX_NUMBER = 2**50

_SHOWN = 60
"""Characters of what was read that a message shows."""

_UNITS = {"": 0, "k": 10, "m": 20, "b": 30}
_NUMBER = re.compile(r"([0-9]{1,16})([kmb]?)", re.ASCII | re.IGNORECASE)
_DURATION = re.compile(r"([0-9]{1,9}(?:\.[0-9]{1,9})?)([smh]?)", re.ASCII | re.IGNORECASE)
_SECONDS = {"": 1.0, "s": 1.0, "m": 60.0, "h": 3600.0}
_FORMS = "expected a whole number such as 8192, 8k, 1m or 1b"
_RANGES = "expected START:END, START:END:xFACTOR or START:END:+STEP, e.g. 8k:1b, 8k:1b:x4 or 8k:64k:+8k"


def parse_lengths(text: str, where: str = "--seq") -> list[int]:
    """The values that ``text`` stands for, in the order written.

    Raises:
        UsageError: ``text`` is not of the grammar, or stands for too many or too large values;
            ``where`` (an option, or a file and its key) opens the message.
    """
    found: list[int] = []
    for item in _items(text, where):
        found += _range(item, where) if ":" in item else [_number(item, where, _FORMS)]
        if len(found) > MAX_VALUES:  # repetitions too: a short text must not be long work
            raise UsageError(f"{where} {shown(text)}: more than {MAX_VALUES:,} values; give fewer")
    return list(dict.fromkeys(found))


def format_length(value: int) -> str:
    """``value`` as the grammar writes it: ``8192`` is ``8k``, ``1000`` is ``1000``."""
    for unit in ("b", "m", "k"):
        if value and value % (1 << _UNITS[unit]) == 0:
            return f"{value >> _UNITS[unit]}{unit}"
    return str(value)


def parse_words(text: str, where: str) -> list[str]:
    """The comma-separated words of ``text``, each once.

    Raises:
        UsageError: one of them is empty.
    """
    return list(dict.fromkeys(_items(text, where)))


def parse_choices(text: str, choices: Iterable[str], where: str) -> list[str]:
    """The comma-separated words of ``text``, each one of ``choices`` (letter case is free).

    Raises:
        UsageError: one of them is empty or is none of ``choices``.
    """
    allowed = list(choices)
    words = list(dict.fromkeys(word.lower() for word in _items(text, where)))
    for word in words:
        if word not in allowed:
            raise UsageError(f"{where} {shown(word)}: {one_of(word, allowed)}")
    return words


def parse_booleans(text: str, where: str) -> list[bool]:
    """``true``, ``false`` or ``both``, or a comma list of them.

    Raises:
        UsageError: it is anything else.
    """
    words = parse_choices(text, ("true", "false", "both"), where)
    return list(dict.fromkeys(value for word in words for value in _BOOLEANS[word]))


def parse_duration(text: str, where: str) -> float:
    """Seconds: ``90`` and ``90s``, ``20m`` (minutes), ``1.5h``.

    Raises:
        UsageError: it is anything else, or no time at all.
    """
    match = _DURATION.fullmatch(text.strip())
    seconds = float(match[1]) * _SECONDS[match[2].lower()] if match else 0.0
    if seconds <= 0:
        raise UsageError(f"{where} {shown(text)}: expected a time such as 90s, 20m or 1.5h")
    return seconds


def parse_share(text: str, where: str, most: float) -> float:
    """A share above 0, up to ``most``: ``5%``, or ``0.05``. 1 and more needs the sign, as it may mean percent.

    Raises:
        UsageError: it is anything else.
    """
    number, percent, rest = text.strip().partition("%")
    try:
        value = float(number) / (100 if percent else 1)
    except ValueError:
        value = math.nan
    if rest or not 0 < value <= most or (value >= 1 and not percent):
        raise UsageError(f"{where} {shown(text)}: expected a share such as 5% or 0.05, above 0 and at most {most:.0%}")
    return value


_BOOLEANS = {"true": [True], "false": [False], "both": [False, True]}


def one_of(word: str, choices: Iterable[str]) -> str:
    """``did you mean X? choose A, B or C``: the mending half of a message about an unknown word."""
    allowed = list(choices)
    close = difflib.get_close_matches(word, allowed, n=1, cutoff=0.7)  # not so low that gpu is taken for cpu
    hint = f"did you mean {close[0]}? " if close else ""
    return f"{hint}choose {', '.join(allowed[:-1])} or {allowed[-1]}" if len(allowed) > 1 else f"choose {allowed[0]}"


def _items(text: str, where: str) -> list[str]:
    items = [item.strip() for item in text.split(",")]
    if not all(items):
        raise UsageError(f"{where} {shown(text)}: expected values separated by single commas, and found an empty one")
    return items


def _range(item: str, where: str) -> list[int]:
    parts = [part.strip() for part in item.split(":")]
    if len(parts) > 3 or not all(parts):
        raise UsageError(f"{where} {shown(item)}: {_RANGES}")
    start, end = (_number(part, where, _RANGES, item) for part in parts[:2])
    kind, step = "x", 2
    if len(parts) == 3:
        kind = parts[2][0].lower()
        step = _number(parts[2][1:].strip(), where, _RANGES, item)
    if kind not in "x+" or (kind == "x" and step < 2):
        raise UsageError(f"{where} {shown(item)}: {_RANGES}")
    if start > end:
        raise UsageError(f"{where} {shown(item)}: START {parts[0]} is above END {parts[1]}; write the smaller first")
    if kind == "+":
        count = (end - start) // step + 1  # counted, not listed: 1:1b:+1 must not take a minute
        if count > MAX_VALUES:
            raise UsageError(f"{where} {shown(item)}: {count:,} values, of at most {MAX_VALUES:,}; use a larger step")
        return list(range(start, end + 1, step))
    values = [start]
    while (value := values[-1] * step) <= end:
        values.append(value)
    return values


def _number(part: str, where: str, expected: str, whole: str | None = None) -> int:
    """One number; ``whole`` is what it stands in, for the message."""
    match = _NUMBER.fullmatch(part)
    if match is None:
        raise UsageError(f"{where} {shown(whole or part)}: {expected}")
    value = int(match[1]) << _UNITS[match[2].lower()]
    if not 1 <= value <= MAX_NUMBER:
        raise UsageError(f"{where} {shown(whole or part)}: {part} is not between 1 and {format_length(MAX_NUMBER)}")
    return value


def shown(value: object) -> str:
    """What was read, on one line and not too long."""
    if isinstance(value, str):
        return repr(value if len(value) <= _SHOWN else value[: _SHOWN - 3] + "...")
    try:
        text = repr(value)
    except (ValueError, RecursionError):  # more digits, or deeper, than Python writes out
        return f"a {type(value).__name__} too long to show"
    return text if len(text) <= _SHOWN else text[: _SHOWN - 3] + "..."
