"""Dilated attention against its definition, for shapes nobody would choose on purpose."""

from __future__ import annotations

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from multiset import dense_attention, multiplicity

from attention_impls import dilated_attention, vanilla_attention
from attention_impls.dilated.pattern import DilatedPattern
from attention_impls.dilated.schedule import Schedule
from attention_impls.merging import pieces
from attention_impls.shape import AttentionShape

EXACT = 1e-12


@st.composite
def problems(draw: st.DrawFn) -> dict[str, object]:
    branches = draw(st.integers(1, 4))
    return {
        "n": draw(st.integers(1, 48)),
        "batch": draw(st.integers(1, 3)),
        "kv_heads": draw(st.integers(1, 4)),
        "group": draw(st.integers(1, 3)),
        "d": draw(st.sampled_from([1, 3, 8])),
        "segments": draw(st.lists(st.integers(1, 64), min_size=branches, max_size=branches)),
        "dilations": draw(st.lists(st.integers(1, 20), min_size=branches, max_size=branches)),
        "causal": draw(st.booleans()),
        "offsets": draw(st.sampled_from(["paper", "grouped"])),
        "backend": draw(st.sampled_from(["math", "sdpa-flash"])),
        "seed": draw(st.integers(0, 2**31)),
    }


def drawn(p: dict, dtype: torch.dtype = torch.float64) -> tuple[torch.Tensor, ...]:
    generator = torch.Generator().manual_seed(p["seed"])
    heads = p["kv_heads"] * p["group"]
    shapes = [(p["batch"], p["n"], h, p["d"]) for h in (heads, p["kv_heads"], p["kv_heads"])]
    return tuple(torch.randn(s, dtype=dtype, generator=generator).requires_grad_() for s in shapes)


def pattern_of(p: dict) -> DilatedPattern:
    shape = AttentionShape(p["n"], p["batch"], p["kv_heads"] * p["group"], p["kv_heads"], p["d"], p["causal"])
    return DilatedPattern(shape, Schedule.of(p["segments"], p["dilations"]), p["offsets"])


def run(p: dict, q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, **more: object) -> torch.Tensor:
    names = ("segments", "dilations", "causal", "offsets", "backend")
    return dilated_attention(q, k, v, **{name: p[name] for name in names}, **more)


@settings(max_examples=150, deadline=None)
@given(problems())
def test_output_lse_and_gradients_are_those_of_one_softmax_over_the_multiset(p: dict) -> None:
    q, k, v = drawn(p)
    counts = multiplicity(pattern_of(p))
    out, lse = run(p, q, k, v, return_lse=True)
    expected, expected_lse = dense_attention(q, k, v, counts, p["d"] ** -0.5, return_lse=True)
    torch.testing.assert_close(out, expected, rtol=0, atol=EXACT)
    torch.testing.assert_close(lse, expected_lse, rtol=0, atol=EXACT)
    grad = torch.randn_like(out)
    for actual, reference in zip(
        torch.autograd.grad(out, (q, k, v), grad), torch.autograd.grad(expected, (q, k, v), grad), strict=True
    ):
        torch.testing.assert_close(actual, reference, rtol=0, atol=EXACT)


@pytest.fixture
def views_as_on_cuda(monkeypatch: pytest.MonkeyPatch) -> None:
    """Strided views instead of copies, one run of heads at a time, in slices as small as they get."""
    monkeypatch.setattr(pieces, "copies_rows", lambda _x: False)
    monkeypatch.setattr(pieces, "LEAST_ROWS", 1)


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(problems())
def test_the_path_without_copies_is_exact_too(views_as_on_cuda: None, p: dict) -> None:
    q, k, v = drawn(p)
    expected = dense_attention(q, k, v, multiplicity(pattern_of(p)), p["d"] ** -0.5)
    out = run(p, q, k, v)
    torch.testing.assert_close(out, expected, rtol=0, atol=EXACT)
    grad = torch.randn_like(out)
    for actual, reference in zip(
        torch.autograd.grad(out, (q, k, v), grad), torch.autograd.grad(expected, (q, k, v), grad), strict=True
    ):
        torch.testing.assert_close(actual, reference, rtol=0, atol=EXACT)


def test_slices_are_launched_apart_and_agree(monkeypatch: pytest.MonkeyPatch) -> None:
    q, k, v = (torch.randn(2, 96, 4, 8, dtype=torch.float64) for _ in range(3))
    whole = dilated_attention(q, k, v, segments=[8, 32], dilations=[1, 3])
    monkeypatch.setattr(pieces, "LEAST_ROWS", 1)
    monkeypatch.setattr(pieces, "LEAST_COPIED_MEMBERS", 1)
    sliced = dilated_attention(q, k, v, segments=[8, 32], dilations=[1, 3])
    torch.testing.assert_close(sliced, whole, rtol=0, atol=EXACT)


@settings(max_examples=100, deadline=None)
@given(problems())
def test_pairs_in_closed_form_are_the_pairs_there_are(p: dict) -> None:
    pattern = pattern_of(p)
    assert pattern.pairs() == p["batch"] * int(multiplicity(pattern).sum())


@settings(max_examples=40, deadline=None)
@given(problems())
def test_detached_mixing_treats_the_weights_as_constants(p: dict) -> None:
    q, k, v = drawn(p)
    out = run(p, q, k, v, mixing_gradient="detached")
    group = p["group"]
    lses, outs = [], []
    for w, r in zip(p["segments"], p["dilations"], strict=True):
        one = pattern_of(p | {"segments": [w], "dilations": [r]})
        branch_out, branch_lse = dense_attention(q, k, v, multiplicity(one), p["d"] ** -0.5, return_lse=True)
        outs.append(branch_out)
        lses.append(branch_lse)
    weights = torch.stack(lses).detach().softmax(0).nan_to_num(0).transpose(2, 3).unsqueeze(-1)
    expected = (weights * torch.stack(outs)).sum(0)
    assert group == q.shape[2] // k.shape[2]
    torch.testing.assert_close(out, expected, rtol=0, atol=EXACT)
    grad = torch.randn_like(out)
    for actual, reference in zip(
        torch.autograd.grad(out, (q, k, v), grad), torch.autograd.grad(expected, (q, k, v), grad), strict=True
    ):
        torch.testing.assert_close(actual, reference, rtol=0, atol=EXACT)


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("mixing", [([4, 16], [1, 4]), ([5, 7, 20], [2, 1, 3])])
def test_gradcheck(mixing: tuple[list[int], list[int]], causal: bool) -> None:
    q, k, v = (torch.randn(1, 11, 3, 2, dtype=torch.float64, requires_grad=True) for _ in range(3))
    segments, dilations = mixing
    assert torch.autograd.gradcheck(
        lambda *x: dilated_attention(*x, segments=segments, dilations=dilations, causal=causal), (q, k, v)
    )


def test_one_undilated_segment_is_vanilla_attention() -> None:
    q, k, v = (torch.randn(2, 33, 4, 16) for _ in range(3))
    same = dilated_attention(q, k, v, segments=[64], dilations=[1], causal=True)
    torch.testing.assert_close(same, vanilla_attention(q, k, v, causal=True))


def test_a_token_in_no_branch_gets_zero_and_its_log_sum_exp_is_minus_infinity() -> None:
    q, k, v = (torch.randn(1, 8, 1, 4) for _ in range(3))
    out, lse = dilated_attention(q, k, v, segments=[8], dilations=[2], return_lse=True)
    assert bool((out[:, 1::2] == 0).all())
    assert bool((lse[..., 1::2] == float("-inf")).all())
    assert bool(torch.isfinite(lse[..., ::2]).all())


def test_no_member_at_all_is_zero_with_zero_gradient() -> None:
    q = torch.randn(1, 1, 2, 4, requires_grad=True)
    out = dilated_attention(q[:, :, 1:], q[:, :, 1:], q[:, :, 1:], segments=[1], dilations=[1])
    assert out.shape == (1, 1, 1, 4)
    wide = torch.randn(1, 1, 3, 4, requires_grad=True)
    out = dilated_attention(wide, wide, wide, segments=[4], dilations=[4])
    assert bool((out[:, :, 1:] == 0).all())
    (grad,) = torch.autograd.grad(out.sum(), wide)
    assert bool((grad[:, :, 1:] == 0).all())


def test_only_q_k_v_out_and_lse_are_saved_whatever_the_number_of_branches() -> None:
    q, k, v = (torch.randn(1, 64, heads, 8, requires_grad=True) for heads in (4, 2, 2))

    def saved(segments: list[int], dilations: list[int]) -> int:
        sizes: dict[int, int] = {}

        def pack(x: torch.Tensor) -> torch.Tensor:
            sizes[x.data_ptr()] = x.nbytes
            return x

        with torch.autograd.graph.saved_tensors_hooks(pack, lambda x: x):
            dilated_attention(q, k, v, segments=segments, dilations=dilations)
        return sum(sizes.values())

    inputs = q.nbytes + k.nbytes + v.nbytes
    out_and_lse = q.nbytes + 64 * 4 * 4
    assert saved([16], [1]) == inputs + out_and_lse
    assert saved([4, 8, 16, 32, 64], [1, 2, 3, 4, 8]) == inputs + out_and_lse


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"segments": [4, 8]}, "pair up"),
        ({"segments": [], "dilations": []}, "at least one"),
        ({"segments": [0]}, "segment length must be at least 1"),
        ({"dilations": [-1]}, "dilation rate must be at least 1"),
        ({"offsets": "other"}, "unknown offsets 'other'"),
        ({"mixing_gradient": "none"}, "unknown mixing gradient 'none'"),
        ({"backend": "sdpa-cudnn"}, "runs on cuda only"),
        ({"backend": "nothing"}, "is unknown: choose sdpa-flash, math"),
    ],
)
def test_options_that_do_not_fit_say_so(change: dict, says: str) -> None:
    x = torch.randn(1, 8, 2, 4)
    with pytest.raises(ValueError, match=says):
        dilated_attention(x, x, x, **({"segments": [4], "dilations": [1]} | change))


def test_the_result_may_be_changed_in_place_without_harm_to_the_inputs() -> None:
    q, k, v = (torch.randn(1, 16, 2, 4) for _ in range(3))
    before = [x.clone() for x in (q, k, v)]
    dilated_attention(q, k, v, segments=[4, 16], dilations=[1, 4]).zero_()
    for x, same in zip((q, k, v), before, strict=True):
        assert torch.equal(x, same)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
def test_inputs_of_any_strides(dtype: torch.dtype) -> None:
    base = torch.randn(3, 2, 4, 40, 8, dtype=dtype)
    q, k, v = (x.transpose(1, 2) for x in base)  # (batch, seq, heads, d) as a view of heads-first memory
    packed = dilated_attention(*(x.contiguous() for x in (q, k, v)), segments=[8, 32], dilations=[1, 3])
    torch.testing.assert_close(dilated_attention(q, k, v, segments=[8, 32], dilations=[1, 3]), packed)
    last = torch.randn(3, 1, 8, 16, 2, dtype=dtype)
    q, k, v = (x.transpose(2, 3) for x in last)  # last dimension not contiguous
    packed = dilated_attention(*(x.contiguous() for x in (q, k, v)), segments=[4], dilations=[1])
    torch.testing.assert_close(dilated_attention(q, k, v, segments=[4], dilations=[1]), packed)
