"""Ranks that do what a test asks, in place of those that measure; torch's agent, or a supervisor, starts them.

    python -m rank_programs --folder DIR --result PATH [--turns PATH]

What a rank does is Python text in the request: ``ranks`` by number, and ``others`` for the rest.
"""

from __future__ import annotations

import ctypes
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from longbench_cli.execute.states import StateWriter


class Rank:
    """What the text of a rank sees as ``rank``."""

    def __init__(self) -> None:
        self.number, self.size = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
        self.folder = Path(_word("--folder"))
        self.request = json.loads((self.folder / "request.json").read_text())
        self.state = StateWriter(self.folder, self.number)
        self._pipe = os.open(_word("--result"), os.O_WRONLY)

    def say(self, **message: Any) -> None:
        os.write(self._pipe, json.dumps(message).encode() + b"\n")

    def ok(self, **more: Any) -> None:
        self.say(type="result", status="ok", reason=None, latency={"median_ns": 2e9}, **more)

    def turns(self, count: int) -> None:
        with Path(_word("--turns")).open("rb") as file:
            for _ in range(count):
                self.say(type="waiting")
                if not file.readline():
                    sys.exit(9)


def _word(name: str) -> str:
    return sys.argv[sys.argv.index(name) + 1]


def main() -> None:
    rank = Rank()
    text = rank.request["ranks"].get(str(rank.number), rank.request["others"])
    names = {
        "rank": rank,
        "ctypes": ctypes,
        "os": os,
        "subprocess": subprocess,
        "sys": sys,
        "time": time,
    }
    exec(compile(text, "rank", "exec"), names)


if __name__ == "__main__":
    main()
