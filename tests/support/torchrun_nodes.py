"""Two agents of torchrun on one machine, as two nodes of a job; what each prints is kept."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def free_port() -> int:
    """One that nobody has at this moment."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


def environment_of_nodes(marker: Mapping[str, str]) -> dict[str, str]:
    """Of all processes of a job: nodes that meet on this machine alone, and find the tests' modules."""
    path = (ROOT, ROOT / "tests" / "fixtures", ROOT / "tests" / "support")
    return {
        **os.environ, **marker, "PYTHONPATH": os.pathsep.join(map(str, path)), "OMP_NUM_THREADS": "1",
        "GLOO_SOCKET_IFNAME": "lo",
    }  # fmt: skip


@dataclass(frozen=True)
class Node:
    """One agent that has ended."""

    code: int
    printed: str


class Nodes:
    """A job of ``len(words)`` nodes with a process each; ``words`` are what Python is given on each."""

    def __init__(self, folder: Path, words: Sequence[Sequence[str]], marker: Mapping[str, str]) -> None:
        endpoint = f"127.0.0.1:{free_port()}"
        self._printed = [folder / f"node-{number}" for number in range(len(words))]
        self.agents = [
            subprocess.Popen(
                [sys.executable, "-m", "torch.distributed.run", f"--nnodes={len(words)}", "--nproc-per-node=1",
                 "--rdzv-backend=c10d", f"--rdzv-endpoint={endpoint}", "--rdzv-id=1",
                 f"--rdzv-conf=is_host={int(number == 0)}", "--local-addr=127.0.0.1", "--no-python",
                 sys.executable, *given],
                cwd=folder,
                env=environment_of_nodes(marker),
                stdout=printed.open("wb"),
                stderr=subprocess.STDOUT,
            )
            for number, (given, printed) in enumerate(zip(words, self._printed, strict=True))
        ]  # fmt: skip

    def end(self, seconds: float = 400.0) -> list[Node]:
        """Wait for all."""
        codes = [agent.wait(seconds) for agent in self.agents]
        return [Node(code, file.read_text()) for code, file in zip(codes, self._printed, strict=True)]
