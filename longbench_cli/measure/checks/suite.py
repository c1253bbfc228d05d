"""All checks of an attention and of a model, in the order of a report, and how one is run."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TypeVar

from attention_impls.api import Unsupported
from longbench_cli.measure.checks import (
    direction,
    gradients,
    independence,
    model_gradients,
    model_output,
    output,
    variation,
    weights,
)
from longbench_cli.measure.checks.examined_attention import ExaminedAttention
from longbench_cli.measure.checks.examined_model import ExaminedModel
from longbench_cli.measure.checks.result import NotApplicable, Result, as_said
from longbench_cli.measure.checks.vanilla import equals_vanilla

S = TypeVar("S")
Check = Callable[[S], str]
"""Looks at one thing of a subject and says what it saw.

Raises Wrong if that is wrong, NotApplicable or Unsupported if there is nothing to see."""

FIRST = "shape"
"""The check that the others stand on: without an output of the right shape they have nothing to look at."""

OP_CHECKS: Mapping[str, Check[ExaminedAttention]] = {
    FIRST: output.like_the_query,
    "written": output.written,
    "empty-rows": output.empty_rows,
    "oracle": output.sampled_rows,
    "ones": weights.ones,
    "pattern": weights.observed_pattern,
    "causal": direction.causal_probe,
    "future": direction.sees_the_future,
    "vanilla": equals_vanilla,
    "ragged": variation.ragged,
    "scale": variation.scale,
    "gradient": gradients.against_oracle,
    "finite-difference": gradients.finite_difference,
    "batch": independence.batch,
    "heads": independence.heads,
    "inputs": independence.inputs_kept,
    "determinism": independence.determinism,
}

MODEL_CHECKS: Mapping[str, Check[ExaminedModel]] = {
    FIRST: model_output.logits_shape,
    "as-run": model_output.as_run,
    "reference": model_output.reference,
    "causal": model_output.causal,
    "decode": model_output.decode,
    "ragged": model_output.ragged,
    "batch": model_output.batch,
    "parameters": model_gradients.parameters,
    "finite-difference": model_gradients.finite_difference,
    "determinism": model_output.determinism,
}


def run_checks(subject: S, checks: Mapping[str, Check[S]]) -> list[Result]:
    """One result a check, in order. Whatever an implementation raises is a failed check."""
    results = [run_check(FIRST, checks[FIRST], subject)]
    if results[0].outcome != "passed":
        why = f"there is no output to look at: see {FIRST}"
        return results + [Result(name, "not-applicable", why) for name in checks if name != FIRST]
    return results + [run_check(name, check, subject) for name, check in checks.items() if name != FIRST]


def run_check(name: str, check: Check[S], subject: S) -> Result:
    """What ``check`` found."""
    try:
        return Result(name, "passed", check(subject))
    except NotApplicable as reason:
        return Result(name, "not-applicable", as_said(reason))
    except Unsupported as reason:
        return Result(name, "not-applicable", f"declined: {' '.join(str(reason).split())}")
    except Exception as error:  # an implementation may be anybody's code
        return Result(name, "failed", as_said(error))
