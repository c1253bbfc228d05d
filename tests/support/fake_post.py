"""The store of a job in this process's memory, and a job of threads around it."""

from __future__ import annotations

import json
import threading
from collections import Counter
from typing import Any

from longbench_cli.execute.nodes import Introduction
from longbench_cli.execute.post import JobLost
from longbench_cli.execute.seat import Seat

VERSIONS = {"longbench": "1", "torch": "2", "python": "3"}


class FakePost:
    """As :class:`longbench_cli.execute.post.StorePost`; ``gone`` is what happens when the machine that has it dies."""

    def __init__(self) -> None:
        self.gone = False
        self.left: dict[str, str] = {}
        self._counts: Counter[str] = Counter()
        self._lock = threading.Lock()

    def put(self, name: str, message: Any) -> None:
        self._reach()
        self.left[name] = json.dumps(message)

    def put_first(self, name: str, message: Any) -> None:
        self._reach()
        self.left.setdefault(name, json.dumps(message))

    def take(self, name: str) -> Any:
        self._reach()
        return json.loads(self.left[name]) if name in self.left else None

    def count(self, name: str) -> int:
        self._reach()
        with self._lock:
            self._counts[name] += 1
            return self._counts[name]

    def _reach(self) -> None:
        if self.gone:
            raise JobLost("the store is gone")


def a_seat(rank: int, size: int, node_size: int = 2) -> Seat:
    """Of a job on nodes of ``node_size``."""
    return Seat("job/0", rank, rank % node_size, node_size, size, "127.0.0.1", 1)


def an_introduction(rank: int, versions: dict[str, str] = VERSIONS, gpus: int = 0, node_size: int = 2) -> Introduction:
    return Introduction(rank, f"node{rank // node_size}", versions, gpus, node_size)
