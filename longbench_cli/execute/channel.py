"""The worker's side of the story: JSON lines on a pipe, any number of progress lines, then one result.

{"type":"progress","done":3,"total":10,"unit":"iterations","rate":1.5}
{"type":"waiting"}                                  (for its turn: see longbench_cli/execute/turns.py)
{"type":"result","status":"ok","reason":null,"backend":"...","latency":{...},...}
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any, get_args

from longbench_cli.execute.outcome import Progress, Status

RESULT_STATUSES = frozenset(get_args(Status)) - {"timeout", "pruned"}
"""What a worker may say of itself; that it crashed only the launcher says, of a rank
(:mod:`longbench_cli.execute.launch`)."""

_LONGEST_LINE = 256 << 20


class Channel:
    """Takes the pipe's bytes as they come.

    Attributes:
        result: the worker's result without its ``type``; None until it came.
        waiting: whether it said that it waits for its turn; whoever gives it one takes this back.
        garbage: the beginning of what was not understood; None if all was.
    """

    def __init__(self, on_progress: Callable[[Progress], None]) -> None:
        self.result: dict[str, Any] | None = None
        self.waiting = False
        self.garbage: str | None = None
        self._on_progress = on_progress
        self._parts: list[bytes] = []
        self._length = 0

    def feed(self, data: bytes) -> None:
        """Take more bytes; what follows the result, or garbage, is ignored."""
        *ends, rest = data.split(b"\n")
        for end in ends:
            line = b"".join([*self._parts, end])
            self._parts, self._length = [], 0
            self._take(line)
        if rest and self._open:
            self._parts.append(rest)
            self._length += len(rest)
            if self._length > _LONGEST_LINE:
                self._refuse(b"".join(self._parts))

    def renew(self) -> None:
        """The worker was asked for another result."""
        self.result, self.waiting = None, False

    def close(self) -> None:
        """The worker ended: what is left is a line that was never finished."""
        if self._parts and self._open:
            self._refuse(b"".join(self._parts))

    @property
    def _open(self) -> bool:
        return self.result is None and self.garbage is None

    def _take(self, line: bytes) -> None:
        if not self._open:
            return
        try:
            message = json.loads(line)
        except (ValueError, RecursionError):
            message = None
        kind = message.pop("type", None) if isinstance(message, dict) else None
        if kind == "result" and message.get("status") in RESULT_STATUSES:
            self.result = message
        elif kind == "waiting":
            self.waiting = True
        elif kind == "progress" and isinstance(message.get("done"), int):
            total, rate = message.get("total"), message.get("rate")
            self._on_progress(
                Progress(
                    done=message["done"],
                    total=total if isinstance(total, int) else None,
                    unit=str(message.get("unit", "iterations")),
                    rate=float(rate) if isinstance(rate, (int, float)) else None,
                )
            )
        else:
            self._refuse(line)

    def _refuse(self, line: bytes) -> None:
        self.garbage = line[:80].decode(errors="backslashreplace")
        self._parts, self._length = [], 0
