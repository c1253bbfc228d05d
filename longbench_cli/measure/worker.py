"""The child process of one point, or of several one after another: requests on stdin, JSON lines on an inherited pipe.

    python -m longbench_cli.measure.worker --result-fd N < request.json

A request is one line. If its ``turns`` is true, each line that follows is a turn
(:mod:`longbench_cli.measure.gate`), up to the result; then another request may come, or the end. One that
has ``pick`` asks for the back end alone.
What goes wrong in a way that is a result (out of memory, unsupported, incorrect) is reported as
one; anything else ends this process with a traceback, which the parent records as a crash.
"""

from __future__ import annotations

import gc
import json
import sys
from typing import Any

import psutil

from longbench_cli.measure.answer import ResultPipe, failure_of
from longbench_cli.measure.gate import Gate
from longbench_cli.measure.memory import free_all
from longbench_cli.measure.pick import one_rank_of, pick_backend
from longbench_cli.measure.point import configure_threads, measure_point
from longbench_cli.measure.streamed_point import measure_streamed_point
from longbench_cli.sweep.case import Case
from longbench_cli.sweep.settings import Settings


def _outcome(request: dict[str, Any], pipe: ResultPipe, gate: Gate) -> dict[str, Any]:
    settings = Settings.model_validate(request["settings"])
    configure_threads(settings, psutil.cpu_count(logical=False))
    case = Case.model_validate(request["case"])
    full_time, slowdown = bool(request.get("full_time")), float(request.get("slowdown") or 0)
    try:
        if request.get("pick"):
            return {"status": "ok", "backend": pick_backend(one_rank_of(case), settings)}
        if request["execution"] == "streamed":  # which takes no turns: it needs what memory there is
            return measure_streamed_point(case, settings, pipe.progress)
        return measure_point(case, settings, pipe.progress, gate, full_time=full_time, slowdown=slowdown)
    except Exception as error:
        failure = failure_of(error)
        if failure is None:
            raise
        return failure


def main() -> None:
    gc.freeze()  # what torch's modules consist of is there to stay: no collection need look at it, 0.1 s each time
    pipe = ResultPipe(int(sys.argv[sys.argv.index("--result-fd") + 1]))
    while line := sys.stdin.buffer.readline():
        request = json.loads(line)
        gate = Gate(pipe.send, sys.stdin.buffer) if request.get("turns") else Gate()
        free_all()  # a point finds what the first one found; not before it is asked for: others may be at work
        pipe.send({"type": "result"} | _outcome(request, pipe, gate))


if __name__ == "__main__":
    main()
