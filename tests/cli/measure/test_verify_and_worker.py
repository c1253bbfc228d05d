"""A worker process on real cases: right ones are timed, wrong ones never."""

from __future__ import annotations

from typing import Any

import pytest
from worker_process import work

from attention_impls.merging.pieces import LEAST_ROWS


@pytest.mark.parametrize(
    "change",
    [
        {"pass": "fwd+bwd", "causal": True},
        {
            "impl": "dilated",
            "pass": "bwd",
            "dtype": "bfloat16",
            "causal": True,
            "options": {"segments": [32, 100], "dilations": [1, 3]},
        },
        {
            "impl": "dilated",
            "pass": "bwd",
            "heads": 4,
            "kv_heads": 2,
            "batch": 2,
            "options": {
                "segments": [64, 200],
                "dilations": [2, 5],
                "mixing_gradient": "detached",
                "offsets": "grouped",
            },
        },
        {"impl": "wrong_attention:right", "backend": "none", "pass": "bwd"},
    ],
    ids=["vanilla", "dilated", "detached", "own function"],
)
def test_a_right_implementation_is_verified_and_timed(change: dict[str, Any]) -> None:
    result, _ = work(**change)
    assert (result or {}).get("status") == "ok", result
    assert result is not None
    assert result["verification"]["status"] == "passed"
    assert 0 < result["verification"]["max_error"] <= result["verification"]["tolerance"]
    assert len(result["latency"]["iterations_ns"]) >= 6
    assert result["memory"]["input_bytes"] > 0
    assert result["backend"] == ("none" if ":" in change.get("impl", "") else "sdpa-flash")


@pytest.mark.parametrize(
    ("name", "change", "says"),
    [
        ("wrong_scale", {}, "sampled rows differ from the float64 oracle, worst at batch 0, head"),
        ("leaked_future", {"causal": True}, "sampled rows differ|change with tokens after"),
        ("unwritten_rows", {}, "query 19[789]"),
        ("wrong_gradient", {"pass": "bwd"}, "dk: differs from the float64 oracle at batch 0, key head"),
        ("spilled_gradient", {"pass": "bwd"}, "dv: (differs|not zero)"),
        ("wrong_shape", {}, r"the output is \(1, 4, 200, 16\), but q is \(1, 200, 4, 16\)"),
        ("off_by_one_segment", {}, "sampled rows differ"),
    ],
)
def test_a_wrong_implementation_is_incorrect_and_never_timed(name: str, change: dict[str, Any], says: str) -> None:
    result, _ = work(impl=f"wrong_attention:{name}", backend="none", **change)
    assert (result or {}).get("status") == "incorrect", result
    assert result is not None
    assert "latency" not in result
    assert result["verification"]["status"] == "failed"
    import re

    assert re.search(says, result["reason"]), result["reason"]


def test_what_does_not_fit_is_out_of_memory() -> None:
    result, _ = work(impl="wrong_attention:too_big", backend="none")
    assert result is not None
    assert (result["status"], "memory" in result["reason"]) == ("oom", True)


def test_a_back_end_that_cannot_do_it_is_unsupported_and_says_why() -> None:
    result, _ = work(backend="sdpa-cudnn")
    assert result == {
        "type": "result",
        "status": "unsupported",
        "reason": "back end 'sdpa-cudnn' runs on cuda only",
    }


def test_an_exception_ends_the_worker_with_its_traceback_and_no_result() -> None:
    result, done = work(impl="wrong_attention:raises", backend="none")
    assert result is None
    assert done.returncode == 1
    assert b"ZeroDivisionError: a bug of its own" in done.stderr


@pytest.mark.parametrize("impl", ["vanilla", "dilated"])
def test_peak_memory_holds_the_inputs_and_the_output_and_not_much_more(impl: str) -> None:
    result, _ = work(impl=impl, seq_len=8192, head_dim=64, options={})
    assert result is not None
    memory = result["memory"]
    assert memory["input_bytes"] == 3 * 8192 * 4 * 64 * 4
    copies = 4 * LEAST_ROWS * 64 * 4 if impl == "dilated" else 0  # q, k, v and the result of a slice
    needed = memory["input_bytes"] * 4 / 3 + copies
    assert memory["input_bytes"] * 4 / 3 <= memory["peak_bytes"] <= 1.3 * needed
