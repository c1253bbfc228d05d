"""Checks of the output itself: its shape, that all of it is written, and its values on sampled rows."""

from __future__ import annotations

from attention_impls.oracle import sample_rows
from longbench_cli.measure.checks.declared import rows_named
from longbench_cli.measure.checks.examined_attention import ExaminedAttention, wide_rows
from longbench_cli.measure.checks.result import NotApplicable
from longbench_cli.measure.inputs import Inputs
from longbench_cli.measure.verify import OUTPUT_ROWS, Wrong, check_shape, compare_rows


def like_the_query(subject: ExaminedAttention) -> str:
    """The output is a tensor of q's shape, dtype and device."""
    q, out = subject.inputs.q, subject.out
    check_shape(subject.inputs, out)
    if (out.dtype, out.device) != (q.dtype, q.device):
        raise Wrong(f"the output is {out.dtype} on {out.device}, but q is {q.dtype} on {q.device}")
    return f"{tuple(out.shape)}, {str(out.dtype).removeprefix('torch.')}"


def written(subject: ExaminedAttention) -> str:
    """Every row that sees a key holds numbers, though the memory it lies in held NaN before."""
    sees, out = subject.declared.totals > 0, wide_rows(subject.out)
    lost, infinite = sees & out.isnan().any(-1), sees & out.isinf().any(-1)
    if lost.any():
        raise Wrong(f"NaN, as memory held before the call (never written, or computed): {rows_named(lost)}")
    if infinite.any():
        raise Wrong(f"infinite: {rows_named(infinite)}")
    return f"{int(sees.sum())} rows"


def empty_rows(subject: ExaminedAttention) -> str:
    """A row that sees no key holds zeros: no -inf, no NaN, nothing left over."""
    empty, out = subject.declared.totals == 0, wide_rows(subject.out)
    if not empty.any():
        raise NotApplicable("every query sees a key")
    wrong = empty & (out != 0).any(-1)
    if wrong.any():
        first = out[wrong][0]
        found = float(first[first != 0][0])
        raise Wrong(f"{found:g} instead of 0 where a query sees no key: {rows_named(wrong)}")
    return f"{int(empty.sum())} rows see no key and are 0"


def sampled_rows(subject: ExaminedAttention) -> str:
    """Sampled rows equal the float64 oracle's, which knows the declared pattern alone."""
    worst = compare_samples(subject, subject.inputs)
    return f"{OUTPUT_ROWS} rows sampled, worst error {worst:.2g} of {subject.tolerance:g}"


def compare_samples(subject: ExaminedAttention, inputs: Inputs) -> float:
    """The largest scaled error of sampled rows; raises :class:`Wrong` above the tolerance, or on another shape."""
    out = subject(inputs.q, inputs.k, inputs.v)
    check_shape(inputs, out)
    rows = sample_rows(subject.pattern, OUTPUT_ROWS, subject.seed)
    return compare_rows(inputs.problem(subject.pattern), out, rows, subject.tolerance)
