"""Vanilla attention and the kernels below it against a float64 softmax."""

from __future__ import annotations

import sys
import types

import pytest
import torch
from multiset import dense_attention

from attention_impls import vanilla_attention
from attention_impls.api import Unsupported
from attention_impls.kernels.base import MAX_GRID_BATCH, in_grid_limits
from attention_impls.kernels.flash_attn import FLASH_ATTN
from attention_impls.kernels.math import MATH
from attention_impls.kernels.registry import backends, get_backend, supported_backends


def full(n: int, heads: int, causal: bool) -> torch.Tensor:
    ones = torch.ones(heads, n, n, dtype=torch.float64)
    return ones.tril() if causal else ones


@pytest.mark.parametrize("backend", ["math", "sdpa-flash"])
@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize(("kv_heads", "scale"), [(4, None), (2, 0.3), (1, 1.0)])
def test_vanilla_is_softmax_attention(backend: str, causal: bool, kv_heads: int, scale: float | None) -> None:
    q = torch.randn(2, 37, 4, 8, dtype=torch.float64, requires_grad=True)
    k, v = (torch.randn(2, 37, kv_heads, 8, dtype=torch.float64, requires_grad=True) for _ in range(2))
    out, lse = vanilla_attention(q, k, v, causal=causal, scale=scale, backend=backend, return_lse=True)
    factor = 8**-0.5 if scale is None else scale
    expected, expected_lse = dense_attention(q, k, v, full(37, 4, causal), factor, return_lse=True)
    torch.testing.assert_close(out, expected, rtol=0, atol=1e-12)
    torch.testing.assert_close(lse, expected_lse, rtol=0, atol=1e-12)
    grad = torch.randn_like(out)
    for actual, reference in zip(
        torch.autograd.grad(out, (q, k, v), grad), torch.autograd.grad(expected, (q, k, v), grad), strict=True
    ):
        torch.testing.assert_close(actual, reference, rtol=0, atol=1e-12)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
@pytest.mark.parametrize("name", ["math", "sdpa-flash"])
def test_half_types_stay_close_and_log_sum_exp_is_fp32(name: str, dtype: torch.dtype) -> None:
    q, k, v = (torch.randn(1, 130, 2, 64, dtype=dtype) for _ in range(3))
    out, lse = vanilla_attention(q, k, v, backend=name, return_lse=True)
    assert lse.dtype == torch.float32
    expected = dense_attention(q.double(), k.double(), v.double(), full(130, 2, False), 64**-0.5)
    torch.testing.assert_close(out.double(), expected, rtol=0.02, atol=0.01)


@pytest.mark.parametrize(
    ("shapes", "says"),
    [
        (((1, 8, 4), (1, 8, 4, 2), (1, 8, 4, 2)), "q must be .batch, seq, heads, head_dim."),
        (((1, 8, 4, 2), (1, 9, 4, 2), (1, 9, 4, 2)), "differ in batch, seq or head_dim"),
        (((1, 8, 4, 2), (1, 8, 3, 2), (1, 8, 3, 2)), "multiple of k's"),
        (((1, 8, 4, 2), (1, 8, 4, 2), (1, 8, 2, 2)), "k and v differ in shape"),
        (((1, 0, 4, 2), (1, 0, 4, 2), (1, 0, 4, 2)), "q is empty"),
    ],
)
def test_shapes_that_do_not_go_together_say_so(shapes: tuple, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        vanilla_attention(*(torch.randn(s) for s in shapes))


def test_a_missing_back_end_says_what_is_missing() -> None:
    with pytest.raises(Unsupported, match="runs on cuda only"):
        get_backend("sdpa-cudnn", "cpu", torch.bfloat16, 64)
    with pytest.raises(Unsupported, match="is unknown: choose sdpa-flash, math"):
        get_backend("nonsense", "cpu", torch.bfloat16, 64)
    assert "CUDA" in (backends("cuda")["flash-attn-2"].why_unavailable("cuda") or "") or torch.cuda.is_available()


def test_the_best_supported_comes_first() -> None:
    assert [b.name for b in supported_backends("cpu", torch.bfloat16, 64)] == ["sdpa-flash", "math"]


def test_batches_past_the_grid_limit_are_split() -> None:
    sizes: list[int] = []

    def forward(q, k, v, causal, scale):  # type: ignore[no-untyped-def]
        sizes.append(q.shape[0])
        return MATH.forward(q, k, v, causal, scale)

    def backward(*tensors):  # type: ignore[no-untyped-def]
        sizes.append(tensors[0].shape[0])
        return MATH.backward(*tensors)

    safe_forward, safe_backward = in_grid_limits(forward, backward)
    q, k, v = (torch.randn(MAX_GRID_BATCH + 5, 2, 1, 2) for _ in range(3))
    out, lse = safe_forward(q, k, v, False, 1.0)
    assert sizes == [MAX_GRID_BATCH, 5]
    whole, whole_lse = MATH.forward(q, k, v, False, 1.0)
    assert torch.equal(out, whole)
    assert torch.equal(lse, whole_lse)
    grads = safe_backward(out, q, k, v, out, lse, False, 1.0)
    assert max(sizes) == MAX_GRID_BATCH
    assert [g.shape for g in grads] == [q.shape] * 3


def fake_flash_attn_2() -> types.ModuleType:
    module = types.ModuleType("flash_attn.flash_attn_interface")

    def fwd(q, k, v, p, scale, causal, left, right, softcap, alibi, return_softmax):  # type: ignore[no-untyped-def]
        assert (p, left, right, softcap, alibi, return_softmax) == (0.0, -1, -1, 0.0, None, False)
        return (*MATH.forward(q, k, v, causal, scale), None, None)

    def bwd(dout, q, k, v, out, lse, dq, dk, dv, p, scale, causal, left, right, softcap, alibi, deterministic):  # type: ignore[no-untyped-def]
        assert lse.is_contiguous()
        assert lse.dtype == torch.float32
        for target, grad in zip((dq, dk, dv), MATH.backward(dout, q, k, v, out, lse, causal, scale), strict=True):
            target.copy_(grad)

    module._flash_attn_forward, module._flash_attn_backward = fwd, bwd  # type: ignore[attr-defined]
    return module


def fake_flash_attn_3() -> types.ModuleType:
    module = types.ModuleType("flash_attn_interface")

    def fwd(q, k, v, *, softmax_scale, causal):  # type: ignore[no-untyped-def]
        return (*MATH.forward(q, k, v, causal, softmax_scale), None, None)

    def bwd(dout, q, k, v, out, lse, *, dq, dk, dv, softmax_scale, is_causal):  # type: ignore[no-untyped-def]
        grads = MATH.backward(dout, q, k, v, out, lse, is_causal, softmax_scale)
        for target, grad in zip((dq, dk, dv), grads, strict=True):
            target.copy_(grad)

    module._flash_attn_forward, module._flash_attn_backward = fwd, bwd  # type: ignore[attr-defined]
    return module


def fake_flash_attn_4() -> types.ModuleType:
    module = types.ModuleType("flash_attn.cute.interface")

    def fwd(q, k, v, *, softmax_scale, causal, return_lse):  # type: ignore[no-untyped-def]
        assert return_lse
        return MATH.forward(q, k, v, causal, softmax_scale)

    def bwd(q, k, v, out, dout, lse, *, softmax_scale, causal):  # type: ignore[no-untyped-def]
        return MATH.backward(dout, q, k, v, out, lse, causal, softmax_scale)

    module._flash_attn_fwd, module._flash_attn_bwd = fwd, bwd  # type: ignore[attr-defined]
    return module


@pytest.mark.parametrize("fake", [fake_flash_attn_2, fake_flash_attn_3, fake_flash_attn_4])
def test_flash_attn_packages_are_called_as_they_want_to_be(monkeypatch: pytest.MonkeyPatch, fake: object) -> None:
    module = fake()  # type: ignore[operator]
    version = {"flash_attn.flash_attn_interface": 2, "flash_attn_interface": 3, "flash_attn.cute.interface": 4}
    number = version[module.__name__]
    monkeypatch.setitem(sys.modules, module.__name__, module)
    backend = next(b for b in FLASH_ATTN if b.name == f"flash-attn-{number}")
    q, k, v, grad = (torch.randn(1, 9, 2, 8) for _ in range(4))
    out, lse = backend.forward(q, k, v, True, 0.5)
    assert torch.equal(out, MATH.forward(q, k, v, True, 0.5)[0])
    grads = backend.backward(grad, q, k, v, out, lse, True, 0.5)
    for actual, expected in zip(grads, MATH.backward(grad, q, k, v, out, lse, True, 0.5), strict=True):
        assert torch.equal(actual, expected)


def test_flash_attn_that_does_not_import_says_why(monkeypatch: pytest.MonkeyPatch, tmp_path: object) -> None:
    backend = next(b for b in FLASH_ATTN if b.name == "flash-attn-3")
    assert backend.missing() == "the package flash_attn_3 is not installed"
    (tmp_path / "flash_attn_interface.py").write_text("raise ImportError('built for another torch')\n")  # type: ignore[operator]
    monkeypatch.syspath_prepend(str(tmp_path))
    assert backend.missing() == "flash_attn_interface does not import: ImportError: built for another torch"
