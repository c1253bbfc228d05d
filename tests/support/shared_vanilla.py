"""Vanilla attention of one sequence, whole in float64 and shared by ranks."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import chain
from typing import Any
from unittest import mock

import torch
from torch import Tensor
from worlds import run_ranks

from attention_impls import vanilla_attention
from attention_impls.distributed import vanilla, vanilla_plan
from attention_impls.distributed.comm import Communicator, Pending
from attention_impls.distributed.vanilla import vanilla_parallel
from attention_impls.kernels.registry import get_backend
from attention_impls.shape import AttentionShape

NAMES = ("out", "lse", "dq", "dk", "dv")


@dataclass(frozen=True)
class Part:
    """What one rank found, and what was counted.

    Attributes:
        tensors: its tokens' (out, lse, dq, dk, dv).
        fwd, bwd: what it exchanged in a forward and in a backward.
        pairs, calls: what kernels were called with in a forward, and how often.
        got: the communicator's count of how far this rank got.
    """

    tensors: tuple[Tensor, ...]
    fwd: dict[str, Any]
    bwd: dict[str, Any]
    pairs: int
    calls: int
    got: int


def inputs(shape: AttentionShape, dtype: torch.dtype = torch.float64) -> tuple[Tensor, ...]:
    """q, k, v and grad_out of the whole sequence."""
    numbers = torch.Generator().manual_seed(shape.seq_len)
    heads = (shape.heads, shape.kv_heads, shape.kv_heads, shape.heads)
    return tuple(
        torch.randn(shape.batch, shape.seq_len, count, shape.head_dim, generator=numbers, dtype=torch.float64).to(dtype)
        for count in heads
    )


def places(shape: AttentionShape, parallel: str, rank: int) -> list[int]:
    """The positions of a rank's tokens."""
    return list(chain.from_iterable(vanilla_plan.spans(shape, {"parallel": parallel}, rank)))


@contextmanager
def counted_kernels() -> Iterator[list[int]]:
    """The (batch, head, query, key) pairs of every forward of the kernels that are looked up meanwhile."""
    pairs: list[int] = []

    def counting(*args: Any) -> Any:
        found = get_backend(*args)

        def forward(q: Tensor, k: Tensor, v: Tensor, causal: bool, scale: float) -> tuple[Tensor, Tensor]:
            n = q.shape[1]
            pairs.append(q.shape[0] * q.shape[2] * (n * (n + 1) // 2 if causal else n * k.shape[1]))
            return found.forward(q, k, v, causal, scale)

        return replace(found, forward=forward)

    with mock.patch.object(vanilla, "get_backend", counting):
        yield pairs


def share(comm: Communicator, shape: AttentionShape, parallel: str, dtype: torch.dtype, backend: str) -> Part:
    """One rank's part, forward and backward."""
    mine = places(shape, parallel, comm.rank)
    q, k, v, grad = (x[:, mine] for x in inputs(shape, dtype))
    leaves = [x.requires_grad_() for x in (q, k, v)]
    call: dict[str, Any] = {"comm": comm, "shape": shape, "parallel": parallel, "backend": backend}
    with counted_kernels() as pairs:
        out = vanilla_parallel(*leaves, **call, causal=shape.causal)
    fwd = comm.take_counts()
    grads = torch.autograd.grad(out, leaves, grad)
    bwd = comm.take_counts()
    again, lse = vanilla_parallel(*leaves, **call, causal=shape.causal, return_lse=True)
    assert torch.equal(again, out)
    comm.take_counts()
    return Part((out, lse, *grads), dict(fwd), dict(bwd), sum(pairs), len(pairs), comm.calls)


def shared(
    shape: AttentionShape, parallel: str, dtype: torch.dtype = torch.float64, backend: str = "math"
) -> tuple[list[Tensor], list[Part]]:
    """(out, lse, dq, dk, dv) of the whole sequence, put together, and every rank's part.

    What was counted is what was predicted, and all ranks got equally far.
    """
    parts = run_ranks(shape.world_size, share, shape, parallel, dtype, backend)
    for passes in ("fwd", "bwd"):
        predicted = vanilla_plan.traffic_of(shape, {"parallel": parallel}, passes, dtype.itemsize)
        assert [getattr(part, passes) for part in parts] == [dict(counts) for counts in predicted], passes
    assert len({part.got for part in parts}) == 1
    found = []
    for number, name in enumerate(NAMES):
        dim = 2 if name == "lse" else 1
        rows = torch.cat([part.tensors[number] for part in parts], dim)
        order = list(chain.from_iterable(places(shape, parallel, rank) for rank in range(shape.world_size)))
        found.append(torch.empty_like(rows).index_copy_(dim, torch.tensor(order), rows))
    return found, parts


def whole(shape: AttentionShape, dtype: torch.dtype = torch.float64) -> list[Tensor]:
    """(out, lse, dq, dk, dv) of the whole sequence in one process, computed in ``dtype``."""
    q, k, v, grad = inputs(shape, dtype)
    leaves = [x.requires_grad_() for x in (q, k, v)]
    out, lse = vanilla_attention(*leaves, causal=shape.causal, backend="math", return_lse=True)
    return [out.detach(), lse, *torch.autograd.grad(out, leaves, grad)]


def assert_exact(shape: AttentionShape, parallel: str, backend: str = "math") -> list[Part]:
    """The shared result is the whole one to 1e-12; every rank's part."""
    found, parts = shared(shape, parallel, backend=backend)
    for name, actual, expected in zip(NAMES, found, whole(shape), strict=True):
        assert actual.shape == expected.shape, name
        error = float((actual - expected).abs().max())
        assert error <= 1e-12, f"{name} is off by {error:.3g}"
    return parts


def saved_numbers(comm: Communicator, shape: AttentionShape, parallel: str) -> tuple[int, int]:
    """How many numbers are kept for the backward, and how many q, k, v, out and lse of this rank are."""
    kept: dict[int, int] = {}

    def keep(x: Tensor) -> Tensor:
        kept[x.data_ptr()] = x.numel()
        return x

    q, k, v, _ = (x[:, places(shape, parallel, comm.rank)] for x in inputs(shape))
    leaves = [x.requires_grad_() for x in (q, k, v)]
    with torch.autograd.graph.saved_tensors_hooks(keep, lambda x: x):
        vanilla_parallel(*leaves, comm=comm, shape=shape, parallel=parallel, causal=shape.causal)
    own = q.numel() * 2 + k.numel() + v.numel() + q.numel() // shape.head_dim
    return sum(kept.values()), own


def three_ways(comm: Communicator, shape: AttentionShape, parallel: str) -> list[bool]:
    """Whether what came is left as it came, and passes without their collectives give the same result again."""
    q, k, v, grad = (x[:, places(shape, parallel, comm.rank)] for x in inputs(shape))
    leaves = [x.requires_grad_() for x in (q, k, v)]

    def run() -> tuple[Tensor, ...]:
        out = vanilla_parallel(*leaves, comm=comm, shape=shape, parallel=parallel, causal=shape.causal)
        return (out, *torch.autograd.grad(out, leaves, grad))

    came: list[tuple[Tensor, Tensor]] = []
    wait = Pending.wait

    def noted(pending: Pending) -> Tensor:
        result = wait(pending)
        came.append((result, result.clone()))
        return result

    comm.keep()
    with mock.patch.object(Pending, "wait", noted):
        full = run()
    same = [torch.equal(result, copy) for result, copy in came]
    for _ in range(2):
        same += [torch.equal(a, b) for a, b in zip(full, comm.without(run), strict=True)]
        comm.alone()
    comm.forget()
    return same + [torch.equal(a, b) for a, b in zip(full, run(), strict=True)]
