"""Mixing by Triton on a GPU: against float64, against torch's own operations, and far into memory."""

from __future__ import annotations

import importlib.util

import pytest
import torch
from merge_problems import merge_problems
from multiset import dense_attention, multiplicity

from attention_impls import dilated_attention
from attention_impls.dilated.pattern import DilatedPattern
from attention_impls.dilated.schedule import Schedule
from attention_impls.merging import merge
from attention_impls.merging.pieces import HeadRun, Piece
from attention_impls.shape import AttentionShape
from longbench_cli.measure.tolerance import GRADIENT_TOLERANCE, OUTPUT_TOLERANCE, scaled_error

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(importlib.util.find_spec("triton") is None, reason="the package triton is missing"),
]

DEVICE = torch.device("cuda", 0)
N, HEADS, HEAD_DIM = 1000, 6, 64
SCHEDULES = [
    ([128, 512, 1000], [1, 2, 5], "paper"),
    ([333, 600], [1, 3], "grouped"),
    ([300, 2000], [3, 7], "paper"),
]


@pytest.fixture
def by_torch(monkeypatch: pytest.MonkeyPatch):
    """Call a function with the kernels, then without."""

    def both(f):
        fused = f()
        with monkeypatch.context() as patch:
            patch.setattr(merge, "fused_kernels", lambda device: None)
            return fused, f()

    return both


def test_triton_runs_here() -> None:
    assert merge.fused_kernels(DEVICE) is not None


def test_mixing_and_adding_any_piece() -> None:
    kernels = merge.fused_kernels(DEVICE)
    for problem in merge_problems(80, device="cuda", longest=300):
        problem.check(*problem.by(kernels))


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize(("segments", "dilations", "offsets"), SCHEDULES)
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float64])
def test_dilated_attention_is_that_of_the_torch_path_and_of_float64(
    by_torch, dtype: torch.dtype, segments: list[int], dilations: list[int], offsets: str, causal: bool
) -> None:
    generator = torch.Generator("cuda").manual_seed(0)
    leaves = [torch.randn(2, N, HEADS, HEAD_DIM, dtype=dtype, device="cuda", generator=generator) for _ in range(3)]
    leaves = [x.requires_grad_() for x in leaves]
    grad = torch.randn(leaves[0].shape, dtype=dtype, device="cuda", generator=generator)

    def call() -> list[torch.Tensor]:
        out, lse = dilated_attention(
            *leaves, segments=segments, dilations=dilations, offsets=offsets, causal=causal, return_lse=True
        )
        return [out, lse, *torch.autograd.grad(out, leaves, grad)]

    fused, plain = by_torch(call)
    pattern = DilatedPattern(
        AttentionShape(N, 2, HEADS, HEADS, HEAD_DIM, causal), Schedule.of(segments, dilations), offsets
    )
    wide = [x.detach().double().requires_grad_() for x in leaves]
    out, lse = dense_attention(*wide, multiplicity(pattern).cuda(), HEAD_DIM**-0.5, return_lse=True)
    truth = [out, lse, *torch.autograd.grad(out, wide, grad.double())]
    name = str(dtype).removeprefix("torch.")
    tolerances = [OUTPUT_TOLERANCE.get(name, 1e-11), None, *[GRADIENT_TOLERANCE.get(name, 1e-11)] * 3]
    for found, other, right, tolerance in zip(fused, plain, truth, tolerances, strict=True):
        if tolerance is None:  # log-sum-exps
            torch.testing.assert_close(found.double(), right, rtol=0, atol=1e-11 if dtype == torch.float64 else 1e-2)
            torch.testing.assert_close(found, other)
            continue
        for reference in (right, other):
            rows = reference.detach().double().reshape(-1, HEAD_DIM)
            error = scaled_error(found.detach().reshape(rows.shape), rows, float(rows.square().mean().sqrt()))
            assert float(error.max()) <= tolerance


def test_rows_more_than_2_31_numbers_in() -> None:
    dilation, members, head_dim = 2**23, 4, 128
    grad = torch.zeros(1, (members - 1) * dilation + 1, 1, head_dim, dtype=torch.float16, device="cuda")
    rows = grad[:, ::dilation]
    rows[:] = 1
    piece = Piece(0, 1, grad.shape[1], dilation, members, (HeadRun(0, 1, 0, 0),))
    merge.fused_kernels(DEVICE).add_piece(grad, piece, rows)
    assert bool((rows == 2).all())
    assert sum(int(part.count_nonzero()) for part in grad.split(2**22, 1)) == members * head_dim
