"""Decoding with a cache: the logits of a full forward, one token at a time."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from attention_impls import LongNetTransformer, generate
from attention_impls.models.sizes import Architecture
from attention_impls.models.transformer import CausalAttention, Transformer
from attention_impls.sparse.spec import SLIDING_WINDOW, SPARSE
from attention_impls.vanilla_spec import VANILLA

VOCAB = 11


def longnet(
    segments: list[int], dilations: list[int], dtype: torch.dtype = torch.float64, **more: object
) -> Transformer:
    torch.manual_seed(0)
    return LongNetTransformer(VOCAB, 12, 2, 3, 4, 2, segments, dilations, dtype=dtype, **more)


def assert_decodes(model: Transformer, tokens: torch.Tensor, cuts: list[int], atol: float) -> None:
    """Feed ``tokens`` in pieces that end at ``cuts``: together the logits of one forward."""
    with torch.no_grad():
        full = model(tokens)
        cache = model.cache(tokens.shape[0], tokens.shape[1])
        pieces = [model(tokens[:, cache.length : cut], cache) for cut in (*cuts, tokens.shape[1])]
    torch.testing.assert_close(torch.cat(pieces, 1), full, rtol=0, atol=atol)


def some_tokens(n: int, batch: int = 2) -> torch.Tensor:
    return torch.randint(VOCAB, (batch, n), generator=torch.Generator().manual_seed(n))


@settings(max_examples=25)
@given(
    branches=st.lists(st.tuples(st.integers(1, 40), st.integers(1, 6)), min_size=1, max_size=4),
    n=st.integers(1, 30),
    prefill=st.integers(1, 30),
    offsets=st.sampled_from(["paper", "grouped"]),
)
def test_every_step_of_longnet_is_the_full_forwards(
    branches: list[tuple[int, int]], n: int, prefill: int, offsets: str
) -> None:
    model = longnet([w for w, _ in branches], [r for _, r in branches], offsets=offsets)
    assert_decodes(model, some_tokens(n), list(range(min(prefill, n), n)), 1e-10)


def test_tokens_may_come_in_pieces_of_any_size() -> None:
    model = longnet([4, 16], [1, 3], qk_norm=True, parallel_block=True, feed_forward="gelu")
    assert_decodes(model, some_tokens(27), [5, 6, 13, 26], 1e-10)


def test_in_single_precision() -> None:
    assert_decodes(longnet([4, 16], [1, 3], torch.float32), some_tokens(27), list(range(1, 27)), 1e-4)


@pytest.mark.parametrize(
    ("implementation", "options"),
    [
        (VANILLA, {}),
        (SPARSE, {"pattern": "strided", "stride": 4}),
        (SPARSE, {"pattern": "fixed", "stride": 5, "columns": 2}),
        (SLIDING_WINDOW, {"window": 6}),
    ],
)
def test_every_step_of_the_transformer_is_the_full_forwards(implementation: object, options: dict) -> None:
    torch.manual_seed(0)
    attention = CausalAttention(implementation, options, "math")
    model = Transformer(Architecture(VOCAB, 12, 2, 3, 4, 2), attention, dtype=torch.float64)
    assert_decodes(model, some_tokens(23), [3, *range(4, 23)], 1e-10)


def test_a_token_in_no_branch_attends_to_nothing_in_the_cache_too() -> None:
    model = longnet([8], [5])
    cache = model.cache(1, 8)
    q, k, v = torch.randn(3, 1, 8, 3, 4, dtype=torch.float64)
    cache.attend(0, q[:, :4], k[:, :4], v[:, :4])
    cache.advance(4)
    assert bool((cache.attend(0, q[:, 4:5], k[:, 4:5], v[:, 4:5]) == 0).all())  # heads keep phases 0, 1 and 2
    cache.advance(1)
    out = cache.attend(0, q[:, 5:6], k[:, 5:6], v[:, 5:6])
    assert bool((out[:, :, 0] != 0).any())
    assert bool((out[:, :, 1:] == 0).all())


@pytest.mark.parametrize("segments", [[4, 16], [7]])
def test_greedy_generation_is_the_argmax_of_the_full_forward(segments: list[int]) -> None:
    model = longnet(segments, [1, 3][: len(segments)])
    prompt = some_tokens(5)
    tokens = generate(model, prompt, 20, temperature=0)
    assert tokens.shape == (2, 25)
    assert torch.equal(tokens[:, :5], prompt)
    with torch.no_grad():
        assert torch.equal(model(tokens)[:, 4:-1].argmax(-1), tokens[:, 5:])
    assert len(tokens[:, 5:].unique()) > 1


def test_sampling_repeats_with_its_generator_and_keeps_to_the_likeliest() -> None:
    model, prompt = longnet([4, 16], [1, 3]), some_tokens(3, batch=8)

    def drawn(seed: int, **more: object) -> torch.Tensor:
        return generate(model, prompt, 6, generator=torch.Generator().manual_seed(seed), **more)

    state = torch.get_rng_state()
    assert torch.equal(drawn(1), drawn(1))
    assert torch.equal(torch.get_rng_state(), state)
    assert not torch.equal(drawn(1), drawn(2))
    assert torch.equal(drawn(1, top_k=1), drawn(2, temperature=0))
    assert torch.equal(drawn(1, top_k=VOCAB + 5), drawn(1))
    tokens = drawn(3, top_k=2, temperature=5.0)
    with torch.no_grad():
        best = model(tokens)[:, 2:-1].topk(2, -1).indices
    assert bool((best == tokens[:, 3:, None]).any(-1).all())
    assert not bool((best[..., 0] == tokens[:, 3:]).all())


def test_temperature_evens_out() -> None:
    model, prompt = longnet([8], [1]), some_tokens(4, batch=1).expand(4000, 4).contiguous()
    with torch.no_grad():
        logits = model(prompt[:1])[0, -1]
    for temperature in (0.5, 3.0):
        tokens = generate(model, prompt, 1, temperature=temperature, generator=torch.Generator().manual_seed(0))
        share = torch.bincount(tokens[:, -1], minlength=VOCAB) / 4000
        torch.testing.assert_close(share.double(), (logits / temperature).softmax(0), rtol=0, atol=0.04)


def test_no_new_tokens_is_the_prompt() -> None:
    prompt = some_tokens(3)
    assert torch.equal(generate(longnet([4], [1]), prompt, 0), prompt)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"prompt": torch.zeros(3, dtype=torch.int64)}, r"prompt must be \(batch, n\)"),
        ({"prompt": torch.zeros(1, 0, dtype=torch.int64)}, "at least one of each"),
        ({"new_tokens": -1}, "new_tokens must be at least 0, not -1"),
        ({"temperature": -1.0}, "temperature must be at least 0"),
        ({"top_k": 0}, "top_k must be at least 1, not 0"),
    ],
)
def test_arguments_out_of_range_say_so(change: dict, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        generate(longnet([4], [1]), **({"prompt": some_tokens(3), "new_tokens": 2} | change))


def test_a_cache_takes_no_more_than_it_has_room_for() -> None:
    model = longnet([4], [1])
    with pytest.raises(ValueError, match="has room for 4 tokens and holds 0: 5 more do not fit"):
        model(some_tokens(5), model.cache(2, 4))
    with pytest.raises(ValueError, match="batch of 1, not 2"):
        model(some_tokens(2), model.cache(1, 4))
