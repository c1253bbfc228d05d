"""Checks of the backward: against the float64 oracle, and against differences of the output itself."""

from __future__ import annotations

import torch
from torch import Tensor

from attention_impls.oracle import sample_rows
from longbench_cli.measure.checks.examined_attention import ExaminedAttention
from longbench_cli.measure.checks.result import NotApplicable
from longbench_cli.measure.tolerance import GRADIENT_TOLERANCE
from longbench_cli.measure.verify import GRADIENT_ROWS, Wrong, check_gradients, poisoned_memory

STEP = 1e-3
"""Step of the central difference, in standard deviations of the inputs: its own error is STEP^2 / 6 or so, and an
output rounded to fp32 adds some 1e-7 / STEP."""

DIFFERENCE_TOLERANCE = {torch.float64: 2e-3, torch.float32: 1e-2}
"""Largest error of a directional derivative over the length of the gradient, by the dtype of the call."""

FORWARD_ONLY = "its output requires no gradient, though q, k and v do: forward only"


def against_oracle(subject: ExaminedAttention) -> str:
    """dq, dk and dv of sampled rows equal the float64 oracle's, and are zero where those rows see nothing."""
    subject = subject.at(pass_="bwd")
    tolerance = GRADIENT_TOLERANCE[subject.case.dtype]
    rows = sample_rows(subject.pattern, GRADIENT_ROWS, subject.seed + 1)
    if not subject.out.requires_grad:
        raise NotApplicable(FORWARD_ONLY)
    with poisoned_memory():
        problem = subject.inputs.problem(subject.pattern)
        worst = check_gradients(problem, subject.inputs, subject.out, rows, tolerance)
    return f"dq, dk and dv of {len(rows)} rows, worst error {worst:.2g} of {tolerance:g}"


def finite_difference(subject: ExaminedAttention) -> str:
    """dq, dk and dv are the slope of the output: central differences along a random direction of each.

    In the widest dtype that is taken, and at a ragged length if that is.
    """
    if not subject.pattern.exact_mixing:
        raise NotApplicable("its gradient is declared not to be its output's: mixing weights count as constants")
    subject, leaves, out = _widest(subject)
    if not out.requires_grad:
        raise NotApplicable(FORWARD_ONLY)
    if not out.isfinite().all():
        raise NotApplicable("the output is not finite everywhere")
    dtype = _computed_in(out)
    if dtype not in DIFFERENCE_TOLERANCE:
        raise NotApplicable(f"computes in {_word(dtype)}, and differences drown in its rounding")
    tolerance, worst = DIFFERENCE_TOLERANCE[dtype], 0.0
    random = torch.Generator().manual_seed(subject.seed + 2)
    toward = torch.randn(out.shape, generator=random).to(out)
    with poisoned_memory():
        grads = torch.autograd.grad(out, leaves, toward)
    for i, (name, grad) in enumerate(zip("qkv", grads, strict=True)):
        direction = torch.randn(grad.shape, generator=random).to(grad)
        slope = float((grad.double() * direction.double()).sum())
        difference = _slope(subject, [x.detach() for x in leaves], i, direction, toward)
        size = max(float(grad.double().norm()), abs(difference))
        error = abs(slope - difference) / size if size else 0.0
        if not error <= tolerance:
            raise Wrong(
                f"d{name}: along a random direction the output changes by {difference:.5g}, the gradient says "
                f"{slope:.5g}: error {error:.3g} > {tolerance:g}"
            )
        worst = max(worst, error)
    return f"dq, dk and dv in {_word(dtype)} at N = {subject.case.seq_len}, worst error {worst:.2g} of {tolerance:g}"


def _slope(subject: ExaminedAttention, inputs: list[Tensor], index: int, direction: Tensor, toward: Tensor) -> float:
    values = []
    for step in (STEP, -STEP):
        moved = [x + step * direction if i == index else x for i, x in enumerate(inputs)]
        with torch.no_grad():
            values.append(float((subject(*moved).double() * toward.double()).sum()))
    return (values[0] - values[1]) / (2 * STEP)


_Taken = tuple[ExaminedAttention, list[Tensor], Tensor]


def _widest(subject: ExaminedAttention) -> _Taken:
    """The subject at a ragged length if it takes one, with leaves of the widest dtype it takes, and its output."""
    ragged = subject.at(seq_len=subject.case.seq_len + 1)
    for dtype in DIFFERENCE_TOLERANCE:
        for one in (ragged, subject):
            if taken := _taken(one, dtype):
                return taken
    raise NotApplicable("takes neither float64 nor float32, and differences drown in the rounding of less")


def _taken(subject: ExaminedAttention, dtype: torch.dtype) -> _Taken | None:
    try:
        _ = subject.pattern
        inputs = subject.inputs
        leaves = [x.to(dtype, copy=True).requires_grad_() for x in (inputs.q, inputs.k, inputs.v)]
        out = subject(*leaves)
    except Exception:  # whatever it says, it does not take these
        return None
    return (subject, leaves, out) if out.shape == leaves[0].shape else None


def _computed_in(out: Tensor) -> torch.dtype:
    """The narrowest dtype that holds all of ``out``, which may have been cast to a wider one."""
    narrow = (torch.bfloat16, torch.float16, torch.float32)
    return next((dtype for dtype in narrow if torch.equal(out.to(dtype).to(out.dtype), out)), out.dtype)


def _word(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")
