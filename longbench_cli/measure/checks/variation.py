"""Checks at other shapes and scales: what was right at one length and head dim must be right at others."""

from __future__ import annotations

from collections.abc import Iterable

from attention_impls.api import Unsupported
from longbench_cli.measure.checks.examined_attention import ExaminedAttention
from longbench_cli.measure.checks.lengths import ragged_lengths
from longbench_cli.measure.checks.output import compare_samples
from longbench_cli.measure.checks.result import NotApplicable, as_said
from longbench_cli.measure.checks.weights import compare_ones
from longbench_cli.measure.inputs import Inputs
from longbench_cli.measure.verify import Wrong

SCALE_LENGTH = 256
LOUDER = 4
"""q times this in the check of the scale: scores of a standard deviation of 4, a softmax far from flat."""


def ragged(subject: ExaminedAttention) -> str:
    """At lengths that fit no block or segment, sampled rows and v = 1 are right."""
    declined: dict[int, str] = {}
    failed: dict[int, str] = {}
    worst, lengths = 0.0, ragged_lengths(subject.case.seq_len)
    for n in lengths:
        try:
            worst = max(worst, _right(subject.at(seq_len=n)))
        except Unsupported as reason:
            declined[n] = str(reason)
        except Exception as error:  # an implementation may be anybody's code
            failed[n] = as_said(error)
    if failed:
        raise Wrong(f"at N = {_listed(failed)} of {_listed(lengths)}: {next(iter(failed.values()))}")
    if len(declined) == len(lengths):
        raise NotApplicable(f"declines N = {_listed(lengths)}: {declined[lengths[0]]}")
    note = f"; declines N = {_listed(declined)}" if declined else ""
    return f"N = {_listed(n for n in lengths if n not in declined)}, worst error {worst:.2g}{note}"


def scale(subject: ExaminedAttention) -> str:
    """The scores are divided by sqrt(head_dim): right at another head dim, and with a louder q."""
    short = subject.at(seq_len=min(subject.case.seq_len, SCALE_LENGTH))
    _compare(f"with q times {LOUDER}", short, LOUDER)
    other = short.at(head_dim=32 if subject.case.head_dim == 64 else 64)
    try:
        _compare(f"at head dim {other.case.head_dim}", other, 1)
    except Unsupported as reason:
        return f"with q times {LOUDER}; declines head dim {other.case.head_dim}: {reason}"
    return f"with q times {LOUDER}, and at head dim {other.case.head_dim}"


def _right(subject: ExaminedAttention) -> float:
    try:
        _ = subject.pattern
    except ValueError as error:
        raise Unsupported(str(error)) from error
    return max(compare_samples(subject, subject.inputs), compare_ones(subject))


def _compare(where: str, subject: ExaminedAttention, factor: float) -> None:
    inputs = subject.inputs
    try:
        compare_samples(subject, Inputs(inputs.q * factor, inputs.k, inputs.v, None))
    except Wrong as wrong:
        raise Wrong(f"{where}: {wrong}", wrong.error) from None


def _listed(lengths: Iterable[int]) -> str:
    return ", ".join(map(str, lengths))
