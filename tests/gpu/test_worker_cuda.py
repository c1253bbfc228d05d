"""A worker process on CUDA: verified, timed, and what does not fit is out of memory."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from worker_process import BASE, work

from attention_impls.kernels.registry import supported_backends
from longbench_cli.measure.pick import pick_backend
from longbench_cli.sweep.case import Case
from longbench_cli.sweep.settings import Settings

pytestmark = pytest.mark.gpu

CUDA = {"device": "cuda", "dtype": "bfloat16", "head_dim": 64, "heads": 8, "kv_heads": 8, "seq_len": 3000}
DILATED = {"impl": "dilated", "options": {"segments": [512, 2000], "dilations": [1, 4]}}


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("pass_", ["fwd", "bwd", "fwd+bwd"])
@pytest.mark.parametrize("impl", [{}, DILATED], ids=["vanilla", "dilated"])
def test_verified_timed_and_weighed(impl: dict[str, Any], pass_: str, causal: bool) -> None:
    result, done = work(**CUDA, **impl, **{"pass": pass_}, causal=causal)
    assert result is not None, done.stderr.decode()
    assert result["status"] == "ok", result
    assert result["backend"] in {b.name for b in supported_backends("cuda", torch.bfloat16, 64)}
    assert result["verification"]["status"] == "passed"
    assert 0 < result["verification"]["max_error"] <= result["verification"]["tolerance"]
    assert len(result["latency"]["iterations_ns"]) >= 6
    assert min(result["latency"]["iterations_ns"]) > 0
    memory = result["memory"]
    assert memory["input_bytes"] == 3 * 3000 * 8 * 64 * 2
    assert memory["peak_bytes"] > memory["input_bytes"]
    assert memory["nvml_peak_bytes"] > memory["peak_bytes"]


@pytest.mark.parametrize("backend", ["sdpa-flash", "sdpa-cudnn", "sdpa-efficient", "math"])
def test_each_back_end_by_name(backend: str) -> None:
    supported = {b.name for b in supported_backends("cuda", torch.bfloat16, 64)}
    result, done = work(**CUDA, **DILATED, **{"pass": "fwd+bwd"}, backend=backend)
    assert result is not None, done.stderr.decode()
    expected = ("ok", backend) if backend in supported else ("unsupported", None)
    assert (result["status"], result.get("backend")) == expected, result


@pytest.mark.parametrize(
    "change",
    [
        {"backend": "math", "seq_len": 2**18},
        {"backend": "auto", "seq_len": 2**30, "heads": 64, "kv_heads": 64},
    ],
    ids=["the scores", "the inputs"],
)
def test_what_does_not_fit_is_out_of_memory_and_says_so(change: dict[str, Any]) -> None:
    """2 TiB of scores in the first; q, k and v of 8 TiB each in the second."""
    result, done = work(**(CUDA | change))
    assert result is not None, done.stderr.decode()
    assert (result["status"], "out of memory" in result["reason"]) == ("oom", True)
    assert "latency" not in result


def test_a_wrong_implementation_is_incorrect() -> None:
    result, done = work(**CUDA, impl="wrong_attention:wrong_scale", backend="none")
    assert result is not None, done.stderr.decode()
    assert result["status"] == "incorrect", result
    assert "latency" not in result


def test_the_back_end_picked_is_fused_and_supported() -> None:
    case = Case.model_validate(BASE | CUDA)
    fused = {b.name for b in supported_backends("cuda", torch.bfloat16, 64) if b.fused}
    assert pick_backend(case, Settings()) in fused
