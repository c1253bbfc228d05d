"""One rank of a point, as torchrun's environment names it.

    python -m longbench_cli.measure.ranks.process --folder DIR --result PATH [--turns PATH]

``DIR/request.json`` is the point; ``DIR/states`` is where all ranks tell how far they are. ``--result`` is the
parent's pipe: rank 0 writes progress and the result of the point to it. A rank on which something ends the point
in a way that is a result (out of memory, unsupported) writes that, and exits with :data:`ENDED`, so that whoever
started the ranks ends the others. Any other error is a traceback and exit code 1.
"""

from __future__ import annotations

import argparse
import gc
import json
import os
import sys
import traceback
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import psutil

from longbench_cli.execute.states import StateWriter
from longbench_cli.measure.answer import ResultPipe, failure_of
from longbench_cli.measure.gate import Gate
from longbench_cli.measure.point import configure_threads
from longbench_cli.measure.ranks.job import Job, Place, join, take_device
from longbench_cli.measure.ranks.point import measure_ranks
from longbench_cli.sweep.case import Case
from longbench_cli.sweep.settings import Settings

ENDED = 3
"""Exit code of a rank that has written why the point ends."""


def main(arguments: list[str], environment: dict[str, str]) -> int:
    """The exit code."""
    gc.freeze()  # as measure/worker.py does
    parser = argparse.ArgumentParser()
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--result", type=Path, required=True)
    parser.add_argument("--turns", type=Path)
    given = parser.parse_args(arguments)
    place = Place.of(environment)
    states = StateWriter(given.folder, place.rank)
    states.stage("joining")
    request = json.loads((given.folder / "request.json").read_text())
    case = Case.model_validate(request["case"])
    settings = Settings.model_validate(request["settings"])
    configure_threads(settings, psutil.cpu_count(logical=False), place.local_size)
    pipe = ResultPipe(os.open(given.result, os.O_WRONLY))
    with ExitStack() as files:
        takes_turns = place.rank == 0 and request.get("turns")
        gate = Gate(pipe.send, files.enter_context(given.turns.open("rb"))) if takes_turns else Gate()
        try:
            device = take_device(place, case.device)
            job = join(place, case.device, environment)
            asked = {name: request[name] for name in ("full_time", "slowdown") if name in request}
            result = measure_ranks(job, device, case, settings, states, pipe.progress, gate, **asked)
        except Exception as error:
            failure = failure_of(error)
            if failure is None:
                raise
            pipe.send({"type": "result"} | _of_rank(failure, place))
            return ENDED
        _finish(job, pipe, result)
        return 0


def _of_rank(failure: dict[str, Any], place: Place) -> dict[str, Any]:
    """Memory is one rank's; what is not supported names the rank itself, where it is not all of them."""
    if failure["status"] != "oom":
        return failure
    return failure | {"reason": f"rank {place.rank}: {failure['reason']}"}


def _finish(job: Job, pipe: ResultPipe, result: dict[str, Any] | None) -> None:
    """Rank 0 tells the result before any rank ends: what happens to another's end is no news of the point."""
    if job.place.rank == 0 and result is not None:
        pipe.send({"type": "result"} | result)
    job.control.barrier()


def _exit(code: int) -> None:
    """End at once: what process groups do when they are taken down may wait for ranks that are gone."""
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


def run() -> None:
    """The program."""
    try:
        code = main(sys.argv[1:], dict(os.environ))
    except BaseException:  # SystemExit too: that the sweep is gone ends this rank alone
        traceback.print_exc()
        code = 1
    _exit(code)


if __name__ == "__main__":
    run()
