"""Attention executed as a stream: what it reads from, and what comes out of it part by part."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from torch import Tensor


class ChunkSource(Protocol):
    """Where "q", "k", "v" and "grad_out" come from. Calls with the same arguments give the same rows."""

    def chunk(self, name: str, start: int, stop: int) -> Tensor:
        """Tokens start..stop-1 of all heads: (batch, stop - start, heads, head_dim)."""
        ...

    def strided(self, name: str, head: int, positions: range) -> Tensor:
        """Some tokens of one head: (batch, len(positions), head_dim)."""
        ...


@dataclass(frozen=True, slots=True)
class Collected:
    """What spans chunks has been computed from rows fetched with a stride."""


@dataclass(frozen=True, slots=True)
class Outputs:
    """out (batch, n, heads, d) and lse (batch, heads, n) of the n tokens from ``start``."""

    start: int
    out: Tensor
    lse: Tensor


@dataclass(frozen=True, slots=True)
class Gradients:
    """dq, dk and dv (batch, n, heads or kv_heads, d) of the n tokens from ``start``, by keys of their chunk."""

    start: int
    dq: Tensor
    dk: Tensor
    dv: Tensor


@dataclass(frozen=True, slots=True)
class SpanningGradients:
    """What spans chunks adds to dq, dk and dv of query head ``head`` at ``positions``.

    Each is (batch, len(positions), d), fp32 or wider; dk and dv belong to the key head that ``head`` reads.
    """

    head: int
    positions: range
    dq: Tensor
    dk: Tensor
    dv: Tensor


Event = Collected | Outputs | Gradients | SpanningGradients


class Stream(Protocol):
    """An attention over a source of any length; memory is that of a chunk and of what spans chunks."""

    @property
    def chunks(self) -> list[tuple[int, int]]:
        """(start, stop) of every chunk, in order."""
        ...

    def forward(self, source: ChunkSource) -> Iterator[Event]:
        """:class:`Collected`, then :class:`Outputs` of every chunk."""
        ...

    def backward(self, source: ChunkSource) -> Iterator[Event]:
        """:class:`Collected`; each chunk's :class:`Outputs`, then :class:`Gradients`; :class:`SpanningGradients`."""
        ...
