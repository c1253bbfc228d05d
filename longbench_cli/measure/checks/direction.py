"""Checks of what depends on later tokens: nothing if causal, else what the pattern declares."""

from __future__ import annotations

from longbench_cli.measure.checks.declared import rows_named
from longbench_cli.measure.checks.examined_attention import ExaminedAttention, moved, wide_rows
from longbench_cli.measure.checks.result import NotApplicable
from longbench_cli.measure.verify import Wrong, check_causal


def causal_probe(subject: ExaminedAttention) -> str:
    """Causal: with all tokens after a cut changed, no row at or before it moves."""
    case = subject.case
    if not case.causal:
        raise NotApplicable("not causal")
    if case.seq_len < 2:
        raise NotApplicable("a single token has no later one")
    check_causal(case, subject, subject.inputs, subject.out, subject.tolerance, subject.seed)
    return "later tokens changed, and no row before them moved"


def sees_the_future(subject: ExaminedAttention) -> str:
    """Not causal: with values after a cut changed, exactly the rows that see later keys move."""
    if subject.case.causal:
        raise NotApplicable("causal")
    n = subject.case.seq_len
    cut = min(n // 2 + 1, n - 1)  # within a block, if there are any
    due = subject.declared.last[:cut] >= cut
    if not due.any():
        raise NotApplicable("no query sees a later key")
    inputs = subject.inputs
    v = inputs.v.clone()
    v[:, cut:] = 1 - v[:, cut:]
    before, after = wide_rows(subject.out)[:cut], wide_rows(subject(inputs.q, inputs.k, v))[:cut]
    error = moved(after.flatten(0, 1), before.flatten(0, 1)).view(due.shape)
    still, reached = due & (after == before).all(-1), ~due & (error > subject.tolerance)
    if still.any():
        raise Wrong(f"later values do not reach rows before {cut} that are declared to see them: {rows_named(still)}")
    if reached.any():
        raise Wrong(f"later values reach rows before {cut} that are declared not to see them: {rows_named(reached)}")
    return f"{int(due.sum())} rows see later keys and move with them"
