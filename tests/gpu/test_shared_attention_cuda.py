"""Ranks that share a sequence on one GPU, on each CUDA back end: what they exchange goes through the host."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import pytest
import torch
from shared_sequences import Attended, Problem, joined, part
from torch import Tensor
from worlds import run_ranks

from attention_impls import dilated_attention, vanilla_attention
from attention_impls.api import get_implementation
from attention_impls.distributed.comm import Communicator, Pending
from attention_impls.kernels.registry import backends
from attention_impls.shape import AttentionShape
from longbench_cli.measure.tolerance import GRADIENT_TOLERANCE, OUTPUT_TOLERANCE, scaled_error

pytestmark = pytest.mark.gpu

DEVICE = "cuda"


class OverHost(Communicator):
    """Gloo's collectives for tensors on a GPU."""

    def all_gather(self, mine: Tensor, sizes: Sequence[int], ranks: range) -> Pending:
        return Pending(super().all_gather(mine.cpu(), sizes, ranks).wait().to(mine.device))

    def reduce_scatter(self, terms: Tensor, sizes: Sequence[int], ranks: range) -> Pending:
        return Pending(super().reduce_scatter(terms.cpu(), sizes, ranks).wait().to(terms.device))

    def send_recv(self, sent: Tensor, to: int, size: int, source: int) -> Pending:
        return Pending(super().send_recv(sent.cpu(), to, size, source).wait().to(sent.device))

    def all_to_all(self, sent: Tensor, sizes: Sequence[int], sizes_back: Sequence[int]) -> Pending:
        return Pending(super().all_to_all(sent.cpu(), sizes, sizes_back).wait().to(sent.device))


def attend_on(comm: Communicator, p: Problem, device: str) -> Attended:
    parallel = get_implementation(p.impl).parallel
    assert parallel is not None
    spans = parallel.spans(p.shape, p.options, comm.rank)
    comm = OverHost(comm.rank, comm.world_size, comm._groups)
    *leaves, grad = (part(x, spans).to(device) for x in p.inputs())
    q, k, v = (x.requires_grad_() for x in leaves)
    out, lse = parallel.load()(
        q, k, v, comm=comm, shape=p.shape, backend=p.backend, causal=p.shape.causal, return_lse=True, **p.options
    )
    return Attended(out, lse, *torch.autograd.grad(out, (q, k, v), grad))


def check(p: Problem, attention: Callable[..., Tensor]) -> None:
    """The ranks find what ``attention`` finds in one process, in float64."""
    reason = backends(DEVICE)[p.backend].why_unsupported(DEVICE, p.dtype, p.shape.head_dim)
    if reason is not None:
        pytest.skip(reason)
    found = joined(p, run_ranks(p.shape.world_size, attend_on, p, DEVICE))
    *leaves, grad = (x.double() for x in p.inputs())
    q, k, v = (x.requires_grad_() for x in leaves)
    out = attention(q, k, v, causal=p.shape.causal, backend="math")
    grads = torch.autograd.grad(out, (q, k, v), grad)
    name = str(p.dtype).removeprefix("torch.")
    assert scaled_error(found.out.flatten(0, 2), out.detach().flatten(0, 2)).max() <= OUTPUT_TOLERANCE[name]
    for actual, expected in zip((found.dq, found.dk, found.dv), grads, strict=True):
        size = float(expected.square().mean().sqrt())
        assert scaled_error(actual.flatten(0, 2), expected.flatten(0, 2), size).max() <= GRADIENT_TOLERANCE[name]


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("kv_heads", [8, 2])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
@pytest.mark.parametrize("backend", backends(DEVICE))
def test_a_dilated_attention_is_that_of_one_process(
    backend: str, dtype: torch.dtype, kv_heads: int, causal: bool
) -> None:
    options: dict[str, Any] = {"segments": [128, 700, 2048], "dilations": [1, 3, 16]}
    shape = AttentionShape(1531, 2, 8, kv_heads, 64, causal, 3)
    check(Problem("dilated", options, shape, 1, backend, dtype), partial(dilated_attention, **options))


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("parallel", ["ring", "zigzag", "ulysses", "allgather"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("backend", backends(DEVICE))
def test_a_vanilla_attention_is_that_of_one_process(
    backend: str, dtype: torch.dtype, parallel: str, causal: bool
) -> None:
    shape = AttentionShape(331, 2, 6, 3, 64, causal, 3)
    check(Problem("vanilla", {"parallel": parallel}, shape, 1, backend, dtype), vanilla_attention)
