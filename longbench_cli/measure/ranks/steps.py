"""Work that all ranks do at once, as often as rank 0 says."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TypeVar

from longbench_cli.measure.ranks.control import Control

T = TypeVar("T")

Action = Callable[[], int]
"""One rank's part; its number goes to rank 0."""

Call = Callable[[str], list[int]]
"""Has all ranks do the action of that name, and gives what each found."""

_ENOUGH = -1


def in_step(control: Control, actions: Mapping[str, Action], lead: Callable[[Call], T]) -> T | None:
    """On rank 0 what ``lead`` gives, which calls ``actions``; None on the others, which do them until it is through.

    Every rank has actions of the same names in the same order.
    """
    names = list(actions)
    if control.rank:
        while (order := control.from_lead(_ENOUGH)) != _ENOUGH:
            control.numbers(actions[names[order]]())
        return None

    def call(name: str) -> list[int]:
        control.from_lead(names.index(name))
        return control.numbers(actions[name]())

    result = lead(call)
    control.from_lead(_ENOUGH)
    return result
