"""The collectives of one pass, as they can be answered again without being made, or made again alone."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from torch import Tensor

from attention_impls.distributed.traffic import Kind

if TYPE_CHECKING:
    from attention_impls.distributed.comm import Pending


@dataclass(frozen=True, slots=True)
class _Call:
    kind: Kind
    begin: Callable[[], Pending]
    brought: Tensor


@dataclass(frozen=True, slots=True)
class _Step:
    """Call number ``number`` was begun or awaited, or so many calls were left to others."""

    what: Literal["begin", "wait", "leave"]
    number: int


class KeptPass:
    """What was begun and awaited, in order; empty at first. It holds what was sent and what came."""

    def __init__(self) -> None:
        self._calls: list[_Call] = []
        self._steps: list[_Step] = []

    def add(self, kind: Kind, begin: Callable[[], Pending], pending: Pending) -> None:
        """A collective was begun, by ``begin``."""
        number = len(self._calls)
        self._calls.append(_Call(kind, begin, pending.result))
        self._steps.append(_Step("begin", number))
        pending.on_wait = lambda: self._steps.append(_Step("wait", number))

    def leave(self, calls: int) -> None:
        """So many are made by others."""
        self._steps.append(_Step("leave", calls))

    def answers(self) -> Iterator[tuple[Kind, Tensor]]:
        """The kind of each collective, and what it brought."""
        return ((call.kind, call.brought) for call in self._calls)

    def again(self, count: Callable[[int, Kind | None], None]) -> None:
        """Begin and await the collectives in their order; ``count`` is told of those begun, and left: of kind None."""
        begun: dict[int, Pending] = {}
        for step in self._steps:
            if step.what == "leave":
                count(step.number, None)
            elif step.what == "begin":
                call = self._calls[step.number]
                count(1, call.kind)
                begun[step.number] = call.begin()
            else:
                begun.pop(step.number).wait()
