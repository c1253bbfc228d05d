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

MODEL_LOGITS_TOLERANCE = {"float32": 1e-5, "float16": 7.5e-3, "bfloat16": 6e-2}
"""Largest scaled error of a position's logits, over the square root of the model's weight matrices.

A model rounds after every product with a matrix, and independent roundings add up in squares. Over that root, errors
of pre-norm transformers of 1 to 32 layers (9 to 226 matrices, fused attention, 2 x 128 tokens, vocabulary 256) stay
within a factor of two of each other: 3.8e-7 to 5.3e-7, 8.4e-4 to 1.4e-3 and 6.1e-3 to 1.5e-2. With two norms more a
block and XPOS it is up to 1.0e-6, 3.1e-3 and 3.0e-2. The rest is room: these are the largest of some 10^5 errors, and
of 10^8 (a vocabulary of 50k) the largest is 1.4 times that.
"""

MODEL_GRADIENT_TOLERANCE = {"float32": 1e-5, "float16": 2.5e-3, "bfloat16": 2e-2}
"""Largest norm of a parameter's gradient error over the gradient's norm, over the same root.

Measured on the same models: at most 4.2e-7 of all parameters, 6.6e-4 and 5.3e-3 of their matrices.
"""

LOST_SUM_TOLERANCE = 0.95
"""The same for biases and gains of half types on the CPU, as it is: all that is told is that there is a gradient.

Theirs are sums over all tokens, which torch 2.13 adds up in the parameter's own type there: layer_norm's bias loses
10% of a sum over 2048 tokens in bf16, and most of one over 8192 whose terms have the same sign.
"""


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
