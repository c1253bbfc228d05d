"""The child process of one point: a request on stdin, JSON lines on an inherited pipe.

    python -m longbench_cli.measure.worker --result-fd N < request.json

The request is one line. If its ``turns`` is true, each line that follows is a turn
(:mod:`longbench_cli.measure.gate`).
What goes wrong in a way that is a result (out of memory, unsupported, incorrect) is reported as
one; anything else ends this process with a traceback, which the parent records as a crash.
"""

from __future__ import annotations

import json
import sys
from typing import Any

import psutil

from longbench_cli.measure.answer import ResultPipe, failure_of
from longbench_cli.measure.gate import Gate
from longbench_cli.measure.point import configure_threads, measure_point
from longbench_cli.measure.streamed_point import measure_streamed_point
from longbench_cli.sweep.case import Case
from longbench_cli.sweep.settings import Settings


def _outcome(case: Case, settings: Settings, execution: str, pipe: ResultPipe, gate: Gate) -> dict[str, Any]:
    try:
        if execution == "streamed":  # which takes no turns: it needs what memory there is
            return measure_streamed_point(case, settings, pipe.progress)
        return measure_point(case, settings, pipe.progress, gate)
    except Exception as error:
        failure = failure_of(error)
        if failure is None:
            raise
        return failure


def main() -> None:
    pipe = ResultPipe(int(sys.argv[sys.argv.index("--result-fd") + 1]))
    request = json.loads(sys.stdin.buffer.readline())
    gate = Gate(pipe.send, sys.stdin.buffer) if request.get("turns") else Gate()
    settings = Settings.model_validate(request["settings"])
    configure_threads(settings, psutil.cpu_count(logical=False))
    case = Case.model_validate(request["case"])
    pipe.send({"type": "result"} | _outcome(case, settings, request["execution"], pipe, gate))


if __name__ == "__main__":
    main()
