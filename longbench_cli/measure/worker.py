"""The child process of one point: a request on stdin, JSON lines on an inherited pipe.

    python -m longbench_cli.measure.worker --result-fd N < request.json

The request is one line. If its ``turns`` is true, each line that follows is a turn
(:mod:`longbench_cli.measure.gate`).
What goes wrong in a way that is a result (out of memory, unsupported, incorrect) is reported as
one; anything else ends this process with a traceback, which the parent records as a crash.
"""

from __future__ import annotations

import json
import os
import sys
from typing import Any

import psutil
import torch

from attention_impls.api import Unsupported
from longbench_cli.measure.clock import now_ns
from longbench_cli.measure.gate import Gate
from longbench_cli.measure.point import configure_threads, measure_point
from longbench_cli.measure.streamed_point import measure_streamed_point
from longbench_cli.sweep.case import Case
from longbench_cli.sweep.settings import Settings

_PROGRESS_EVERY_NS = 500_000_000
_CPU_OOM_WORDS = ("can't allocate memory", "not enough memory")


class _Pipe:
    """The parent's pipe: progress now and then, the result once."""

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self._last_ns = now_ns()

    def progress(self, done: int, total: int | None, unit: str, rate: float | None) -> None:
        if now_ns() - self._last_ns >= _PROGRESS_EVERY_NS:
            self._last_ns = now_ns()
            self.send({"type": "progress", "done": done, "total": total, "unit": unit, "rate": rate})

    def send(self, message: dict[str, Any]) -> None:
        data = (json.dumps(message) + "\n").encode()
        while data:
            data = data[os.write(self._fd, data) :]


def _outcome(case: Case, settings: Settings, execution: str, pipe: _Pipe, gate: Gate) -> dict[str, Any]:
    try:
        if execution == "streamed":  # which takes no turns: it needs what memory there is
            return measure_streamed_point(case, settings, pipe.progress)
        return measure_point(case, settings, pipe.progress, gate)
    except Unsupported as reason:
        return {"status": "unsupported", "reason": str(reason)}
    except (torch.OutOfMemoryError, MemoryError) as error:
        return {"status": "oom", "reason": _first_line(error)}
    except RuntimeError as error:
        if any(words in str(error) for words in _CPU_OOM_WORDS):
            return {"status": "oom", "reason": _first_line(error)}
        raise


def _first_line(error: BaseException) -> str:
    text = str(error).strip()
    return text.splitlines()[0] if text else type(error).__name__


def main() -> None:
    pipe = _Pipe(int(sys.argv[sys.argv.index("--result-fd") + 1]))
    request = json.loads(sys.stdin.buffer.readline())
    gate = Gate(pipe.send, sys.stdin.buffer) if request.get("turns") else Gate()
    settings = Settings.model_validate(request["settings"])
    configure_threads(settings, psutil.cpu_count(logical=False))
    case = Case.model_validate(request["case"])
    pipe.send({"type": "result"} | _outcome(case, settings, request["execution"], pipe, gate))


if __name__ == "__main__":
    main()
