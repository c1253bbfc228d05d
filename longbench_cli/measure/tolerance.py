"""How far a result may lie from the float64 oracle, and how the distance is taken."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

OUTPUT_TOLERANCE = {"float32": 1e-4, "float16": 1e-2, "bfloat16": 4e-2}
"""Largest scaled error of an output row. Half types: a few units of rounding of the output and of the
probabilities (2^-11 for fp16, 2^-8 for bf16), and one more rounding for each merged branch."""

GRADIENT_TOLERANCE = {"float32": 5e-4, "float16": 3e-2, "bfloat16": 1e-1}
"""Largest scaled error of dq, dk and dv, which round probabilities and their gradients both."""


def scaled_error(actual: Tensor, expected: Tensor, size: float = 0.0) -> Tensor:
    """Error of each row of (rows, d): max |actual - expected| / (max(rms(expected row), size) + |expected|).

    A relative error that does not blow up where a single feature passes through zero. ``size`` is the
    size of the terms that ``expected`` is summed from, where they can cancel. A row that should be all
    zeros has error 0 if it is, else infinity; NaN counts as infinity.
    """
    import torch

    scale = expected.square().mean(-1, keepdim=True).sqrt().clamp(min=size)
    difference = (actual.to(torch.float64) - expected).abs()
    error = torch.where(difference == 0, 0.0, difference / (scale + expected.abs()))
    return torch.nan_to_num(error, nan=float("inf"), posinf=float("inf")).amax(-1)
