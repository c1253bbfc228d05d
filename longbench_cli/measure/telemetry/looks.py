"""What a look at the machine saw, and a list of such that stays short over hours."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Generic, TypeVar

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Look:
    """One moment, by the clock perf_counter_ns. None is what was not told, or not asked this time."""

    at_ns: int
    frequency_mhz: float | None = None
    sm_clock_mhz: float | None = None
    memory_clock_mhz: float | None = None
    power_w: float | None = None
    temperature_c: float | None = None
    utilisation: float | None = None
    memory_utilisation: float | None = None
    reasons: frozenset[str] | None = None
    pcie_rates: tuple[float, float] | None = None


def merge_looks(first: Look, second: Look) -> Look:
    """Two looks as one: the first, with what must not be lost of the second."""
    reasons = first.reasons
    if second.reasons is not None:
        reasons = second.reasons | (reasons or frozenset())
    return replace(first, reasons=reasons, pcie_rates=first.pcie_rates or second.pcie_rates)


class Thinned(Generic[T]):
    """At most ``limit`` items: a full list is thinned by merging neighbours. ``limit`` is an even number.

    ``stride`` is how many items one stands for. Where items come at a steady pace, whoever adds them
    may slow down by it.
    """

    def __init__(self, limit: int, merge: Callable[[T, T], T]) -> None:
        self.items: list[T] = []
        self.stride = 1
        self._limit = limit
        self._merge = merge

    def add(self, item: T) -> None:
        if len(self.items) == self._limit:
            pairs = zip(self.items[::2], self.items[1::2], strict=True)
            self.items = [self._merge(first, second) for first, second in pairs]
            self.stride *= 2
        self.items.append(item)
