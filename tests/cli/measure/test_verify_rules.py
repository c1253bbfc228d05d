"""Single rules of verification, without a process."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from attention_impls import vanilla_attention
from attention_impls.pattern import FullPattern
from longbench_cli.measure.inputs import InputSource
from longbench_cli.measure.tolerance import OUTPUT_TOLERANCE, scaled_error
from longbench_cli.measure.verify import verify
from longbench_cli.sweep.case import Case


def case(**change: Any) -> Case:
    values: dict[str, Any] = {
        "impl": "vanilla", "backend": "auto", "pass": "fwd", "seq_len": 2048, "batch": 1, "heads": 2, "kv_heads": 2,
        "head_dim": 32, "dtype": "bfloat16", "causal": True, "world_size": 1, "device": "cpu", "options": {},
    }  # fmt: skip
    return Case.model_validate(values | change)


def test_one_leaked_key_in_thousands_is_found_in_bf16() -> None:
    """Sampled rows alone would let it pass: it moves a row by less than bf16 rounds."""
    leaky_case = case()

    def leaky(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
        out = vanilla_attention(q, k, v, causal=True)
        return out + v.float().mean(1, keepdim=True).sub(v.float().cumsum(1) / v.shape[1]).mul(1e-3).to(out.dtype)

    inputs = InputSource(leaky_case, 0).draw().inputs()
    verdict = verify(leaky_case, leaky, inputs.problem(FullPattern(leaky_case.shape)), inputs, 0)
    assert verdict.reason is not None
    assert verdict.reason.startswith("causal: ")


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16"])
def test_a_right_result_passes_with_room(dtype: str) -> None:
    right_case = case(dtype=dtype, seq_len=700)
    inputs = InputSource(right_case, 1).draw().inputs()
    problem = inputs.problem(FullPattern(right_case.shape))
    verdict = verify(right_case, lambda q, k, v: vanilla_attention(q, k, v, causal=True), problem, inputs, 1)
    assert verdict.reason is None
    assert verdict.verification.max_error is not None
    assert verdict.verification.max_error < OUTPUT_TOLERANCE[dtype] / 2


def test_scaled_error_is_relative_and_strict() -> None:
    expected = torch.tensor([[1.0, -1.0], [0.0, 0.0], [1e-3, 1e-3]], dtype=torch.float64)
    assert scaled_error(expected, expected).tolist() == [0, 0, 0]
    off = expected + torch.tensor([[0.02, 0], [1e-9, 0], [2e-5, 0]], dtype=torch.float64)
    first, second, third = scaled_error(off, expected).tolist()
    assert first == pytest.approx(0.01)
    assert second == float("inf")
    assert third == pytest.approx(0.01)
    assert scaled_error(torch.full_like(expected, float("nan")), expected).tolist() == [float("inf")] * 3
