"""Problems whose sequence is shared by ranks: what each rank does, and what one process makes of the whole."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from attention_impls.api import get_implementation
from attention_impls.distributed.comm import Communicator
from attention_impls.distributed.sharding import Spans
from attention_impls.distributed.traffic import Traffic
from attention_impls.shape import AttentionShape


@dataclass(frozen=True)
class Problem:
    """An implementation, its options, a shape with its world size, and the seed of its inputs.

    Keys and values from token ``spoiled_from`` on are no numbers.
    """

    impl: str
    options: dict[str, Any]
    shape: AttentionShape
    seed: int = 0
    backend: str = "sdpa-flash"
    dtype: torch.dtype = torch.float64
    spoiled_from: int | None = None

    def with_ranks(self, world_size: int) -> Problem:
        return replace(self, shape=replace(self.shape, world_size=world_size))

    def inputs(self) -> list[Tensor]:
        """q, k, v and grad_out of the whole sequence."""
        shape, generator = self.shape, torch.Generator().manual_seed(self.seed)
        heads = (shape.heads, shape.kv_heads, shape.kv_heads, shape.heads)
        sizes = [(shape.batch, shape.seq_len, h, shape.head_dim) for h in heads]
        found = [torch.randn(size, generator=generator, dtype=torch.float64).to(self.dtype) for size in sizes]
        if self.spoiled_from is not None:
            for x in found[1:3]:
                x[:, self.spoiled_from :] = float("nan")
        return found

    def predicted(self, pass_: str) -> tuple[Traffic, ...]:
        parallel = get_implementation(self.impl).parallel
        assert parallel is not None
        return parallel.traffic(self.shape, self.options, pass_, self.dtype.itemsize)


@dataclass(frozen=True)
class Attended:
    """out (batch, seq, heads, d), lse (batch, heads, seq), dq, dk, dv; of the whole, or of a rank's tokens."""

    out: Tensor
    lse: Tensor
    dq: Tensor
    dk: Tensor
    dv: Tensor


def part(x: Tensor, spans: Spans) -> Tensor:
    """A rank's tokens of x (batch, seq, ...)."""
    return torch.cat([x[:, span.start : span.stop] for span in spans], dim=1)


def attend(comm: Communicator, problem: Problem) -> tuple[Attended, Traffic, Traffic]:
    """What a rank computes of the problem; the traffic of its forward and of its backward."""
    parallel = get_implementation(problem.impl).parallel
    assert parallel is not None
    spans = parallel.spans(problem.shape, problem.options, comm.rank)
    *leaves, grad = (part(x, spans) for x in problem.inputs())
    q, k, v = (x.requires_grad_() for x in leaves)
    out, lse = parallel.load()(
        q, k, v, comm=comm, shape=problem.shape, backend=problem.backend, causal=problem.shape.causal,
        return_lse=True, **problem.options,
    )  # fmt: skip
    forward = comm.take_counts()
    grads = torch.autograd.grad(out, (q, k, v), grad)
    return Attended(out, lse, *grads), forward, comm.take_counts()


def joined(problem: Problem, parts: list[Attended]) -> Attended:
    """The ranks' parts put where their tokens are."""
    parallel = get_implementation(problem.impl).parallel
    assert parallel is not None

    def whole(name: str, tokens_dim: int) -> Tensor:
        found = [getattr(one, name).movedim(tokens_dim, 0) for one in parts]
        spans = [parallel.spans(problem.shape, problem.options, rank) for rank in range(len(parts))]
        at = torch.cat([torch.arange(span.start, span.stop) for own in spans for span in own])
        assert at.sort().values.equal(torch.arange(problem.shape.seq_len))
        rows = torch.cat(found)
        return torch.empty_like(rows).index_copy_(0, at, rows).movedim(0, tokens_dim)

    return Attended(*(whole(name, 2 if name == "lse" else 1) for name in ("out", "lse", "dq", "dk", "dv")))


def largest_difference(actual: Attended, expected: Attended) -> float:
    """Over all of their tensors; infinite if one is not as the other where that is infinite or no number."""
    worst = 0.0
    for name in ("out", "lse", "dq", "dk", "dv"):
        a, b = getattr(actual, name), getattr(expected, name)
        assert a.shape == b.shape, name
        same = a == b
        gap = torch.where(same, torch.zeros((), dtype=a.dtype), (a - b).abs()).nan_to_num(float("inf"))
        worst = max(worst, float(gap.max()))
    return worst
