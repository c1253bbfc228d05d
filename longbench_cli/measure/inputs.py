"""Inputs that are a function of (seed, tensor, position): the same whole or chunk by chunk.

A row is the sum of one row of each of two pools of normals, x_p = a[(p + i) mod A] + b[(p + j) mod B],
where p counts the tokens of a batch through and A and B are prime: by the Chinese remainder theorem no
two tokens of a head are equal below A * B (over 4b) tokens. Adding slices costs a small part of drawing
normals. Offsets i and j differ from head to head and are drawn anew for every draw.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from math import prod

import torch
from torch import Tensor

from attention_impls.distributed.sharding import Spans
from attention_impls.oracle import Problem, RowSource, TensorRows
from attention_impls.pattern import Pattern
from longbench_cli.sweep.case import Case

DTYPES = {"float32": torch.float32, "float16": torch.float16, "bfloat16": torch.bfloat16}

LARGE_POOLS = (65521, 65537)
SMALL_POOLS = (4093, 4099)
"""Rows of the two pools, prime so that no stride of a power of two visits few of them; small ones where
a batch has no more tokens than that, and so no two tokens share even a half."""

_OFFSET_BYTES = 64
_OFFSETS = 64
"""Inputs start at a random multiple of 64 bytes within a page, so that no process keeps one layout."""


def scattered(shape: tuple[int, ...], dtype: torch.dtype, device: str, layout: torch.Generator) -> Tensor:
    """An uninitialised tensor in memory of its own, which it begins in at an offset drawn from ``layout``."""
    step = _OFFSET_BYTES // dtype.itemsize
    offset, count = step * int(torch.randint(_OFFSETS, (), generator=layout)), prod(shape)
    flat = torch.empty(count + step * _OFFSETS, dtype=dtype, device=device)
    view: Tensor = flat[offset : offset + count].view(shape)
    return view


@dataclass(frozen=True, slots=True)
class Inputs:
    """One draw of q, k, v and grad_out, each (batch, seq, heads, head_dim)."""

    q: Tensor
    k: Tensor
    v: Tensor
    grad_out: Tensor | None

    @property
    def nbytes(self) -> int:
        return sum(x.nbytes for x in (self.q, self.k, self.v))

    def problem(self, pattern: Pattern) -> Problem:
        """These inputs as the oracle takes them."""
        scale = self.q.shape[-1] ** -0.5
        return Problem(pattern, TensorRows(self.q), TensorRows(self.k), TensorRows(self.v), scale)


@dataclass(frozen=True, slots=True)
class _Half:
    """A pool (rows, d) and where each head begins in it."""

    pool: Tensor
    begins: list[int]

    def slices(self, head: int, start: int, count: int) -> Iterator[tuple[slice, Tensor]]:
        """The ``count`` rows of ``head`` from ``start``, as (where they go, slice of the pool)."""
        rows, done = len(self.pool), 0
        at = (start + self.begins[head]) % rows
        while done < count:
            length = min(count - done, rows - at)
            yield slice(done, done + length), self.pool[at : at + length]
            done, at = done + length, 0

    def pick(self, head: int, positions: Tensor) -> Tensor:
        return self.pool[(positions + self.begins[head]) % len(self.pool)]


class Draw:
    """One draw of a case's inputs: any part of it, at any time, always with the same bits."""

    def __init__(
        self, case: Case, halves: dict[str, tuple[_Half, _Half]], layout: torch.Generator, first: int = 0
    ) -> None:
        self._case = case
        self._halves = halves
        self._layout = layout
        self._first = first

    def sequences(self, first: int, count: int) -> Draw:
        """``count`` sequences of the batch from ``first``, as a draw of a batch of that size."""
        return Draw(self._case.model_copy(update={"batch": count}), self._halves, self._layout, self._first + first)

    def chunk(self, name: str, start: int, stop: int) -> Tensor:
        """Tokens start..stop-1 of all heads: (batch, stop - start, heads, head_dim), freshly allocated."""
        return self.of_spans(name, (range(start, stop),))

    def of_spans(self, name: str, spans: Spans) -> Tensor:
        """The tokens of ``spans``, one span after the other: (batch, tokens, heads, head_dim), freshly allocated."""
        case = self._case
        shape = (case.batch, sum(map(len, spans)), len(self._halves[name][0].begins), case.head_dim)
        out = scattered(shape, DTYPES[case.dtype], case.device, self._layout)
        if spans == (range(case.seq_len),):  # whole sequences are one run of positions through the batch
            self._fill(out.flatten(0, 1), name, self._first * case.seq_len)
            return out
        for batch, rows in enumerate(out):
            for span, part in zip(spans, rows.split([len(span) for span in spans]), strict=True):
                self._fill(part, name, (self._first + batch) * case.seq_len + span.start)
        return out

    def strided(self, name: str, head: int, positions: range) -> Tensor:
        """Some tokens of one head: (batch, len(positions), head_dim)."""
        return torch.stack([self._pick(name, batch, head, positions) for batch in range(self._case.batch)])

    def row_source(self, name: str) -> RowSource:
        """The tensor ``name`` as the oracle takes it."""
        return _DrawnRows(self, name)

    def problem(self, pattern: Pattern) -> Problem:
        """This draw as the oracle takes it; nothing is held."""
        q, k, v = (self.row_source(name) for name in ("q", "k", "v"))
        return Problem(pattern, q, k, v, self._case.head_dim**-0.5)

    def inputs(self, spans: Spans | None = None) -> Inputs:
        """The tokens of ``spans``, or all, at once: leaves that require a gradient if the pass has a backward."""
        with_grad, wanted = self._case.pass_ != "fwd", spans or (range(self._case.seq_len),)
        q, k, v = (self.of_spans(name, wanted).requires_grad_(with_grad) for name in ("q", "k", "v"))
        return Inputs(q, k, v, self.of_spans("grad_out", wanted) if with_grad else None)

    def _fill(self, rows: Tensor, name: str, begin: int) -> None:
        """Make ``rows`` (tokens, heads, head_dim) the tokens from ``begin`` on, counted through the batch."""
        first, second = self._halves[name]
        for head in range(len(first.begins)):
            for where, values in first.slices(head, begin, len(rows)):
                rows[where, head] = values
            for where, values in second.slices(head, begin, len(rows)):
                rows[where, head] += values

    def _pick(self, name: str, batch: int, head: int, positions: range) -> Tensor:
        at = torch.arange(positions.start, positions.stop, positions.step, device=self._case.device)
        at += (self._first + batch) * self._case.seq_len
        first, second = self._halves[name]
        return first.pick(head, at) + second.pick(head, at)


@dataclass(frozen=True, slots=True)
class _DrawnRows:
    draw: Draw
    name: str

    def rows(self, batch: int, head: int, positions: range) -> Tensor:
        return self.draw._pick(self.name, batch, head, positions).cpu().to(torch.float64)


class InputSource:
    """Draws standard normal inputs for a case, every draw into fresh allocations at random offsets."""

    def __init__(self, case: Case, seed: int) -> None:
        self._case = case
        self._random = torch.Generator().manual_seed(seed)
        rows = SMALL_POOLS if case.batch * case.seq_len <= SMALL_POOLS[0] else LARGE_POOLS
        names = ("q", "k", "v") if case.pass_ == "fwd" else ("q", "k", "v", "grad_out")
        self._pools = {name: tuple(self._pool(count) for count in rows) for name in names}

    def draw(self) -> Draw:
        """The next draw. The first of a seed is always the same, and so is each after it."""
        halves = {}
        for name, pools in self._pools.items():
            heads = self._case.kv_heads if name in ("k", "v") else self._case.heads
            first, second = (
                _Half(pool, torch.randint(len(pool), (heads,), generator=self._random).tolist()) for pool in pools
            )
            halves[name] = (first, second)
        layout = torch.Generator().manual_seed(int(torch.randint(1 << 31, (), generator=self._random)))
        return Draw(self._case, halves, layout)

    def _pool(self, rows: int) -> Tensor:
        values = torch.randn(rows, self._case.head_dim, generator=self._random) * 0.5**0.5
        pool: Tensor = values.to(self._case.device, DTYPES[self._case.dtype])
        return pool
