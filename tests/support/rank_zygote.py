"""Starts the ranks of points as real processes, cheaply: one process has imported torch, and each rank is a fork of it.

A line of JSON on stdin is a point: {"ranks": [{environment}, ...], "arguments": [...], "printed": PATH}. The answer, a
line too, is the exit codes of the ranks. Like a launcher it kills the others as soon as one ends with another code
than 0, and waits for them all.
"""

from __future__ import annotations

import gc
import json
import os
import signal
import sys

import torch._inductor
import torch.fx.experimental.symbolic_shapes

import longbench_cli.measure.ranks.process as rank_process
from attention_impls import dilated_attention, vanilla_attention

_PRELOADED = (torch._inductor, torch.fx.experimental.symbolic_shapes, dilated_attention, vanilla_attention)
"""What a rank would load by and by: poisoned memory and gradients ask for the first two, which takes seconds."""


def _rank(environment: dict[str, str], arguments: list[str], printed: str) -> None:
    file = os.open(printed, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(file, 1)
    os.dup2(file, 2)
    os.environ.update(environment)
    sys.argv[1:] = arguments
    rank_process.run()


def _codes(pids: list[int]) -> list[int]:
    codes: dict[int, int] = {}
    while len(codes) < len(pids):
        pid, status = os.waitpid(-1, 0)
        codes[pid] = os.waitstatus_to_exitcode(status)
        if codes[pid] != 0:
            for other in pids:
                if other not in codes:
                    os.kill(other, signal.SIGKILL)
    return [codes[pid] for pid in pids]


def main() -> None:
    gc.collect()
    gc.freeze()  # what is here already is nothing for the ranks to collect
    for line in sys.stdin:
        point = json.loads(line)
        pids = []
        for environment in point["ranks"]:
            pid = os.fork()
            if pid == 0:
                _rank(environment, point["arguments"], point["printed"])
            pids.append(pid)
        sys.stdout.write(json.dumps(_codes(pids)) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
