"""Runs the ranks of one point on this machine, by the engine of torchrun, and tells which of them fell.

    python -m longbench_cli.execute.launch --result-fd N < request.json

The request is one line, as a worker's, with the ``folder`` that the ranks share. Torch's elastic agent hosts the
store that they meet at, on a port that the kernel picks, starts a process for each with torchrun's environment, and
ends all when one falls. Ranks answer for themselves, on the pipe that this process was given: rank 0 with the
result, or whichever meets what is a result too (out of memory, unsupported, incorrect), and then exits with a code
other than 0. Of one that fell without a word, this process tells.
"""

from __future__ import annotations

import json
import logging
import os
import signal
import sys
import uuid
from collections.abc import Mapping, MutableMapping
from pathlib import Path
from typing import Any

from torch.distributed.elastic.multiprocessing import DefaultLogsSpecs, Std
from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
from torch.distributed.launcher.api import LaunchConfig, elastic_launch

from longbench_cli.execute.fall import Fall, first_fall
from longbench_cli.execute.oom_kills import oom_kills
from longbench_cli.execute.printed import last_words
from longbench_cli.execute.ranks import LOGS, RANK, REQUEST, printed_at, printed_by

LOOPBACK = "127.0.0.1"
MORTAL = "longbench_cli.execute.mortal"

_LOOK_EVERY_S = 0.25
"""How often the agent looks after its ranks: it disturbs what they measure each time."""


def main(module: str = RANK) -> None:
    """Run ``module`` as every rank of the point that is asked for on standard input."""
    logging.disable(logging.CRITICAL)  # what the agent says of a fall would pass for the last words of a rank
    pipe = int(sys.argv[sys.argv.index("--result-fd") + 1])
    line = sys.stdin.buffer.readline()
    request = json.loads(line)
    folder, world_size = Path(request["folder"]), int(request["case"]["world_size"])
    (folder / REQUEST).write_bytes(line)
    prepare(os.environ)
    here = f"/proc/{os.getpid()}/fd"
    words = ["-m", MORTAL, str(os.getpid()), module, "--folder", str(folder), "--result", f"{here}/{pipe}"]
    if request.get("turns"):
        words += ["--turns", f"{here}/0"]
    kills_before = oom_kills()
    try:
        elastic_launch(_configuration(folder, world_size), sys.executable)(*words)
    except ChildFailedError as error:
        codes = {rank: failure.exitcode for rank, failure in error.failures.items()}
        fall = first_fall([_fall(folder, rank, code, kills_before) for rank, code in codes.items()])
        sys.stderr.write("".join(f"{line}\n" for line in fall.tail))
        sys.stderr.flush()
        _send(
            pipe, {"type": "result", "status": "oom" if fall.starved else "crashed", "reason": fall.reason(world_size)}
        )


def prepare(environment: MutableMapping[str, str]) -> None:
    """What the ranks of one machine need to find each other, however that machine's own network is set up."""
    environment.pop("TORCH_DISABLE_SHARE_RDZV_TCP_STORE", None)  # they meet at the agent's store
    if Path("/sys/class/net/lo").exists():
        environment.setdefault("GLOO_SOCKET_IFNAME", "lo")  # else gloo asks what address this machine's name has


def _configuration(folder: Path, world_size: int) -> LaunchConfig:
    return LaunchConfig(
        min_nodes=1,
        max_nodes=1,
        nproc_per_node=world_size,
        run_id=uuid.uuid4().hex,
        rdzv_backend="c10d",
        rdzv_endpoint=f"{LOOPBACK}:0",
        local_addr=LOOPBACK,
        max_restarts=0,
        monitor_interval=_LOOK_EVERY_S,
        logs_specs=DefaultLogsSpecs(log_dir=str(folder / LOGS), redirects=Std.ALL),
    )


def _fall(folder: Path, rank: int, code: int, kills_before: int) -> Fall:
    tail = printed_by(folder, rank)
    starved = code == -signal.SIGKILL and oom_kills() > kills_before
    return Fall(rank, code, printed_at(folder, rank), last_words(tail), tail, starved=starved)


def _send(pipe: int, message: Mapping[str, Any]) -> None:
    """Say it; where a rank gave a result first, nobody listens any more."""
    data = (json.dumps(message) + "\n").encode()
    while data:
        data = data[os.write(pipe, data) :]


if __name__ == "__main__":
    main()
