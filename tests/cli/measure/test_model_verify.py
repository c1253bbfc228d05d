"""A right model passes with room; a wrong one is told by what is wrong with it."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import torch

from longbench_cli.measure.gate import Gate
from longbench_cli.measure.point import measure_point
from longbench_cli.measure.subjects import subject_of
from longbench_cli.measure.tolerance import LOST_SUM_TOLERANCE, MODEL_GRADIENT_TOLERANCE, MODEL_LOGITS_TOLERANCE
from longbench_cli.measure.verify import Verified
from longbench_cli.sweep.case import Case
from longbench_cli.sweep.settings import Settings

SEQ_LEN = 70
MATRICES, PARAMETERS, COMPARED = 5, 10, 2 * 24
"""The embedding, which is the output layer too, and two a layer; with their biases and what is unused."""


@pytest.fixture(autouse=True)
def fixtures_on_path(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(Path(__file__).parents[2] / "fixtures")


def case(impl: str, **change: Any) -> Case:
    values: dict[str, Any] = {
        "impl": f"tiny_models:{impl}", "backend": "none", "pass": "fwd", "seq_len": SEQ_LEN, "batch": 3, "heads": 1,
        "kv_heads": 1, "head_dim": 8, "dtype": "float32", "causal": True, "world_size": 1, "device": "cpu",
        "options": {},
    }  # fmt: skip
    return Case.model_validate(values | change)


def verdict_of(the_case: Case) -> Verified:
    subject = subject_of(the_case, "none", seed=1)
    return subject.verify(subject.draw())


@pytest.mark.parametrize("pass_", ["fwd", "bwd", "fwd+bwd", "step"])
@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16"])
def test_a_right_model_passes_with_room(pass_: str, dtype: str) -> None:
    verdict = verdict_of(case("right", dtype=dtype, **{"pass": pass_}))
    assert verdict.reason is None
    found = verdict.verification
    grown = [each[dtype] * MATRICES**0.5 for each in (MODEL_LOGITS_TOLERANCE, MODEL_GRADIENT_TOLERANCE)]
    assert found.tolerance in ([grown[0]] if pass_ == "fwd" else [*grown, LOST_SUM_TOLERANCE])
    assert found.max_error is not None
    assert 0 < found.max_error < found.tolerance / 1.5
    assert found.rows == COMPARED + (0 if pass_ == "fwd" else PARAMETERS)


@pytest.mark.parametrize(
    ("impl", "pass_", "says"),
    [
        ("wrong_logits", "fwd", r"logits: 48 of 48 positions differ from the float64 reference, worst at batch [01], "),
        ("wrong_shape", "step", r"the logits are \(2, 23, 11\), not \(batch, seq, vocab\) = \(2, 24, 11\)"),
        ("mixed_sequences", "fwd", "logits: .* positions differ from the float64 reference"),
        ("leaked_future", "fwd", r"causal: \d+ positions at or before (\d+) change with tokens after \1, first at "),
        ("leaked_future", "step", "causal: "),
        ("unwritten", "fwd", "logits: not every one .* at 70 tokens, first at batch 0, position 67"),
        ("unwritten", "fwd+bwd", "logits: not every one is written and finite at 70 tokens, first at batch 0"),
        ("wrong_gradient", "bwd", "gradient of [a-z0-9.]+: differs from the float64 reference: error 0.1 > "),
        ("extra_gradient", "step", "gradient of unused: differs from the float64 reference: error "),
    ],
)
def test_a_wrong_model_is_told_by_what_is_wrong(impl: str, pass_: str, says: str) -> None:
    verdict = verdict_of(case(impl, **{"pass": pass_}))
    assert verdict.reason is not None
    assert re.match(says, verdict.reason), verdict.reason
    found = verdict.verification
    assert found.status == "failed"
    assert found.max_error is None or found.max_error > found.tolerance


def test_a_wrong_gradient_is_no_matter_to_a_forward() -> None:
    assert verdict_of(case("wrong_gradient")).reason is None


def test_a_gradient_that_cancels_is_measured_against_the_others() -> None:
    """Its float64 value is rounding too: against that, anything would be wrong."""
    verdict = verdict_of(case("cancelled_gradient", **{"pass": "bwd"}))
    assert verdict.reason is None, verdict.reason


def test_one_leaked_token_among_many_is_found_in_bf16() -> None:
    """It moves the logits by far less than the tolerance."""
    verdict = verdict_of(case("leaked_future", dtype="bfloat16"))
    assert verdict.reason is not None
    assert verdict.reason.startswith("causal: ")
    assert verdict.verification.max_error is not None
    assert verdict.verification.max_error < MODEL_LOGITS_TOLERANCE["bfloat16"]


def test_a_missing_gradient_is_told_even_where_the_sums_of_half_types_are_not() -> None:
    verdict = verdict_of(case("missing_gradient", dtype="bfloat16", **{"pass": "bwd"}))
    assert verdict.reason == "gradient of layers.0.0.bias: differs from the float64 reference: error 1 > 0.95"


@pytest.mark.parametrize("seq_len", [2, 3, 24])
def test_short_sequences_are_verified_too(seq_len: int) -> None:
    verdict = verdict_of(case("right", seq_len=seq_len, **{"pass": "bwd"}))
    assert verdict.reason is None
    assert verdict.verification.rows == 2 * seq_len + PARAMETERS


@pytest.mark.parametrize("pass_", ["fwd", "step"])
def test_a_wrong_model_is_incorrect_and_never_timed(pass_: str) -> None:
    result = measure_point(case("wrong_logits", **{"pass": pass_}), Settings(max_time=0.01), lambda *_: None, Gate())
    assert result["status"] == "incorrect"
    assert result["reason"].startswith("logits: ")
    assert result["verification"]["status"] == "failed"
    assert "latency" not in result


def test_memory_is_not_poisoned_afterwards() -> None:
    verdict_of(case("unwritten"))
    assert not torch.are_deterministic_algorithms_enabled()
