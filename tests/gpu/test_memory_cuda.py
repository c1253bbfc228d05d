"""Memory on CUDA: what torch's allocator gave and held at its highest."""

from __future__ import annotations

import pytest
import torch

from attention_impls import dilated_attention, vanilla_attention
from longbench_cli.measure.memory import held_bytes, peak_bytes, reserved_peak_bytes

pytestmark = pytest.mark.gpu

MIB = 2**20
_ROUNDING = 2 * MIB
"""torch's allocator rounds requests up, to 2 MiB at the most for those of these sizes."""


def test_the_peak_is_what_one_call_holds_above_what_was_there() -> None:
    kept = torch.empty(64 * MIB, dtype=torch.int8, device="cuda")
    baseline = held_bytes("cuda")
    inputs = torch.empty(32 * MIB, dtype=torch.int8, device="cuda")

    def work() -> torch.Tensor:
        freed = torch.empty(128 * MIB, dtype=torch.int8, device="cuda")
        del freed
        return torch.empty(16 * MIB, dtype=torch.int8, device="cuda")

    peak = peak_bytes("cuda", baseline, work)
    assert peak is not None
    assert 160 * MIB <= peak <= 160 * MIB + 2 * _ROUNDING
    assert kept.nbytes + inputs.nbytes == 96 * MIB


def test_fused_attention_holds_no_scores_and_math_does() -> None:
    n, heads = 4096, 8

    def peak_of(backend: str) -> int:
        baseline = held_bytes("cuda")
        q, k, v = (torch.randn(1, n, heads, 64, dtype=torch.float16, device="cuda") for _ in range(3))
        peak = peak_bytes("cuda", baseline, lambda: vanilla_attention(q, k, v, backend=backend))
        assert peak is not None
        return peak

    scores = heads * n * n * 4
    assert peak_of("math") > scores
    assert peak_of("sdpa-efficient") < scores / 4


def test_dilated_attention_keeps_the_same_however_many_branches() -> None:
    def kept(segments: list[int], dilations: list[int]) -> int:
        q, k, v = (torch.randn(1, 8192, 8, 64, dtype=torch.float16, device="cuda").requires_grad_() for _ in range(3))
        before = torch.cuda.memory_allocated()
        out = dilated_attention(q, k, v, segments=segments, dilations=dilations)
        torch.cuda.synchronize()
        assert out.requires_grad
        return torch.cuda.memory_allocated() - before

    two, four = kept([1024, 8192], [1, 8]), kept([1024, 2048, 4096, 8192], [1, 2, 4, 8])
    assert abs(two - four) <= _ROUNDING


def test_the_allocator_reserves_at_least_what_it_gives() -> None:
    torch.cuda.empty_cache()
    peak = peak_bytes("cuda", held_bytes("cuda"), lambda: torch.empty(256 * MIB, dtype=torch.int8, device="cuda"))
    reserved = reserved_peak_bytes("cuda")
    assert peak is not None
    assert reserved is not None
    assert reserved >= peak >= 256 * MIB
