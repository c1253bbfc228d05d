"""What the supervisors of a job tell each other, through the store of torchrun's agent."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import timedelta
from functools import partial
from typing import Any, Protocol, TypeVar

from longbench_cli.execute.seat import Seat

_PATIENCE = timedelta(seconds=60)
_T = TypeVar("_T")


class JobLost(Exception):
    """A part of the job is gone, and with it what the parts have in common: one line for the user."""


class Post(Protocol):
    """Texts by name, that every supervisor sees. No call waits for another supervisor.

    All raise :class:`JobLost` where the store is gone.
    """

    def put(self, name: str, message: Any) -> None:
        """Leave ``message``, in place of what was there."""
        ...

    def put_first(self, name: str, message: Any) -> None:
        """Leave ``message`` unless there is one."""
        ...

    def take(self, name: str) -> Any:
        """What was left; None while there is nothing. It stays."""
        ...

    def count(self, name: str) -> int:
        """How often this was called by anybody, this call too."""
        ...


class StorePost:
    """The store itself. Importing torch is left until a job is known to be one."""

    def __init__(self, seat: Seat) -> None:
        import torch.distributed as dist

        self.prefix = f"longbench/{seat.job}"
        connect = partial(dist.TCPStore, seat.address, seat.port, is_master=False, timeout=_PATIENCE)  # type: ignore[attr-defined]
        self._store = dist.PrefixStore(self.prefix, self._asked(connect))  # type: ignore[attr-defined]

    def put(self, name: str, message: Any) -> None:
        self._asked(lambda: self._store.set(name, json.dumps(message)))

    def put_first(self, name: str, message: Any) -> None:
        self._asked(lambda: self._store.compare_set(name, "", json.dumps(message)))

    def take(self, name: str) -> Any:
        if not self._asked(lambda: self._store.check([name])):
            return None
        return json.loads(self._asked(lambda: self._store.get(name)))

    def count(self, name: str) -> int:
        return self._asked(lambda: self._store.add(name, 1))

    @staticmethod
    def _asked(ask: Callable[[], _T]) -> _T:
        try:
            return ask()
        except RuntimeError as error:  # torch.distributed.DistError and its kin
            raise JobLost("the store of torchrun's agent is gone: the machine of rank 0, or its agent") from error
