"""Verify, then time: outputs, gradients and causality against the float64 oracle."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Protocol, TypeVar

import torch
from torch import Tensor

from attention_impls.oracle import Gradient, KeyGradient, Problem, Row, oracle_gradients, oracle_row, sample_rows
from longbench_cli.measure.held import WHOLE, Held
from longbench_cli.measure.inputs import Inputs
from longbench_cli.measure.subject import Attention
from longbench_cli.measure.tolerance import GRADIENT_TOLERANCE, OUTPUT_TOLERANCE, scaled_error
from longbench_cli.measure.types import Verification
from longbench_cli.sweep.case import Case

T = TypeVar("T")

OUTPUT_ROWS = 32
GRADIENT_ROWS = 8
_FUTURE_FACTOR = 1000.0
"""Future values are this much larger in the causal probe: a leak of one key in 10^4 shows in bf16."""


@dataclass(frozen=True, slots=True)
class Verified:
    """What verification found; ``reason`` names the first thing that is wrong."""

    verification: Verification
    reason: str | None


class Wrong(Exception):
    """A check failed; the message says where and by how much."""

    def __init__(self, message: str, error: float = float("inf")) -> None:
        super().__init__(message)
        self.error = error


class Together(Protocol):
    """Makes one check on this process, and on all ranks if there are several."""

    def __call__(self, check: Callable[[], T], /) -> T:
        """What ``check`` gives here. Raises :class:`Wrong` on every rank if it did on any."""
        ...


def alone(check: Callable[[], T]) -> T:
    """There is no other rank."""
    return check()


def verify(
    case: Case,
    attention: Attention,
    problem: Problem,
    inputs: Inputs,
    seed: int,
    held: Held = WHOLE,
    together: Together = alone,
) -> Verified:
    """Run the case's pass once and compare it with the oracle on sampled rows.

    Outputs are poisoned first (fresh memory holds NaN), so that a row nobody wrote is found. ``problem`` is of
    the whole sequence, ``inputs`` are the tokens ``held`` here. Where several ranks share the sequence all of
    them go through the same checks ``together``, each on its own tokens: none leaves the others in a collective.
    """
    tolerance = OUTPUT_TOLERANCE[case.dtype]
    worst, rows = 0.0, sample_rows(problem.pattern, OUTPUT_ROWS, seed)
    try:
        with poisoned_memory():
            out = attention(inputs.q, inputs.k, inputs.v)
            worst = max(worst, together(lambda: _check_output(problem, inputs, out, rows, tolerance, held)))
            if case.pass_ != "fwd":
                grad_rows = sample_rows(problem.pattern, GRADIENT_ROWS, seed + 1)
                tolerance = GRADIENT_TOLERANCE[case.dtype]
                rows = rows + grad_rows
                found = together(lambda: check_gradients(problem, inputs, out, grad_rows, tolerance, held))
                worst = max(worst, found)
            if case.causal:
                limit = OUTPUT_TOLERANCE[case.dtype]
                together(lambda: check_causal(case, attention, inputs, out.detach(), limit, seed, held))
    except Wrong as wrong:
        return Verified(as_verification("failed", len(rows), wrong.error, tolerance), str(wrong))
    return Verified(as_verification("passed", len(rows), worst, tolerance), None)


def as_verification(status: str, rows: int, error: float, tolerance: float) -> Verification:
    """The record of a check on ``rows`` sampled rows and keys; an error that is no number becomes null."""
    finite = error if error < float("inf") else None  # JSON has no infinity: null is "not even comparable"
    return Verification.model_validate({"status": status, "rows": rows, "max_error": finite, "tolerance": tolerance})


@contextmanager
def poisoned_memory() -> Iterator[None]:
    """Have torch fill fresh tensors with NaN: what an implementation leaves unwritten stays NaN."""
    before = torch.get_deterministic_debug_mode()  # use_deterministic_algorithms would import torch._inductor: a second
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # "does not have a deterministic implementation": not asked for
        torch.set_deterministic_debug_mode("warn")
        try:
            yield
        finally:
            torch.set_deterministic_debug_mode(before)


def _check_output(
    problem: Problem, inputs: Inputs, out: Tensor, rows: list[Row], tolerance: float, held: Held
) -> float:
    check_shape(inputs, out)
    worst = compare_rows(problem, out, rows, tolerance, held)
    unwritten = _first_not_finite(out, held)
    if unwritten is not None:
        raise Wrong(f"output: not every row is written or finite, first at {unwritten}")
    return worst


def check_shape(inputs: Inputs, out: object) -> None:
    """Raise :class:`Wrong` if ``out`` is no tensor of q's shape."""
    if not isinstance(out, Tensor) or out.shape != inputs.q.shape:
        found = tuple(out.shape) if isinstance(out, Tensor) else type(out).__name__
        raise Wrong(f"the output is {found}, but q is {tuple(inputs.q.shape)}")


def compare_rows(problem: Problem, out: Tensor, rows: list[Row], tolerance: float, held: Held = WHOLE) -> float:
    """The largest scaled error of those of ``rows`` that ``out`` holds; 0 if there is none.

    Raises:
        Wrong: it is above ``tolerance``.
    """
    places = {row: place for row in rows if (place := held.place(row.query)) is not None}
    if not places:
        return 0.0
    rows = list(places)
    actual = torch.stack([out[r.batch, places[r], r.head] for r in rows]).detach().cpu()
    expected = torch.stack([oracle_row(problem, r)[0] for r in rows])
    errors = scaled_error(actual, expected)
    wrong = [r for r, bad in zip(rows, errors > tolerance, strict=True) if bad]
    worst = float(errors.max())
    if wrong:
        where = rows[int(errors.argmax())]
        raise Wrong(
            f"output: {len(wrong)} of {len(rows)} sampled rows differ from the float64 oracle, "
            f"worst at {where}: error {worst:.3g} > {tolerance:g}",
            worst,
        )
    return worst


def _first_not_finite(out: Tensor, held: Held) -> Row | None:
    for batch in range(out.shape[0]):
        bad = ~torch.isfinite(out[batch].detach()).all(-1)
        if bad.any():
            place, head = bad.nonzero()[0].tolist()
            return Row(batch, head, held.position(place))
    return None


def check_gradients(
    problem: Problem, inputs: Inputs, out: Tensor, rows: list[Row], tolerance: float, held: Held = WHOLE
) -> float:
    """Back-propagate a grad_out that is non-zero on ``rows`` only; compare dq, dk and dv exactly there.

    Everywhere else all three must be zero, which is checked on the whole tensors. Only what is ``held`` is compared.
    """
    generator = torch.Generator().manual_seed(len(rows))
    grad_rows = torch.randn(len(rows), inputs.q.shape[-1], generator=generator).to(out.dtype)
    places = {row: place for row in rows if (place := held.place(row.query)) is not None}
    grad_out = torch.zeros_like(out)
    for row, grad in zip(rows, grad_rows, strict=True):
        if row in places:
            grad_out[row.batch, places[row], row.head] = grad.to(out.device)
    grads = torch.autograd.grad(out, (inputs.q, inputs.k, inputs.v), grad_out, retain_graph=True)
    dq, dk, dv = (g.detach().clone() for g in grads)
    worst = 0.0
    for dq_rows, keys in oracle_gradients(problem, rows, grad_rows):
        for row, expected in dq_rows:
            if row in places:
                actual = dq[row.batch, places[row], row.head]
                worst = max(worst, compare("dq", str(row), actual, expected, tolerance))
        worst = max(worst, _compare_keys(keys, dk, dv, tolerance, held))
    for row, place in places.items():
        dq[row.batch, place, row.head] = 0
    for name, rest in (("dq", dq), ("dk", dk), ("dv", dv)):
        if not bool((rest == 0).all()):
            batch, place, head, _ = (rest != 0).nonzero()[0].tolist()
            raise Wrong(
                f"{name}: not zero at batch {batch}, head {head}, position {held.position(place)}, "
                "which no query with a gradient sees"
            )
    return worst


def _compare_keys(keys: KeyGradient, dk: Tensor, dv: Tensor, tolerance: float, held: Held) -> float:
    """The largest scaled error of dk and dv at those of ``keys`` that are held; these are then set to 0."""
    numbers, places = held.find(keys.positions)
    if not len(numbers):
        return 0.0
    worst, at = 0.0, places.to(dk.device)
    where = f"batch {keys.batch}, key head {keys.kv_head}"
    for name, actual, expected in (("dk", dk, keys.dk), ("dv", dv, keys.dv)):
        picked = actual[keys.batch, at, keys.kv_head]
        # One row of all keys, held or not: a key that a query hardly sees is measured against the typical one.
        size = max(expected.size, float(expected.value.square().mean().sqrt()))
        worst = max(worst, compare(name, where, picked, Gradient(expected.value[numbers], size), tolerance))
        actual[keys.batch, at, keys.kv_head] = 0
    return worst


def compare(name: str, where: str, actual: Tensor, expected: Gradient, tolerance: float) -> float:
    error = float(scaled_error(actual.cpu().reshape(1, -1), expected.value.reshape(1, -1), expected.size))
    if error > tolerance:
        raise Wrong(f"{name}: differs from the float64 oracle at {where}: error {error:.3g} > {tolerance:g}", error)
    return error


def check_causal(
    case: Case,
    attention: Attention,
    inputs: Inputs,
    out: Tensor,
    tolerance: float,
    seed: int,
    held: Held = WHOLE,
) -> None:
    """Change everything after a cut: no output at or before it may move."""
    n = case.seq_len
    if n < 2:
        return
    generator = torch.Generator(inputs.q.device).manual_seed(seed)
    cut = int(torch.randint(n // 4, max(n // 4 + 1, 3 * n // 4), (), generator=generator, device=inputs.q.device))
    q, k, v = (x.detach().clone() for x in (inputs.q, inputs.k, inputs.v))
    first = min(held.before(cut + 1), q.shape[1])  # of the tokens here, that after the cut
    for x in (q, k, v):
        x[:, first:].normal_(generator=generator)
    v[:, first:] *= _FUTURE_FACTOR
    with torch.no_grad():
        moved = attention(q, k, v)[:, :first]
    before = out[:, :first]
    if torch.equal(moved, before):
        return
    changed = (moved != before).any(-1)
    where = changed.nonzero()
    batch, query, head = where[:, 0], where[:, 1], where[:, 2]
    errors = scaled_error(moved[batch, query, head].cpu(), before[batch, query, head].cpu().to(torch.float64))
    worst = float(errors.max())
    if worst > tolerance:
        moved_first = Row(int(batch[0]), int(head[0]), held.position(int(query[0])))
        raise Wrong(
            f"causal: {len(where)} rows at or before {cut} change with tokens after {cut}, "
            f"first at {moved_first}: error {worst:.3g} > {tolerance:g}",
            worst,
        )
