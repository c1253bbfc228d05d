"""Every CUDA back end that this machine has, against attention written out in float64."""

from __future__ import annotations

from functools import cache

import pytest
import torch
from layouts import LAYOUTS
from multiset import dense_attention, multiplicity
from torch import Tensor

from attention_impls import dilated_attention, vanilla_attention
from attention_impls.dilated.pattern import DilatedPattern
from attention_impls.dilated.schedule import Schedule
from attention_impls.kernels.base import MAX_GRID_BATCH
from attention_impls.kernels.registry import backends, get_backend, supported_backends
from attention_impls.shape import AttentionShape
from longbench_cli.measure.tolerance import GRADIENT_TOLERANCE, OUTPUT_TOLERANCE, scaled_error

pytestmark = pytest.mark.gpu

HALF = (torch.float16, torch.bfloat16)
LSE_TOLERANCE = 1e-2
LEAST_SIZE = 1e-2
"""Where all of a gradient cancels (a single key), what is left of terms of size 1 is only rounding."""
every_backend = pytest.mark.parametrize("backend", backends("cuda"))


def skip_unless_supported(backend: str, dtype: torch.dtype, head_dim: int) -> None:
    reason = backends("cuda")[backend].why_unsupported("cuda", dtype, head_dim)
    if reason is not None:
        pytest.skip(reason)


def draw(
    batch: int, seq: int, heads: int, kv_heads: int, head_dim: int, dtype: torch.dtype, seed: int = 0
) -> tuple[list[Tensor], Tensor]:
    """(q, k, v), which want gradients, and grad_out."""
    generator = torch.Generator("cuda").manual_seed(seed)
    q, k, v, grad = (
        torch.randn(batch, seq, h, head_dim, dtype=dtype, device="cuda", generator=generator)
        for h in (heads, kv_heads, kv_heads, heads)
    )
    return [x.requires_grad_() for x in (q, k, v)], grad


def full(seq: int, heads: int, causal: bool) -> Tensor:
    """Multiplicity of full attention, (heads, seq, seq)."""
    ones = torch.ones(heads, seq, seq, dtype=torch.float64, device="cuda")
    return ones.tril() if causal else ones


@cache
def dilated_counts(causal: bool, schedule: Schedule) -> Tensor:
    """Multiplicity of dilated attention over 1000 tokens and 4 heads."""
    return multiplicity(DilatedPattern(AttentionShape(1000, 2, 4, 4, 64, causal), schedule))


def assert_close(actual: Tensor, expected: Tensor, tolerance: float) -> None:
    """Rows of the last dimension, each against the largest of its own size, the whole tensor's and LEAST_SIZE."""
    assert actual.shape == expected.shape
    rows = expected.detach().reshape(-1, expected.shape[-1])
    size = max(float(rows.square().mean().sqrt()), LEAST_SIZE)
    error = float(scaled_error(actual.detach().reshape(rows.shape), rows, size).max())
    assert error <= tolerance


def assert_same_function(
    out: Tensor, lse: Tensor, leaves: list[Tensor], grad: Tensor, counts: Tensor, dtype: torch.dtype
) -> None:
    """out, lse and all three gradients are those of the float64 softmax over the multiset ``counts``."""
    name = str(dtype).removeprefix("torch.")
    assert out.dtype == dtype
    assert lse.dtype == torch.float32
    wide = [x.detach().double().requires_grad_() for x in leaves]
    expected, expected_lse = dense_attention(*wide, counts, leaves[0].shape[-1] ** -0.5, return_lse=True)
    assert_close(out, expected, OUTPUT_TOLERANCE[name])
    torch.testing.assert_close(lse.double(), expected_lse.detach(), rtol=0, atol=LSE_TOLERANCE)
    actual = torch.autograd.grad(out, leaves, grad)
    for found, reference in zip(actual, torch.autograd.grad(expected, wide, grad.double()), strict=True):
        assert found.dtype == dtype
        assert_close(found, reference, GRADIENT_TOLERANCE[name])


@every_backend
@pytest.mark.parametrize("seq", [1000, 128, 33, 1])
@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("head_dim", [64, 128])
@pytest.mark.parametrize("dtype", HALF)
def test_output_lse_and_gradients(backend: str, dtype: torch.dtype, head_dim: int, causal: bool, seq: int) -> None:
    skip_unless_supported(backend, dtype, head_dim)
    leaves, grad = draw(2, seq, 4, 4, head_dim, dtype)
    out, lse = vanilla_attention(*leaves, causal=causal, backend=backend, return_lse=True)
    assert_same_function(out, lse, leaves, grad, full(seq, 4, causal), dtype)


@every_backend
@pytest.mark.parametrize("causal", [False, True])
def test_single_precision(backend: str, causal: bool) -> None:
    skip_unless_supported(backend, torch.float32, 64)
    leaves, grad = draw(1, 300, 2, 2, 64, torch.float32)
    out, lse = vanilla_attention(*leaves, causal=causal, backend=backend, return_lse=True)
    assert_same_function(out, lse, leaves, grad, full(300, 2, causal), torch.float32)


@every_backend
@pytest.mark.parametrize("kv_heads", [1, 2])
def test_grouped_key_heads(backend: str, kv_heads: int) -> None:
    skip_unless_supported(backend, torch.bfloat16, 64)
    leaves, grad = draw(2, 200, 4, kv_heads, 64, torch.bfloat16)
    out, lse = vanilla_attention(*leaves, causal=True, backend=backend, return_lse=True)
    assert_same_function(out, lse, leaves, grad, full(200, 4, True), torch.bfloat16)


@every_backend
@pytest.mark.parametrize("layout", LAYOUTS)
def test_any_layout_of_inputs_and_of_the_gradient(backend: str, layout: str) -> None:
    """Three gradients on the same inputs: a plan kept from the first must not be taken for another layout."""
    skip_unless_supported(backend, torch.bfloat16, 64)
    leaves, grad = draw(2, 200, 4, 4, 64, torch.bfloat16)
    laid_out = [LAYOUTS[layout](x.detach()).requires_grad_() for x in leaves]
    for upstream in (grad, LAYOUTS[layout](grad), torch.ones((), dtype=grad.dtype, device="cuda").expand(grad.shape)):
        out, lse = vanilla_attention(*laid_out, causal=True, backend=backend, return_lse=True)
        assert_same_function(out, lse, laid_out, upstream, full(200, 4, True), torch.bfloat16)


@every_backend
def test_a_batch_past_the_grid_limit(backend: str) -> None:
    skip_unless_supported(backend, torch.bfloat16, 64)
    leaves, grad = draw(MAX_GRID_BATCH + 5, 2, 1, 1, 64, torch.bfloat16)
    out, lse = vanilla_attention(*leaves, causal=True, backend=backend, return_lse=True)
    assert_same_function(out, lse, leaves, grad, full(2, 1, True), torch.bfloat16)


@every_backend
@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize(
    ("dtype", "kv_heads", "segments", "dilations"),
    [
        (torch.bfloat16, 4, [128, 512, 1000], [1, 2, 5]),
        (torch.float16, 2, [256, 1000], [1, 4]),
        (torch.bfloat16, 4, [333, 600], [1, 3]),
        (torch.bfloat16, 1, [300, 2000], [3, 7]),
    ],
    ids=["three branches", "grouped keys, fp16", "a tail of one token", "no undilated branch"],
)
def test_merged_backward_through_dilated_attention(
    backend: str, causal: bool, dtype: torch.dtype, kv_heads: int, segments: list[int], dilations: list[int]
) -> None:
    skip_unless_supported(backend, dtype, 64)
    counts = dilated_counts(causal, Schedule.of(segments, dilations)).cuda()
    leaves, grad = draw(2, 1000, 4, kv_heads, 64, dtype)
    out, lse = dilated_attention(
        *leaves, segments=segments, dilations=dilations, causal=causal, backend=backend, return_lse=True
    )
    seen = counts.sum(-1) > 0
    assert bool((out.transpose(1, 2)[:, ~seen] == 0).all())
    assert bool((lse[:, ~seen] == float("-inf")).all())
    assert_same_function(out, lse, leaves, grad, counts, dtype)


@every_backend
def test_detached_mixing_scales_each_branch(backend: str) -> None:
    """Where there is one branch its weight is 1, so that both gradients are the same function."""
    skip_unless_supported(backend, torch.bfloat16, 64)
    leaves, grad = draw(2, 500, 4, 4, 64, torch.bfloat16)
    found = []
    for mixing in ("exact", "detached"):
        out = dilated_attention(*leaves, segments=[200], dilations=[2], mixing_gradient=mixing, backend=backend)
        found.append(torch.autograd.grad(out, leaves, grad))
    for exact, detached in zip(*found, strict=True):
        assert_close(detached, exact.double(), GRADIENT_TOLERANCE["bfloat16"])


def test_what_torch_carries_is_there() -> None:
    """None of the tests above may pass by being skipped."""
    names = {b.name for b in supported_backends("cuda", torch.float16, 64)}
    assert {"sdpa-efficient", "math"} <= names
    if torch.cuda.get_device_capability() >= (8, 0):
        assert "sdpa-flash" in names
        assert ("sdpa-cudnn" in names) == torch.backends.cudnn.is_available()


def test_the_default_is_the_best_supported() -> None:
    best = supported_backends("cuda", torch.bfloat16, 64)[0]
    assert get_backend(None, "cuda", torch.bfloat16, 64) is best
    assert best.fused
