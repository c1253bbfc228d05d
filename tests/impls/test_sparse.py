"""Sparse and sliding-window attention against their definition, for shapes nobody would choose on purpose."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from layouts import LAYOUTS
from multiset import dense_attention, multiplicity
from sparse_cases import inputs, run, sparse_patterns
from torch import Tensor

from attention_impls import sliding_window_attention, sparse_attention, vanilla_attention
from attention_impls.api import get_implementation
from attention_impls.kernels.math import MATH
from attention_impls.merging import pieces
from attention_impls.shape import AttentionShape
from attention_impls.sparse import op, parts
from attention_impls.sparse.pattern import FixedPattern, SlidingWindowPattern, SparsePattern, StridedPattern

EXACT = 1e-12


def check(pattern: SparsePattern, seed: int, backend: str) -> None:
    q, k, v = inputs(pattern, seed)
    scale = q.shape[3] ** -0.5
    out, lse = run(pattern, q, k, v, backend=backend, return_lse=True)
    expected, expected_lse = dense_attention(q, k, v, multiplicity(pattern), scale, return_lse=True)
    torch.testing.assert_close(out, expected, rtol=0, atol=EXACT)
    torch.testing.assert_close(lse, expected_lse, rtol=0, atol=EXACT)
    grad = torch.randn_like(out)
    for actual, reference in zip(
        torch.autograd.grad(out, (q, k, v), grad), torch.autograd.grad(expected, (q, k, v), grad), strict=True
    ):
        torch.testing.assert_close(actual, reference, rtol=0, atol=EXACT)


BACKENDS = st.sampled_from(["math", "sdpa-flash"])


@settings(max_examples=120)
@given(sparse_patterns(), st.integers(0, 2**31), BACKENDS)
def test_output_lse_and_gradients_are_those_of_the_masked_softmax(
    pattern: SparsePattern, seed: int, backend: str
) -> None:
    check(pattern, seed, backend)


@pytest.fixture(params=["copies", "views"])
def cut_small(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Calls as small as they get and a deep tree of blocks; copies for every call, or the views of a GPU."""
    monkeypatch.setattr(pieces, "LEAST_ROWS", 1)
    monkeypatch.setattr(parts, "FAN_OUT", 3)
    if request.param == "copies":
        monkeypatch.setattr(pieces, "LEAST_COPIED_MEMBERS", 1)
    else:
        monkeypatch.setattr(pieces, "copies_rows", lambda _x: False)


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(sparse_patterns(), st.integers(0, 2**31), BACKENDS)
def test_small_calls_are_exact_too(cut_small: None, pattern: SparsePattern, seed: int, backend: str) -> None:
    check(pattern, seed, backend)


def patterns_at(shape: AttentionShape) -> list[SparsePattern]:
    return [
        SlidingWindowPattern(shape, 7),
        StridedPattern(shape, 14),
        FixedPattern(shape, 14, 3),
        FixedPattern(shape, 5, 5),
    ]


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("n", [196, 205])
@pytest.mark.parametrize("which", range(4))
def test_the_back_end_is_handed_the_pairs_of_the_pattern_and_no_more(
    monkeypatch: pytest.MonkeyPatch, which: int, n: int, causal: bool
) -> None:
    pattern = patterns_at(AttentionShape(n, batch=2, heads=3, kv_heads=1, head_dim=2, causal=causal))[which]
    handed = {"forward": 0, "backward": 0}

    def count(name: str, q: Tensor, k: Tensor, triangle: bool) -> None:
        groups, queries, heads, _ = q.shape
        assert not triangle or queries == k.shape[1]
        handed[name] += groups * heads * (queries * (queries + 1) // 2 if triangle else queries * k.shape[1])

    def forward(q: Tensor, k: Tensor, v: Tensor, causal: bool, scale: float) -> tuple[Tensor, Tensor]:
        count("forward", q, k, causal)
        return MATH.forward(q, k, v, causal, scale)

    def backward(grad: Tensor, q: Tensor, k: Tensor, *rest: object) -> tuple[Tensor, Tensor, Tensor]:
        count("backward", q, k, bool(rest[3]))
        return MATH.backward(grad, q, k, *rest)  # type: ignore[arg-type]

    counting = replace(MATH, forward=forward, backward=backward)
    monkeypatch.setattr(op, "get_backend", lambda *_: counting)
    run(pattern, *inputs(pattern, 0)).sum().backward()
    assert handed == {"forward": pattern.pairs(), "backward": pattern.pairs()}


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("options", [{"stride": 3}, {"pattern": "fixed", "stride": 3, "columns": 2}])
def test_gradcheck(options: dict, causal: bool) -> None:
    q, k, v = (torch.randn(1, 7, 2, 2, dtype=torch.float64, requires_grad=True) for _ in range(3))
    assert torch.autograd.gradcheck(lambda *x: sparse_attention(*x, causal=causal, **options), (q, k, v))


def test_a_window_or_stride_past_the_end_is_vanilla_attention() -> None:
    q, k, v = (torch.randn(2, 33, 4, 16) for _ in range(3))
    for causal in (False, True):
        whole = vanilla_attention(q, k, v, causal=causal)
        torch.testing.assert_close(sliding_window_attention(q, k, v, window=99, causal=causal), whole)
        for pattern in ("strided", "fixed"):
            torch.testing.assert_close(sparse_attention(q, k, v, pattern=pattern, stride=99, causal=causal), whole)


def test_only_q_k_v_out_and_lse_are_saved() -> None:
    q, k, v = (torch.randn(1, 64, heads, 8, requires_grad=True) for heads in (4, 2, 2))
    expected = 2 * q.nbytes + k.nbytes + v.nbytes + 64 * 4 * 4
    for pattern in patterns_at(AttentionShape(64, heads=4, kv_heads=2, head_dim=8, causal=True)):
        sizes: dict[int, int] = {}

        def pack(x: Tensor, sizes: dict[int, int] = sizes) -> Tensor:
            sizes[x.data_ptr()] = x.nbytes
            return x

        with torch.autograd.graph.saved_tensors_hooks(pack, lambda x: x):
            run(pattern, q, k, v)
        assert sum(sizes.values()) == expected


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("which", range(4))
def test_shorter_types_stay_close(which: int, dtype: torch.dtype, causal: bool) -> None:
    pattern = patterns_at(AttentionShape(130, batch=1, heads=2, kv_heads=2, head_dim=16, causal=causal))[which]
    q, k, v = inputs(pattern, 1, dtype)
    out, lse = run(pattern, q, k, v, return_lse=True)
    assert out.dtype == dtype
    assert lse.dtype == torch.float32
    wide = [x.detach().double().requires_grad_() for x in (q, k, v)]
    expected = dense_attention(*wide, multiplicity(pattern), 16**-0.5)
    close = {"rtol": 0.05, "atol": 0.05} if dtype == torch.bfloat16 else {"rtol": 1e-4, "atol": 1e-5}
    torch.testing.assert_close(out.double(), expected, **close)
    grad = torch.randn_like(out)
    for actual, reference in zip(
        torch.autograd.grad(out, (q, k, v), grad),
        torch.autograd.grad(expected, wide, grad.double()),
        strict=True,
    ):
        torch.testing.assert_close(actual.double(), reference, **close)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_inputs_of_any_strides(layout: str) -> None:
    for pattern in patterns_at(AttentionShape(47, batch=2, heads=4, kv_heads=2, head_dim=8)):
        q, k, v = (x.detach() for x in inputs(pattern, 2))
        laid_out = [LAYOUTS[layout](x) for x in (q, k, v)]
        grad = torch.randn_like(q)
        results = []
        for inputs_, grad_ in (((q, k, v), grad), (laid_out, LAYOUTS[layout](grad))):
            leaves = [x.detach().requires_grad_() for x in inputs_]
            out = run(pattern, *leaves)
            results.append((out, *torch.autograd.grad(out, leaves, grad_)))
        torch.testing.assert_close(results[1], results[0], rtol=0, atol=EXACT)


def test_the_registry_runs_what_its_pattern_says() -> None:
    shape = AttentionShape(60, batch=1, heads=2, kv_heads=1, head_dim=4, causal=True)
    asked = [
        ("sliding-window", {"window": 9}),
        ("sparse", {}),
        ("sparse", {"pattern": "fixed", "stride": 9, "columns": 2}),
        ("sparse", {"pattern": "fixed", "match_flops": "dilated"}),
    ]
    for name, given_options in asked:
        impl = get_implementation(name)
        options = {**impl.defaults, **given_options}
        pattern = impl.pattern(shape, options)
        q, k, v = inputs(pattern, 3)
        out = impl.load()(q, k, v, causal=True, backend="math", **options)
        expected = dense_attention(q, k, v, multiplicity(pattern), 0.5)
        torch.testing.assert_close(out, expected, rtol=0, atol=EXACT)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"pattern": "other"}, "unknown pattern 'other'"),
        ({"stride": -1}, "stride must be at least 1"),
        ({"columns": 1}, "columns belong to the fixed pattern"),
        ({"backend": "sdpa-cudnn"}, "runs on cuda only"),
        ({"backend": "nothing"}, "is unknown: choose sdpa-flash, math"),
    ],
)
def test_options_that_do_not_fit_say_so(change: dict, says: str) -> None:
    x = torch.randn(1, 8, 2, 4)
    with pytest.raises(ValueError, match=says):
        sparse_attention(x, x, x, **change)
    with pytest.raises(ValueError, match="multiple of k's"):
        sliding_window_attention(torch.randn(1, 8, 3, 4), x, x, window=4)
