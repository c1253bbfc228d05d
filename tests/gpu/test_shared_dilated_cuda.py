"""Ranks that share a dilated attention on one GPU, on each CUDA back end: what they exchange goes through the host."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
import torch
from shared_sequences import Attended, Problem, joined, part
from torch import Tensor
from worlds import run_ranks

from attention_impls import dilated_attention
from attention_impls.api import get_implementation
from attention_impls.distributed.comm import Communicator, Pending
from attention_impls.distributed.sharding import contiguous
from attention_impls.kernels.registry import backends
from attention_impls.shape import AttentionShape
from longbench_cli.measure.tolerance import GRADIENT_TOLERANCE, OUTPUT_TOLERANCE, scaled_error

pytestmark = pytest.mark.gpu

DEVICE = "cuda"
RANKS = 3


class OverHost(Communicator):
    """Gloo's collectives for tensors on a GPU."""

    def all_gather(self, mine: Tensor, sizes: Sequence[int], ranks: range) -> Pending:
        return Pending(super().all_gather(mine.cpu(), sizes, ranks).wait().to(mine.device))

    def reduce_scatter(self, terms: Tensor, sizes: Sequence[int], ranks: range) -> Pending:
        return Pending(super().reduce_scatter(terms.cpu(), sizes, ranks).wait().to(terms.device))


def attend_on(comm: Communicator, p: Problem, device: str) -> Attended:
    parallel = get_implementation("dilated").parallel
    assert parallel is not None
    comm = OverHost(comm.rank, comm.world_size, comm._groups)
    *leaves, grad = (part(x, contiguous(p.shape, comm.rank)).to(device) for x in p.inputs())
    q, k, v = (x.requires_grad_() for x in leaves)
    out, lse = parallel.load()(
        q, k, v, comm=comm, shape=p.shape, backend=p.backend, causal=p.shape.causal, return_lse=True, **p.options
    )
    return Attended(out, lse, *torch.autograd.grad(out, (q, k, v), grad))


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("kv_heads", [8, 2])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
@pytest.mark.parametrize("backend", backends(DEVICE))
def test_ranks_find_what_one_process_finds_in_float64(
    backend: str, dtype: torch.dtype, kv_heads: int, causal: bool
) -> None:
    reason = backends(DEVICE)[backend].why_unsupported(DEVICE, dtype, 64)
    if reason is not None:
        pytest.skip(reason)
    options: dict[str, Any] = {"segments": [128, 700, 2048], "dilations": [1, 3, 16]}
    p = Problem("dilated", options, AttentionShape(1531, 2, 8, kv_heads, 64, causal, RANKS), 1, backend, dtype)
    found = joined(p, run_ranks(RANKS, attend_on, p, DEVICE))
    *leaves, grad = (x.double() for x in p.inputs())
    q, k, v = (x.requires_grad_() for x in leaves)
    out = dilated_attention(q, k, v, causal=causal, backend="math", **options)
    grads = torch.autograd.grad(out, (q, k, v), grad)
    name = str(dtype).removeprefix("torch.")
    assert scaled_error(found.out.flatten(0, 2), out.detach().flatten(0, 2)).max() <= OUTPUT_TOLERANCE[name]
    for actual, expected in zip((found.dq, found.dk, found.dv), grads, strict=True):
        size = float(expected.square().mean().sqrt())
        assert scaled_error(actual.flatten(0, 2), expected.flatten(0, 2), size).max() <= GRADIENT_TOLERANCE[name]
