"""A worker process on CUDA measures models: every pass is verified, timed and weighed."""

from __future__ import annotations

import pytest
from worker_process import work

pytestmark = pytest.mark.gpu

TINY = {"impl": "tiny_models:right", "heads": 1, "kv_heads": 1, "head_dim": 8, "causal": True, "device": "cuda"}
LONGNET = {
    "impl": "longnet", "heads": 8, "kv_heads": 8, "head_dim": 64, "causal": True, "device": "cuda",
    "options": {"depth": 4, "vocab": 256, "segments": [512, 2048], "dilations": [1, 4]},
}  # fmt: skip


@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16"])
@pytest.mark.parametrize("pass_", ["fwd", "bwd", "fwd+bwd", "step"])
def test_every_pass_of_a_model(pass_: str, dtype: str) -> None:
    result, done = work(**TINY, seq_len=2000, dtype=dtype, **{"pass": pass_})
    assert result is not None, done.stderr.decode()
    assert result["status"] == "ok", result
    assert result["verification"]["status"] == "passed"
    assert min(result["latency"]["iterations_ns"]) > 0


def test_a_step_of_longnet_holds_weights_gradients_and_moments() -> None:
    peaks: dict[str, int] = {}
    for pass_ in ("fwd", "step"):
        result, done = work(**LONGNET, seq_len=4096, dtype="bfloat16", **{"pass": pass_})
        assert result is not None, done.stderr.decode()
        assert result["status"] == "ok", result
        assert result["memory"]["input_bytes"] == 4096 * 8
        peaks[pass_] = result["memory"]["peak_bytes"]
    weights = 4 * 12 * 512 * 512 * 2 * 0.9
    assert peaks["fwd"] > weights
    assert peaks["step"] > peaks["fwd"] + 2 * weights


def test_a_wrong_model_is_incorrect() -> None:
    result, done = work(**(TINY | {"impl": "tiny_models:leaked_future"}), seq_len=2000)
    assert result is not None, done.stderr.decode()
    assert result["status"] == "incorrect", result
    assert result["reason"].startswith("causal: ")
