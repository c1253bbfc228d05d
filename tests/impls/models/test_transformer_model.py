"""The skeleton of the language models: causal, as its reference, of the size and work it is said to have."""

from __future__ import annotations

import math
from itertools import product

import pytest
import torch

from attention_impls.api import Implementation, get_implementation
from attention_impls.models.layers import turn, xpos
from attention_impls.models.sizes import PRESETS, architecture_of, transformer_work
from attention_impls.pattern import FullPattern
from attention_impls.shape import AttentionShape

N, VOCAB = 29, 17
SHAPE = AttentionShape(N, batch=2, heads=3, kv_heads=3, head_dim=4)
BLOCKS = [
    {"feed_forward": feed_forward, "qk_norm": qk_norm, "parallel_block": parallel}
    for feed_forward, qk_norm, parallel in product(["swiglu", "gelu"], [False, True], [False, True])
]
ATTENTIONS = [
    ("longnet", {"segments": [8, 20, 64], "dilations": [1, 3, 4]}),
    ("longnet", {"segments": [8, 32], "dilations": [2, 4], "offsets": "grouped"}),
    ("transformer", {}),
    ("transformer", {"attention": "sparse", "stride": 5}),
    ("transformer", {"attention": "sparse", "pattern": "fixed", "stride": 6, "columns": 2}),
    ("transformer", {"attention": "sliding-window", "window": 6}),
]
CASES = [(*ATTENTIONS[0], block) for block in BLOCKS] + [(*attention, BLOCKS[6]) for attention in ATTENTIONS[1:]]


def options_of(name: str, *options: dict) -> dict:
    merged = {**get_implementation(name).defaults, "vocab": VOCAB, "ff_mult": 2}
    for more in options:
        merged.update(more)
    return merged


def made(name: str, options: dict, dtype: torch.dtype = torch.float64, seed: int = 0) -> torch.nn.Module:
    model = get_implementation(name).model
    assert model is not None
    return model.load()(SHAPE, options, backend=None, device="cpu", dtype=dtype, seed=seed)


def some_tokens(n: int = N, batch: int = 2) -> torch.Tensor:
    return torch.randint(VOCAB, (batch, n), generator=torch.Generator().manual_seed(1))


def with_lively_norms(model: torch.nn.Module) -> torch.nn.Module:
    """Norms whose scales and shifts are not the ones and zeros they start with, so that none can be left out."""
    generator = torch.Generator().manual_seed(2)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() == 1:
                parameter.add_(torch.randn(parameter.shape, generator=generator, dtype=parameter.dtype) * 0.3)
    return model


@pytest.mark.parametrize(("name", "attention", "block"), CASES)
def test_logits_and_gradients_are_the_references(name: str, attention: dict, block: dict) -> None:
    options = options_of(name, attention, block)
    model, tokens = with_lively_norms(made(name, options)), some_tokens()
    parameters = {key: value.detach().clone().requires_grad_() for key, value in model.state_dict().items()}
    spec = get_implementation(name).model
    assert spec is not None
    expected = spec.load_reference()(parameters, tokens, SHAPE, options)
    logits = model(tokens)
    assert logits.shape == (2, N, VOCAB)
    torch.testing.assert_close(logits, expected, rtol=0, atol=1e-9)
    seed = torch.randn(logits.shape, dtype=logits.dtype, generator=torch.Generator().manual_seed(3))
    named = dict(model.named_parameters())
    assert named.keys() == parameters.keys()
    gradients = torch.autograd.grad(logits, list(named.values()), seed)
    references = torch.autograd.grad(expected, [parameters[key] for key in named], seed)
    for key, gradient, reference in zip(named, gradients, references, strict=True):
        torch.testing.assert_close(
            gradient, reference, rtol=1e-9, atol=1e-9, msg=lambda text, key=key: f"{key}: {text}"
        )
        assert bool((gradient != 0).any()), f"no gradient reaches {key}"


@pytest.mark.parametrize(("name", "attention", "block"), CASES)
def test_no_token_changes_a_logit_before_it(name: str, attention: dict, block: dict) -> None:
    model, tokens = made(name, options_of(name, attention, block)), some_tokens()
    with torch.no_grad():
        before = model(tokens)
        for t in (0, 1, 7, 8, 19, N - 1):
            changed = tokens.clone()
            changed[:, t] = (changed[:, t] + 1) % VOCAB
            after = model(changed)
            torch.testing.assert_close(after[:, :t], before[:, :t], rtol=0, atol=1e-12)
            assert bool((after[:, t] != before[:, t]).any())


def test_a_reference_of_fewer_tokens_keeps_the_schedule_of_the_whole_length() -> None:
    shape = AttentionShape(8192, heads=2, kv_heads=2, head_dim=4)
    options = options_of("longnet")
    spec = get_implementation("longnet").model
    assert spec is not None
    model = spec.load()(shape, options, backend="math", device="cpu", dtype=torch.float64, seed=0)
    tokens = some_tokens(40, batch=1)
    expected = spec.load_reference()(model.state_dict(), tokens, shape, options)
    torch.testing.assert_close(model(tokens), expected, rtol=0, atol=1e-9)
    details = get_implementation("longnet").details(shape, options)
    assert (details["segments"], details["dilations"]) == ([2048, 8192], [1, 4])
    assert details["coverage"] == [1.0, 0.25]
    assert (details["dim"], details["depth"]) == (8, 2)


def test_models_differ_in_nothing_but_their_attention() -> None:
    whole = made("longnet", options_of("longnet", {"segments": [64], "dilations": [1]}))
    others = [made("transformer", options_of("transformer", attention)) for _, attention in ATTENTIONS[2:]]
    for other in others:
        assert whole.state_dict().keys() == other.state_dict().keys()
        for key, value in whole.state_dict().items():
            assert torch.equal(value, other.state_dict()[key]), key
    tokens = some_tokens()
    torch.testing.assert_close(others[0](tokens), whole(tokens), rtol=0, atol=1e-12)
    for other in others[1:]:
        assert not torch.allclose(other(tokens), whole(tokens))


@pytest.mark.parametrize(("name", "attention", "block"), CASES)
def test_the_parameters_are_counted_right(name: str, attention: dict, block: dict) -> None:
    options = options_of(name, attention, block)
    count = sum(parameter.numel() for parameter in made(name, options).parameters())
    implementation = get_implementation(name)
    assert architecture_of(SHAPE, options).parameters == count
    assert implementation.details(SHAPE, options)["parameters"] == count
    assert implementation.model is not None
    assert implementation.model.work(SHAPE, options, "fwd", 4).parameters == count


@pytest.mark.parametrize(("preset", "millions"), [("125m", 162), ("350m", 405), ("760m", 834), ("2.7b", 2774)])
def test_presets_have_the_published_sizes(preset: str, millions: int) -> None:
    """With GPT-2's vocabulary, whose embedding and logits are two matrices here and one where the names come from."""
    from attention_impls.models.transformer import CausalAttention, Transformer
    from attention_impls.vanilla_spec import VANILLA

    options = options_of("transformer", {"preset": preset, "vocab": 50257, "ff_mult": 4})
    spec = get_implementation("transformer").model
    assert spec is not None
    shape = spec.shape(AttentionShape(1024, heads=8, kv_heads=2), options)
    chosen = PRESETS[preset]
    assert (shape.heads, shape.kv_heads, shape.heads * shape.head_dim) == (chosen.heads, chosen.heads, chosen.dim)
    assert shape.causal
    architecture = architecture_of(shape, options)
    assert architecture.depth == chosen.depth
    model = Transformer(architecture, CausalAttention(VANILLA, {}), device="meta")
    count = sum(parameter.numel() for parameter in model.parameters())
    assert count == architecture.parameters
    assert round(count / 1e6) == millions


def test_work_is_two_flops_a_weight_and_token_and_the_attentions_own() -> None:
    shape = AttentionShape(64, batch=2, heads=2, kv_heads=2, head_dim=8, causal=True)
    options = options_of("longnet", {"segments": [16], "dilations": [1], "feed_forward": "gelu", "depth": 3})
    spec = get_implementation("longnet").model
    assert spec is not None
    weights = 3 * (4 * 16 * 16 + 2 * 16 * 32) + 16 * VOCAB
    matmul = 2 * weights * 2 * 64
    pairs, dense = 2 * 2 * 4 * (16 * 17 // 2), 2 * 2 * (64 * 65 // 2)
    forward, backward, both, step = (spec.work(shape, options, name, 2) for name in ("fwd", "bwd", "fwd+bwd", "step"))
    assert forward.cost.flops == matmul + 3 * 4 * 8 * pairs
    assert forward.cost.dense_flops == matmul + 3 * 4 * 8 * dense
    assert backward.cost.flops == 2 * matmul + 2.5 * 3 * 4 * 8 * pairs
    assert both.cost.flops == step.cost.flops == forward.cost.flops + backward.cost.flops
    assert forward.input_bytes == 2 * 64 * 8
    assert forward.cost.io_bytes == forward.parameters * 2 + 2 * 64 * (8 + VOCAB * 2)
    assert forward.peak_bytes < backward.peak_bytes <= both.peak_bytes < step.peak_bytes
    assert step.peak_bytes - both.peak_bytes == 2 * 2 * step.parameters


def test_what_autograd_keeps_is_what_was_predicted() -> None:
    shape = AttentionShape(512, heads=4, kv_heads=4, head_dim=16)
    for block in BLOCKS:
        options = options_of("transformer", block, {"depth": 3, "ff_mult": 4})
        spec = get_implementation("transformer").model
        assert spec is not None
        model = spec.load()(shape, options, backend=None, device="cpu", dtype=torch.float32, seed=0)
        owned = {parameter.untyped_storage().data_ptr() for parameter in model.parameters()}
        kept: dict[int, int] = {}

        def pack(x: torch.Tensor, owned: set[int] = owned, kept: dict[int, int] = kept) -> torch.Tensor:
            storage = x.untyped_storage()
            if storage.data_ptr() not in owned:
                kept[storage.data_ptr()] = storage.nbytes()
            return x

        with torch.autograd.graph.saved_tensors_hooks(pack, lambda x: x):
            logits = model(some_tokens(512, batch=1))
        held = sum(kept.values()) + 2 * logits.nbytes
        architecture = architecture_of(shape, options)
        work = transformer_work(architecture, FullPattern(spec.shape(shape, options)), "bwd", 4)
        assert work.peak_bytes - 2 * 4 * work.parameters == pytest.approx(held, rel=0.1)


def test_a_seed_decides_every_parameter_and_leaves_torchs_generator_alone() -> None:
    state = torch.get_rng_state()
    options = options_of("longnet")
    one, same, other = (made("longnet", options, torch.float32, seed).state_dict() for seed in (5, 5, 6))
    assert torch.equal(torch.get_rng_state(), state)
    for key, value in one.items():
        assert bool(torch.isfinite(value).all())
        assert torch.equal(value, same[key])
        if value.dim() > 1:
            assert not torch.equal(value, other[key]), key


def test_weights_are_drawn_as_magneto_draws_them() -> None:
    shape = AttentionShape(8, heads=8, kv_heads=8, head_dim=16)
    spec = get_implementation("transformer").model
    assert spec is not None
    options = options_of("transformer", {"depth": 6, "ff_mult": 4})
    model = spec.load()(shape, options, backend=None, device="cpu", dtype=torch.float32, seed=0)
    gain = math.sqrt(math.log(12))
    block = model.blocks[0]
    q, k, v = block.attention.qkv.weight.chunk(3)
    gate, value = block.feed_forward.fc1.weight.chunk(2)
    hidden = architecture_of(shape, options).hidden
    expected = [(q, 1, 256), (k, 1, 256), (v, gain, 256), (block.attention.out.weight, gain, 256)]
    expected += [(x, gain, 128 + hidden) for x in (gate, value, block.feed_forward.fc2.weight)]
    for weight, factor, fans in expected:
        assert float(weight.detach().std()) == pytest.approx(factor * math.sqrt(2 / fans), rel=0.05)


def test_scores_depend_on_the_distance_alone_and_fade_with_it() -> None:
    d = 16
    q, k = torch.randn(2, 1, 1, 1, d, dtype=torch.float64)

    def score(query: int, key: int) -> float:
        at_query, at_key = (xpos(p, 1, d, torch.float64, torch.device("cpu")) for p in (query, key))
        return float((turn(q, at_query.q_cos, at_query.q_sin) * turn(k, at_key.k_cos, at_key.k_sin)).sum())

    assert score(0, 0) == pytest.approx(float((q * k).sum()))
    assert score(137, 37) == pytest.approx(score(100, 0)) == pytest.approx(score(30100, 30000))
    expected = 0.0
    for i in range(d // 2):
        zeta, theta = (2 * i / d + 0.4) / 1.4, 10000 ** (-2 * i / d)
        pair_q, pair_k = (complex(x[..., i], x[..., i + d // 2]) for x in (q, k))
        turned = pair_q * pair_k.conjugate() * complex(math.cos(100 * theta), math.sin(100 * theta))
        expected += turned.real * zeta ** (100 / 512)
    assert score(100, 0) == pytest.approx(expected)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32])
def test_positions_beyond_a_million_stay_finite_and_exact(dtype: torch.dtype) -> None:
    start, d = 2**20, 64
    tables = xpos(start, 4, d, dtype, torch.device("cpu"))
    x = torch.randn(1, 4, 2, d).to(dtype)
    q, k = turn(x, tables.q_cos, tables.q_sin), turn(x, tables.k_cos, tables.k_sin)
    assert q.dtype == dtype
    assert bool(torch.isfinite(q).all())
    assert bool(torch.isfinite(k).all())
    assert bool((q[..., : d // 2] != 0).any(-1).all())
    same = (q.double() * k.double()).sum(-1)
    torch.testing.assert_close(same, x.double().square().sum(-1), rtol=0.05, atol=0.05)
    scale = (tables.q_cos.double().square() + tables.q_sin.double().square()).sqrt()
    exact = torch.tensor([[math.cos((start + p) * 10000 ** (-2 * i / d)) for i in range(d // 2)] for p in range(4)])
    torch.testing.assert_close(tables.q_cos.double().squeeze(1) / scale.squeeze(1), exact.double(), rtol=0, atol=1e-6)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32])
def test_lower_precision_models_agree_with_the_reference_within_it(dtype: torch.dtype) -> None:
    options = options_of("longnet", ATTENTIONS[0][1])
    model, tokens = made("longnet", options, dtype), some_tokens()
    spec = get_implementation("longnet").model
    assert spec is not None
    parameters = {key: value.double() for key, value in model.state_dict().items()}
    expected = spec.load_reference()(parameters, tokens, SHAPE, options)
    error = (model(tokens).double() - expected).abs().max().item()
    assert error < {torch.float32: 1e-4, torch.float16: 2e-2, torch.bfloat16: 0.15}[dtype]


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"preset": "1t"}, "unknown preset '1t': choose 125m, 350m, 760m, 2.7b"),
        ({"preset": "125m", "depth": 3}, "preset '125m' has 12 blocks"),
        ({"depth": 0}, "depth must be a whole number of at least 1, not 0"),
        ({"vocab": -1}, "vocab must be a whole number"),
        ({"ff_mult": 0}, "ff_mult must be a number above 0, not 0"),
        ({"feed_forward": "relu"}, "unknown feed_forward 'relu': choose swiglu or gelu"),
        ({"qk_norm": "maybe"}, "qk_norm must be true or false, not 'maybe'"),
        ({"parallel_block": 1}, "parallel_block must be true or false, not 1"),
        ({"attention": "linear"}, "unknown attention 'linear': choose vanilla, sparse, sliding-window"),
        ({"window": 4}, "window belongs to attention sliding-window, not vanilla"),
        ({"attention": "sliding-window", "stride": 4}, "stride belongs to attention sparse, not sliding-window"),
        ({"attention": "sparse", "pattern": "round"}, "unknown pattern 'round'"),
    ],
)
def test_options_that_do_not_fit_say_so_in_a_line(change: dict, says: str) -> None:
    spec: Implementation = get_implementation("transformer")
    assert spec.model is not None
    with pytest.raises(ValueError, match=says) as caught:
        spec.model.work(SHAPE, options_of("transformer", change), "fwd", 4)
    assert "\n" not in str(caught.value)


def test_an_odd_head_dim_is_refused() -> None:
    with pytest.raises(ValueError, match="head_dim must be even"):
        architecture_of(AttentionShape(8, head_dim=3), {})


def test_the_reference_reads_past_a_segments_end_where_it_can_afford_to() -> None:
    spec = get_implementation("longnet").model
    assert spec is not None
    options = options_of("longnet")
    assert spec.reference_tokens(AttentionShape(65536), options) == 2304
    assert spec.reference_tokens(AttentionShape(600), options) == 600
    assert spec.reference_tokens(AttentionShape(65536), {**options, "preset": "125m", "ff_mult": 4}) < 1024
    assert spec.reference_tokens(AttentionShape(65536), {**options, "segments": [64], "dilations": [1]}) == 1024
    window = {**options_of("transformer"), "attention": "sliding-window", "window": 8192}
    spec = get_implementation("transformer").model
    assert spec is not None
    tokens = spec.reference_tokens(AttentionShape(65536, heads=1, kv_heads=1, head_dim=64), window)
    assert tokens > 4096
    tables = xpos(0, tokens, 64, torch.float16, torch.device("cpu"))
    assert (tables.k_cos.hypot(tables.k_sin).diff(dim=0) > 0).all()  # fading as the reference's to the last


def test_tokens_of_another_shape_are_refused() -> None:
    model = made("transformer", options_of("transformer"))
    for wrong in (torch.zeros(4, dtype=torch.int64), torch.zeros(2, 0, dtype=torch.int64)):
        with pytest.raises(ValueError, match=r"tokens must be \(batch, seq\)"):
            model(wrong)
