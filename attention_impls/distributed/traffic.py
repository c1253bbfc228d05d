"""What collectives move: the same arithmetic for what is predicted of a case and for what is counted.

Sizes follow nccl-tests (doc/PERFORMANCE.md): the size S of an all-gather is what every rank ends with, of a
reduce-scatter what every rank begins with, of an all-to-all what a rank sends with its own part, of a send
and receive the message, of an all-reduce the buffer. What is sent and received is what must cross to or from
other ranks: a lower bound on traffic, whatever route a library takes.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Literal, get_args

Kind = Literal["all_gather", "reduce_scatter", "send_recv", "all_to_all", "all_reduce"]
KINDS: tuple[Kind, ...] = get_args(Kind)


@dataclass(frozen=True, slots=True)
class Count:
    """Collectives of one kind, as one rank sees them.

    Attributes:
        calls: how many.
        size: bytes, by nccl-tests' definition of size.
        sent: bytes that this rank gives to others.
        received: bytes that it gets from others.
    """

    calls: int = 0
    size: int = 0
    sent: int = 0
    received: int = 0

    def __add__(self, other: Count) -> Count:
        return Count(
            self.calls + other.calls,
            self.size + other.size,
            self.sent + other.sent,
            self.received + other.received,
        )


Traffic = Mapping[Kind, Count]
"""What one rank exchanges in one iteration, by kind; a kind that it does not use is absent."""


def total(parts: Iterable[tuple[Kind, Count]]) -> dict[Kind, Count]:
    """The counts of each kind added up, in the order of :data:`KINDS`."""
    found: dict[Kind, Count] = {}
    for kind, count in parts:
        found[kind] = found.get(kind, Count()) + count
    return {kind: found[kind] for kind in KINDS if kind in found}


def all_gather(own: int, whole: int, ranks: int) -> Count:
    """Each of ``ranks`` gives ``own`` bytes of its own; all end with ``whole``."""
    return Count(1, whole, own * (ranks - 1), whole - own)


def reduce_scatter(own: int, whole: int, ranks: int) -> Count:
    """Each of ``ranks`` begins with ``whole`` bytes of terms and ends with the sum of the ``own`` that are its part."""
    return Count(1, whole, whole - own, own * (ranks - 1))


def send_recv(sent: int, received: int) -> Count:
    """A message to one rank, and one from another, at once."""
    return Count(1, sent, sent, received)


def all_to_all(sent: int, received: int, own: int) -> Count:
    """``sent`` bytes are laid out for all ranks, ``own`` of them for itself, and ``received`` come, own ones again."""
    return Count(1, sent, sent - own, received - own)


def all_reduce(size: int, ranks: int) -> Count:
    """A sum that all have: at the least 2 (n - 1) / n of the buffer goes out of each rank, and comes in."""
    moved = 2 * size * (ranks - 1) // ranks
    return Count(1, size, moved, moved)


def sum_bytes(element_bytes: int) -> int:
    """Bytes of a number whose terms are added up between ranks: fp32 at the least, fp64 for fp64."""
    return max(4, element_bytes)


def bus_factor(kind: Kind, ranks: int) -> float:
    """Bus bandwidth over algorithm bandwidth (nccl-tests, doc/PERFORMANCE.md)."""
    if kind == "send_recv":
        return 1.0
    return (2.0 if kind == "all_reduce" else 1.0) * (ranks - 1) / ranks
