"""How a process that measures answers: lines on a pipe, and which errors are a result of their own."""

from __future__ import annotations

import json
import os
from typing import Any

import torch

from attention_impls.api import Unsupported
from longbench_cli.measure.clock import now_ns

_PROGRESS_EVERY_NS = 500_000_000
_OOM_WORDS = ("can't allocate memory", "not enough memory", "out of memory")
"""Torch's on a CPU; and those of CUDA itself, and of NCCL, whose buffers are none of torch's."""


class ResultPipe:
    """The parent's pipe (:mod:`longbench_cli.execute.channel`): progress now and then, the result once."""

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self._last_ns = now_ns()

    def progress(self, done: int, total: int | None, unit: str, rate: float | None) -> None:
        """Say how far the point is, unless that was said within the last half second."""
        if now_ns() - self._last_ns >= _PROGRESS_EVERY_NS:
            self._last_ns = now_ns()
            self.send({"type": "progress", "done": done, "total": total, "unit": unit, "rate": rate})

    def send(self, message: dict[str, Any]) -> None:
        data = (json.dumps(message) + "\n").encode()
        while data:
            data = data[os.write(self._fd, data) :]


def failure_of(error: Exception) -> dict[str, Any] | None:
    """The result that ``error`` is: out of memory, unsupported; None if it is a bug."""
    if isinstance(error, Unsupported):
        return {"status": "unsupported", "reason": str(error)}
    lines = str(error).strip().splitlines()
    telling = [line for line in lines if any(words in line for words in _OOM_WORDS)]
    if isinstance(error, torch.OutOfMemoryError | MemoryError) or (isinstance(error, RuntimeError) and telling):
        return {"status": "oom", "reason": next(iter(telling or lines), type(error).__name__).strip()}
    return None
