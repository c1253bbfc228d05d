"""torch's CUDA back ends where there is no GPU: do the ops take what they are given, in the layout they assume?"""

from __future__ import annotations

from itertools import pairwise

import pytest
import torch
from cuda_stand_ins import STAND_INS
from layouts import LAYOUTS
from torch._subclasses.fake_tensor import FakeTensorMode

from attention_impls.dilated.autograd import DilatedAttention
from attention_impls.dilated.schedule import Schedule
from attention_impls.kernels import sdpa_cuda
from attention_impls.kernels.base import Backend
from attention_impls.kernels.math import MATH
from attention_impls.kernels.sdpa_cuda import SDPA_CUDNN, SDPA_EFFICIENT, SDPA_FLASH

BACKENDS = [SDPA_FLASH, SDPA_CUDNN, SDPA_EFFICIENT]
every_backend = pytest.mark.parametrize("backend", BACKENDS, ids=lambda b: b.name)
CLOSE = {"rtol": 1e-4, "atol": 1e-4}


@every_backend
@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("seq", [2, 1000])
def test_the_dispatcher_takes_the_arguments(backend: Backend, causal: bool, seq: int) -> None:
    with FakeTensorMode():
        q, k, v, grad = (torch.empty(2, seq, 4, 64, dtype=torch.bfloat16, device="cuda") for _ in range(4))
        out, lse = backend.forward(q, k, v, causal, 0.125)
        assert (out.shape, out.dtype, out.device.type) == (q.shape, q.dtype, "cuda")
        assert (lse.shape, lse.dtype) == ((2, 4, seq), torch.float32)
        grads = backend.backward(grad, q, k, v, out, lse, causal, 0.125)
        assert [(g.shape, g.dtype, g.device.type) for g in grads] == [(q.shape, q.dtype, "cuda")] * 3


@pytest.fixture
def on_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sdpa_cuda, "_aten", STAND_INS)


@pytest.mark.usefixtures("on_cpu")
@every_backend
@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("seq", [1, 2, 45])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_argument_is_in_its_place_whatever_the_layout(
    backend: Backend, causal: bool, seq: int, layout: str
) -> None:
    q, k, v, grad = (torch.randn(2, seq, 3, 8) for _ in range(4))
    q_, k_, v_, grad_ = (LAYOUTS[layout](x) for x in (q, k, v, grad))
    out, lse = backend.forward(q_, k_, v_, causal, 0.3)
    expected, expected_lse = MATH.forward(q, k, v, causal, 0.3)
    torch.testing.assert_close(out, expected, **CLOSE)
    torch.testing.assert_close(lse, expected_lse, **CLOSE)
    for given, given_lse in ((out, lse), (LAYOUTS[layout](out), lse.transpose(1, 2).contiguous().transpose(1, 2))):
        for upstream in (grad, grad_):
            grads = backend.backward(upstream, q_, k_, v_, given, given_lse, causal, 0.3)
            reference = MATH.backward(grad, q, k, v, expected, expected_lse, causal, 0.3)
            for actual, right in zip(grads, reference, strict=True):
                torch.testing.assert_close(actual, right, **CLOSE)


@pytest.mark.usefixtures("on_cpu")
@every_backend
def test_a_gradient_that_is_one_number_expanded(backend: Backend) -> None:
    q, k, v = (torch.randn(2, 9, 3, 8) for _ in range(3))
    out, lse = backend.forward(q, k, v, False, 0.3)
    ones = torch.ones(()).expand(q.shape)
    grads = backend.backward(ones, q, k, v, out, lse, False, 0.3)
    for actual, right in zip(grads, MATH.backward(ones, q, k, v, out, lse, False, 0.3), strict=True):
        torch.testing.assert_close(actual, right, **CLOSE)


@pytest.mark.usefixtures("on_cpu")
@every_backend
@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize(("segments", "dilations"), [([8, 32], [1, 4]), ([16, 20], [2, 3]), ([64, 10], [1, 1])])
def test_dilated_attention_gives_every_kernel_what_it_assumes(
    backend: Backend, causal: bool, segments: list[int], dilations: list[int]
) -> None:
    """41 tokens, so that the tail of a segment is a single key; the merged backward in every branch."""
    leaves = [torch.randn(2, 41, 4, 8, requires_grad=True) for _ in range(3)]
    grad = torch.randn(2, 41, 4, 8)
    found = []
    for kernel in (backend, MATH):
        call = (Schedule.of(segments, dilations), "paper", "exact", causal, 0.3, kernel)
        out, lse = DilatedAttention.apply(*leaves, *call)
        found.append((out, lse, *torch.autograd.grad(out, leaves, grad)))
    for actual, right in zip(*found, strict=True):
        torch.testing.assert_close(actual, right, **CLOSE)


@pytest.mark.parametrize("backend", [SDPA_FLASH, SDPA_CUDNN], ids=lambda b: b.name)
def test_a_gpu_that_is_too_old_is_told_so(monkeypatch: pytest.MonkeyPatch, backend: Backend) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.backends.cudnn, "is_available", lambda: True)
    reasons = []
    for capability in ((7, 5), (8, 0), (9, 0)):
        monkeypatch.setattr(torch.cuda, "get_device_capability", lambda c=capability: c)
        reasons.append(backend.why_unsupported("cuda", torch.bfloat16, 64))
    assert reasons[1:] == [None, None]
    assert "compute capability 8.0 (Ampere) or newer, not 7.5" in (reasons[0] or "")


def test_layouts_differ() -> None:
    x = torch.randn(2, 6, 3, 8)
    laid_out = [layout(x) for layout in LAYOUTS.values()]
    assert all(torch.equal(y, x) for y in laid_out)
    assert all((a.stride(), a.storage_offset()) != (b.stride(), b.storage_offset()) for a, b in pairwise(laid_out))
