"""Where options make an attention full, it must equal vanilla attention everywhere."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from attention_impls.api import Unsupported
from attention_impls.pattern import FullPattern
from attention_impls.vanilla import vanilla_attention
from longbench_cli.measure.checks.declared import rows_named
from longbench_cli.measure.checks.examined_attention import ExaminedAttention, wide_rows
from longbench_cli.measure.checks.result import NotApplicable
from longbench_cli.measure.tolerance import scaled_error
from longbench_cli.measure.verify import Wrong

LONGEST = 512
"""Tokens at most: vanilla attention is computed in float64, all scores held."""

FULL_OPTIONS: dict[str, Callable[[int], dict[str, Any]]] = {
    "dilated": lambda n: {"schedule": None, "segments": [n], "dilations": [1]},
    "sliding-window": lambda n: {"window": n},
    "sparse": lambda n: {"stride": n, "match_flops": None},
}
"""The options with which an implementation sees every key of n tokens."""


def equals_vanilla(subject: ExaminedAttention) -> str:
    """With the options that make it see every key, all of the output is vanilla attention's."""
    case, n = subject.case, min(subject.case.seq_len, LONGEST)
    change = FULL_OPTIONS[case.impl](n) if case.impl in FULL_OPTIONS else {}
    full = subject.at(seq_len=n, options=case.options | change)
    try:
        pairs = full.pattern.pairs()
    except ValueError as error:
        raise Unsupported(str(error)) from error
    if pairs != FullPattern(full.case.shape).pairs():
        if not change:
            raise NotApplicable(f"no options are known that make {case.impl} see every key")
        raise Wrong(f"with {change} the pattern has {pairs} pairs, not those of full attention")
    inputs = full.inputs
    wide = (x.to(torch.float64) for x in (inputs.q, inputs.k, inputs.v))
    expected = wide_rows(vanilla_attention(*wide, causal=case.causal, backend="math"))
    errors = scaled_error(wide_rows(full.out).flatten(0, 1), expected.flatten(0, 1)).view(n, case.heads)
    wrong = errors > full.tolerance
    if wrong.any():
        raise Wrong(
            f"differs from vanilla attention at N = {n}, by up to {float(errors.max()):.3g}: {rows_named(wrong)}"
        )
    how = f" with {', '.join(f'{name}={value}' for name, value in change.items() if value is not None)}" * bool(change)
    return f"all {wrong.numel()} rows at N = {n}{how}, worst error {float(errors.max()):.2g} of {full.tolerance:g}"
