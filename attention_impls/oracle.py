"""Float64 truth on sampled rows, from the Pattern alone.

For one (batch, head, query) the oracle fetches just the keys that the pattern names, so a row costs
O(keys of the row) at any sequence length. Gradients follow for a grad_out that is zero outside the
sampled rows: then dq, dk and dv are sums over those rows and their keys only.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Protocol

import torch
from torch import Tensor

from attention_impls.pattern import Pattern

CHUNK_KEYS = 1 << 18
"""Keys fetched at once: bounds the float64 copies to some 128 MiB at head dim 64."""


@dataclass(frozen=True, slots=True, order=True)
class Row:
    """One output row: (batch, query head, query position)."""

    batch: int
    head: int
    query: int

    def __str__(self) -> str:
        return f"batch {self.batch}, head {self.head}, query {self.query}"


class RowSource(Protocol):
    """Rows of a (batch, seq, heads, d) tensor that may never exist as a whole."""

    def rows(self, batch: int, head: int, positions: range) -> Tensor:
        """The rows at ``positions``, (len(positions), d), float64, on the CPU."""
        ...


@dataclass(frozen=True, slots=True)
class TensorRows:
    """Rows of a tensor (batch, seq, heads, d) that is at hand."""

    tensor: Tensor

    def rows(self, batch: int, head: int, positions: range) -> Tensor:
        picked = self.tensor[batch, positions.start : positions.stop : positions.step, head]
        return picked.detach().cpu().to(torch.float64)


@dataclass(frozen=True, slots=True)
class Problem:
    """The inputs of an attention: where its q, k and v rows come from, and its scale."""

    pattern: Pattern
    q: RowSource
    k: RowSource
    v: RowSource
    scale: float

    def kv_head(self, row: Row) -> int:
        return row.head // self.pattern.shape.group_size

    def query(self, row: Row) -> Tensor:
        return self.q.rows(row.batch, row.head, range(row.query, row.query + 1))[0]


def sample_rows(pattern: Pattern, count: int, seed: int) -> list[Row]:
    """Rows worth checking: the ends, the neighbourhoods of powers of two, and random ones.

    Segment and block boundaries lie at multiples of powers of two in every named schedule, and that
    is where an off-by-one shows. Heads and batches are drawn so that all heads are seen if there are
    enough rows.
    """
    shape = pattern.shape
    draw = random.Random(seed)
    n = shape.seq_len
    edges = {0, n - 1}
    power = 1
    while power < n:
        edges |= {power - 1, power, n - power}
        power *= 2
    picked = sorted(edges, key=lambda _: draw.random())[: count // 2]
    picked += [draw.randrange(n) for _ in range(count - len(picked))]
    heads = [(i + draw.randrange(shape.heads)) % shape.heads if i >= shape.heads else i for i in range(count)]
    draw.shuffle(heads)
    return sorted({Row(draw.randrange(shape.batch), h, t) for h, t in zip(heads, picked, strict=True)})


def _chunks(ranges: Sequence[range]) -> Iterator[range]:
    for keys in ranges:
        for begin in range(0, len(keys), CHUNK_KEYS):
            yield keys[begin : begin + CHUNK_KEYS]


def _scores(problem: Problem, row: Row, chunks: Sequence[range]) -> list[Tensor]:
    query, head = problem.query(row), problem.kv_head(row)
    return [problem.k.rows(row.batch, head, keys) @ query * problem.scale for keys in chunks]


def oracle_row(problem: Problem, row: Row) -> tuple[Tensor, Tensor]:
    """(out (d,), lse ()) of one row in float64; zeros and -inf if the row sees no key."""
    chunks = list(_chunks(problem.pattern.key_ranges(row.head, row.query)))
    if not chunks:
        return torch.zeros_like(problem.query(row)), torch.tensor(float("-inf"), dtype=torch.float64)
    scores = _scores(problem, row, chunks)
    lse = torch.logsumexp(torch.cat(scores), 0)
    head = problem.kv_head(row)
    parts = [torch.exp(s - lse) @ problem.v.rows(row.batch, head, keys) for s, keys in zip(scores, chunks, strict=True)]
    return torch.stack(parts).sum(0), lse


@dataclass(frozen=True, slots=True)
class RowGradient:
    """What one row adds to dk and dv at ``keys`` (positions may recur between row gradients).

    ``size`` (keys,) is the magnitude of the terms whose difference each ds is: see :class:`Gradient`.
    """

    keys: range
    dk: Tensor
    dv: Tensor
    size: Tensor


@dataclass(frozen=True, slots=True)
class Gradient:
    """A gradient and the root-mean-square size of the terms it is summed from.

    A softmax gradient is a difference, p (grad_out . v) - p (grad_out . out), that cancels to nothing
    where a query sees a single key. Rounding is relative to the terms, not to what is left of them.
    """

    value: Tensor
    size: float


def oracle_row_gradient(problem: Problem, row: Row, grad_out: Tensor) -> tuple[Gradient, list[RowGradient]]:
    """dq (d,) of one row and its shares of dk and dv, for ``grad_out`` (d,) on that row; float64.

    With p the softmax, ds = p (grad_out . v - grad_out . out) scale, dq = ds k, dk = ds q,
    dv = p grad_out (FlashAttention-2, section 2.2). Where the pattern's mixing is not exact, each range
    is a branch whose mixing weight is a constant: its own output takes the place of out.
    """
    query, head = problem.query(row), problem.kv_head(row)
    dq, dq_square = torch.zeros_like(query), 0.0
    shares: list[RowGradient] = []
    ranges = problem.pattern.key_ranges(row.head, row.query)
    if not ranges:
        return Gradient(dq, 0.0), shares
    grad_out = grad_out.to(torch.float64)
    out, lse = oracle_row(problem, row)
    for branch in ranges:
        chunks = list(_chunks([branch]))
        scores = _scores(problem, row, chunks)
        if not problem.pattern.exact_mixing:
            branch_lse = torch.logsumexp(torch.cat(scores), 0)
            out = torch.stack(
                [
                    torch.exp(s - branch_lse) @ problem.v.rows(row.batch, head, keys)
                    for s, keys in zip(scores, chunks, strict=True)
                ]
            ).sum(0)
        for s, keys in zip(scores, chunks, strict=True):
            p, k = torch.exp(s - lse), problem.k.rows(row.batch, head, keys)
            dp, delta = problem.v.rows(row.batch, head, keys) @ grad_out, grad_out @ out
            ds = p * (dp - delta) * problem.scale
            terms = p * (dp.square() + delta.square()).sqrt() * problem.scale
            dq += ds @ k
            dq_square += float(terms.square() @ k.square().mean(-1))
            size = terms * query.square().mean().sqrt()
            shares.append(RowGradient(keys, ds.outer(query), p.outer(grad_out), size))
    return Gradient(dq, dq_square**0.5), shares


@dataclass(frozen=True, slots=True)
class KeyGradient:
    """dk and dv (keys, d) of one (batch, key head) at ``positions``, summed over the sampled rows."""

    batch: int
    kv_head: int
    positions: Tensor
    dk: Gradient
    dv: Gradient


def oracle_gradients(
    problem: Problem, rows: Sequence[Row], grad_rows: Tensor
) -> Iterator[tuple[list[tuple[Row, Gradient]], KeyGradient]]:
    """Gradients for a grad_out that is ``grad_rows`` (len(rows), d) on ``rows`` and zero elsewhere.

    Yields, one (batch, key head) at a time so that memory stays bounded, the dq of its rows and the
    dk and dv of all the keys they see.
    """
    order = sorted(range(len(rows)), key=lambda i: (rows[i].batch, problem.kv_head(rows[i])))
    for (batch, kv_head), indices in groupby(order, key=lambda i: (rows[i].batch, problem.kv_head(rows[i]))):
        dqs: list[tuple[Row, Gradient]] = []
        shares: list[RowGradient] = []
        for i in indices:
            dq, parts = oracle_row_gradient(problem, rows[i], grad_rows[i])
            dqs.append((rows[i], dq))
            shares += parts
        yield dqs, _sum_shares(batch, kv_head, shares, grad_rows.shape[1])


def _sum_shares(batch: int, kv_head: int, shares: list[RowGradient], head_dim: int) -> KeyGradient:
    if not shares:
        nothing = Gradient(torch.zeros(0, head_dim, dtype=torch.float64), 0.0)
        return KeyGradient(batch, kv_head, torch.zeros(0, dtype=torch.int64), nothing, nothing)
    seen = [torch.arange(s.keys.start, s.keys.stop, s.keys.step) for s in shares]
    positions = torch.unique(torch.cat(seen))
    dk = torch.zeros(len(positions), head_dim, dtype=torch.float64)
    dv, square = torch.zeros_like(dk), torch.zeros(len(positions), dtype=torch.float64)
    for share, keys in zip(shares, seen, strict=True):
        where = torch.searchsorted(positions, keys)
        dk.index_add_(0, where, share.dk)
        dv.index_add_(0, where, share.dv)
        square.index_add_(0, where, share.size.square())
    dv_size = float(dv.square().mean().sqrt())
    return KeyGradient(batch, kv_head, positions, Gradient(dk, float(square.mean().sqrt())), Gradient(dv, dv_size))
