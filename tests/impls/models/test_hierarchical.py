"""The hierarchical transformer against its definition: causal, exact, as large and as costly as it says."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.nn import functional
from torch.utils.flop_counter import FlopCounterMode

from attention_impls import HierarchicalTransformer
from attention_impls.api import get_implementation
from attention_impls.kernels import registry
from attention_impls.models.hierarchical_levels import Level, parse_levels
from attention_impls.models.hierarchical_reference import hierarchical_logits
from attention_impls.models.hierarchical_sizes import Hierarchy, hierarchical_work
from attention_impls.shape import AttentionShape

EXACT = 1e-9
VOCAB = 11
SHAPE = AttentionShape(24, batch=2, heads=2, kv_heads=2, head_dim=4)


@st.composite
def hierarchies(draw: st.DrawFn) -> Hierarchy:
    levels = []
    for place in range(draw(st.integers(1, 3))):
        compression = 1 if place == 0 else draw(st.sampled_from([1, 2, 3, 4, 6, 8]))
        levels.append(
            Level(
                compression=compression,
                stride=draw(st.sampled_from([s for s in range(1, compression + 1) if compression % s == 0])),
                window=draw(st.sampled_from([None, 0, 1, 2, 3, 5, 100])),
                dim=draw(st.sampled_from([4, 5])),
                heads=draw(st.integers(1, 2)),
                dim_head=draw(st.sampled_from([2, 4])),
                ff_mult=draw(st.integers(1, 2)),
            )
        )
    flags = {name: draw(st.booleans()) for name in ("predict_from_all", "merge_all", "reconstruction")}
    predicting = draw(st.sampled_from([i for i, level in enumerate(levels) if level.stride == 1]))
    return Hierarchy(
        VOCAB, 4, draw(st.integers(1, 2)), tuple(levels), predicting, next_embedding=draw(st.booleans()), **flags
    )


def model_of(h: Hierarchy, backend: str | None = None) -> HierarchicalTransformer:
    return HierarchicalTransformer(
        h.num_tokens,
        h.dim,
        h.depth,
        h.levels,
        predict_level=h.predict_level,
        predict_from_all=h.predict_from_all,
        merge_all=h.merge_all,
        reconstruction_weight=0.1 if h.reconstruction else 0.0,
        next_embedding_weight=0.25 if h.next_embedding else 0.0,
        backend=backend,
    ).double()


def drawn(n: int, seed: int, batch: int = 1) -> Tensor:
    return torch.randint(VOCAB, (batch, n), generator=torch.Generator().manual_seed(seed))


def levels_of(*words: str, **changes: int) -> tuple[Level, ...]:
    return tuple(replace(level, **changes) for level in parse_levels(words, SHAPE, 2))


@settings(max_examples=60, deadline=None)
@given(hierarchies(), st.integers(1, 40), st.integers(0, 2**31), st.sampled_from(["math", "sdpa-flash"]))
def test_logits_and_gradients_are_those_of_the_definition(h: Hierarchy, n: int, seed: int, backend: str) -> None:
    model, tokens = model_of(h, backend), drawn(n, seed, batch=2)
    parameters = {name: value.detach().clone().requires_grad_() for name, value in model.state_dict().items()}
    logits, expected = model(tokens), hierarchical_logits(parameters, tokens, h)
    torch.testing.assert_close(logits, expected, rtol=0, atol=EXACT)
    grad = torch.randn_like(logits)
    names = list(parameters)
    actual = torch.autograd.grad(logits, [model.get_parameter(name) for name in names], grad, allow_unused=True)
    wanted = torch.autograd.grad(expected, [parameters[name] for name in names], grad, allow_unused=True)
    for name, *grads in zip(names, actual, wanted, strict=True):
        one, other = (torch.zeros_like(parameters[name]) if x is None else x for x in grads)
        torch.testing.assert_close(one, other, rtol=0, atol=EXACT, msg=name)


@settings(max_examples=80, deadline=None)
@given(hierarchies(), st.integers(1, 40), st.data())
def test_a_token_changes_its_own_logits_and_none_before(h: Hierarchy, n: int, data: st.DataObject) -> None:
    t = data.draw(st.integers(0, n - 1))
    model, tokens = model_of(h), drawn(n, t)
    changed = tokens.clone()
    changed[:, t] = (changed[:, t] + data.draw(st.integers(1, VOCAB - 1))) % VOCAB
    with torch.no_grad():
        before, after = model(tokens), model(changed)
        alone = model(tokens[:, : t + 1])
    torch.testing.assert_close(after[:, :t], before[:, :t], rtol=0, atol=EXACT)
    assert not torch.allclose(after[:, t], before[:, t], rtol=0, atol=EXACT)
    torch.testing.assert_close(alone, before[:, : t + 1], rtol=0, atol=EXACT)


def test_a_compressed_level_carries_what_is_far_beyond_the_first_levels_window() -> None:
    def reached(*words: str) -> int:
        """The last position whose logits token 0 changes."""
        torch.manual_seed(0)
        model = model_of(Hierarchy(VOCAB, 8, 1, levels_of(*words)))
        tokens = drawn(64, 1)
        changed = tokens.clone()
        changed[:, 0] = (changed[:, 0] + 1) % VOCAB
        with torch.no_grad():
            apart = (model(changed) - model(tokens)).abs().amax((0, 2))
        return int(torch.nonzero(apart > EXACT).max())

    assert reached("1:1:4") < 8
    assert 4 * 8 <= reached("1:1:4", "8:8:4") < 64


@settings(max_examples=60, deadline=None)
@given(hierarchies())
def test_parameters_are_as_many_as_the_formula_says(h: Hierarchy) -> None:
    with torch.device("meta"):
        model = model_of(h)
    assert h.parameters() == sum(p.numel() for p in model.parameters())


@settings(max_examples=40, deadline=None)
@given(hierarchies(), st.integers(1, 200))
def test_pairs_are_those_of_the_windows_in_their_phases(h: Hierarchy, n: int) -> None:
    for level in h.levels:
        lengths = [len(range(phase, level.rows(n), level.phases)) for phase in range(level.phases)]
        seen = [min(row + 1, row + 1 if level.window is None else level.window) for m in lengths for row in range(m)]
        assert level.pairs(n) == level.heads * sum(seen)
        assert level.length(n) == max(lengths)
        if level.full_attention(n):
            assert level.pairs(n) == level.pairs(n, dense=True)


class CountedPairs:
    """A back end of the registry that counts the (batch, head, query, key) pairs it is launched on."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.pairs = 0
        plain = registry.backends("cpu")["math"]

        def forward(q: Tensor, k: Tensor, v: Tensor, causal: bool, scale: float) -> tuple[Tensor, Tensor]:
            batch, queries, heads, _ = q.shape
            self.pairs += batch * heads * (queries * (queries + 1) // 2 if causal else queries * k.shape[1])
            return plain.forward(q, k, v, causal, scale)

        counted = replace(plain, name="counted", forward=forward)
        monkeypatch.setitem(registry._PREFERENCE, "cpu", (counted,))
        registry.get_backend.cache_clear()

    def of(self, h: Hierarchy, n: int) -> int:
        self.pairs = 0
        with torch.no_grad():
            model_of(h, "counted")(drawn(n, 0))
        return self.pairs


def test_kernels_are_launched_on_the_pairs_of_the_formula_and_these_double_with_the_length(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    h = Hierarchy(VOCAB, 8, 2, levels_of("1:1:8", "4:2:8", "8:8:8"))
    counted = CountedPairs(monkeypatch)
    pairs = [counted.of(h, n) for n in (128, 256, 512)]
    assert pairs == [h.depth * sum(level.pairs(n) for level in h.levels) for n in (128, 256, 512)]
    first, second = (b - a for a, b in pairwise(pairs))
    assert second == 2 * first  # linear, but for the rows at the start that see less than a window


@pytest.mark.parametrize("n", [24, 29])
def test_matrix_products_cost_what_the_formula_says_and_twice_that_backward(n: int) -> None:
    levels = levels_of("1:1:0", "4:1:0:6", "4:2:0", "8:8:0:10", ff_mult=3)
    h = Hierarchy(VOCAB, 8, 2, levels, merge_all=True, predict_from_all=True)
    model, tokens = model_of(h), drawn(n, 0, batch=2)
    with FlopCounterMode(display=False) as forward:
        logits = model(tokens)
    with FlopCounterMode(display=False) as backward:
        logits.sum().backward()
    for passes, counted in (("fwd", forward), ("bwd", backward)):
        assert hierarchical_work(h, 2, n, passes, 4).cost.flops == counted.get_total_flops()


def test_attention_counts_its_own_pairs_beside_the_dense_equivalent() -> None:
    h = Hierarchy(VOCAB, 8, 3, levels_of("1:1:5", "4:4:2"))
    idle = replace(h, levels=tuple(replace(level, window=0) for level in h.levels))
    n, heads, d = 40, 2, 4
    one_level = 5 * n - 10, 2 * (n // 4) - 1
    dense = n * (n + 1) // 2, (n // 4) * (n // 4 + 1) // 2
    projections = 2 * 4 * 8 * 8 * (n + n // 4)
    for passes, attention, products in (("fwd", 1, 1), ("bwd", 2.5, 2), ("fwd+bwd", 3.5, 3), ("step", 3.5, 3)):
        cost, rest = (hierarchical_work(x, 2, n, passes, 2).cost for x in (h, idle))
        fixed = rest.flops + 2 * 3 * products * projections
        assert cost.flops == fixed + 2 * 3 * attention * 4 * heads * d * sum(one_level)
        assert cost.dense_flops == fixed + 2 * 3 * attention * 4 * heads * d * sum(dense)


def test_the_loss_is_the_sum_of_its_parts_and_each_is_what_it_says() -> None:
    torch.manual_seed(0)
    levels = levels_of("1:1:4", "4:2:3:6", "8:8:2")
    model = HierarchicalTransformer(
        VOCAB, 8, 2, levels, reconstruction_weight=0.3, next_embedding_weight=0.7, backend="math"
    ).double()
    tokens = drawn(30, 3, batch=2)
    loss, inputs = model.loss(tokens), tokens[:, :-1]
    torch.testing.assert_close(
        loss.total, loss.next_token + 0.3 * loss.reconstruction.sum() + 0.7 * loss.next_embedding.sum()
    )
    plain = functional.cross_entropy(model(inputs).flatten(0, 1), tokens[:, 1:].flatten())
    torch.testing.assert_close(loss.next_token, plain)
    assert loss.reconstruction[0] == loss.next_embedding[0] == 0
    rows = model._rows(inputs)
    for place, level in list(enumerate(levels))[1:]:
        told = model.reconstruct[str(place)](rows[place]).view(2, -1, level.compression, VOCAB).log_softmax(-1)
        nats = [
            -told[b, row, i, inputs[b, token]]
            for b in range(2)
            for row in range(rows[place].shape[1])
            for i, token in enumerate(range(row * level.stride - level.compression + 1, row * level.stride + 1))
            if token >= 0
        ]
        torch.testing.assert_close(loss.reconstruction[place], torch.stack(nats).mean())
        guess, truth = model.next_embedding[str(place)](rows[place][:, :-1]), rows[place][:, 1:]
        cosine = (guess * truth).sum(-1) / (guess.norm(dim=-1) * truth.norm(dim=-1))
        torch.testing.assert_close(loss.next_embedding[place], 1 - cosine.mean())


def test_an_ignored_token_is_no_target() -> None:
    torch.manual_seed(0)
    model = HierarchicalTransformer(VOCAB, 8, 1, levels_of("1:1:4"), ignore_index=3).double()
    tokens = torch.tensor([[1, 3, 2, 3, 4]])
    logits = model(tokens[:, :-1])
    expected = functional.cross_entropy(logits[0, [1, 3]], tokens[0, [2, 4]])
    torch.testing.assert_close(model.loss(tokens).next_token, expected)


@pytest.mark.parametrize("more", [{}, {"merge_all": True, "predict_from_all": True}])
def test_gradients_reach_every_parameter(more: dict) -> None:
    torch.manual_seed(0)
    levels, tokens = levels_of("1:1:4", "4:2:3:6", "8:8:full", "2:2:0"), drawn(60, 5, batch=2)
    alone = HierarchicalTransformer(VOCAB, 8, 2, levels, reconstruction_weight=0.0, next_embedding_weight=0.0, **more)
    functional.cross_entropy(alone(tokens[:, :-1]).flatten(0, 1), tokens[:, 1:].flatten()).backward()
    whole = HierarchicalTransformer(VOCAB, 8, 2, levels, **more)
    whole.loss(tokens).total.backward()
    for model in (alone, whole):
        unmoved = [name for name, p in model.named_parameters() if p.grad is None or not bool(p.grad.any())]
        assert unmoved == []


def test_a_window_of_the_levels_length_is_full_attention_and_is_stated() -> None:
    impl = get_implementation("hierarchical")
    options = {"levels": ["1:1:8", "4:4:8", "4:1:8", "2:2:full", "2:2:0"]}
    at = {n: impl.details(AttentionShape(n, heads=2, kv_heads=2, head_dim=4), options) for n in (8, 9, 32, 33)}
    assert at[8]["full_attention"] == [True, True, True, True, False]
    assert at[9]["full_attention"] == at[32]["full_attention"] == [False, True, True, True, False]
    assert at[33]["full_attention"] == [False, False, False, True, False]
    assert at[33]["rows"] == [33, 9, 33, 17, 17]
    assert at[33]["lengths"] == [33, 9, 9, 17, 17]
    assert at[33]["windows"] == [8, 8, 8, None, 0]

    torch.manual_seed(0)
    narrow, wide = (model_of(Hierarchy(VOCAB, 8, 2, levels_of(f"1:1:{w}", f"4:4:{w}"))) for w in (8, 10**9))
    wide.load_state_dict(narrow.state_dict())
    with torch.no_grad():
        torch.testing.assert_close(narrow(drawn(8, 0)), wide(drawn(8, 0)), rtol=0, atol=EXACT)
        assert not torch.allclose(narrow(drawn(33, 0)), wide(drawn(33, 0)), rtol=0, atol=1e-6)


@pytest.mark.parametrize(
    ("levels", "says"),
    [
        ([], "at least one level"),
        (["1:1"], "level '1:1' has 2 fields: write compression:stride:window"),
        (["1:1:8:8:2:4:4:4"], "has 8 fields"),
        (["1:1:wide"], "'wide' is not a whole number"),
        (["1:-1:8"], "'-1' is not a whole number"),
        (["1:full:8"], "'full' is not a whole number"),
        (["2:1:8"], "level 2:1:8:8:2:4:4 comes first: its compression must be 1"),
        (["1:1:8", "4:3:8"], "level 4:3:8:8:2:4:4: the stride must divide the compression"),
        (["1:1:8", "4:8:8"], "the stride must divide the compression"),
        (["1:1:8", "0:1:8"], "compression must be a whole number of at least 1, not 0"),
        (["1:1:8:1"], "dim must be a whole number of at least 2, not 1"),
        (["1:1:8:8:2:3"], "dim_head must be even"),
    ],
)
def test_levels_that_do_not_fit_say_so_in_a_line(levels: list[str], says: str) -> None:
    impl = get_implementation("hierarchical")
    with pytest.raises(ValueError, match=says) as caught:
        impl.details(SHAPE, {"levels": levels})
    assert "\n" not in str(caught.value)


def test_arguments_that_do_not_fit_say_so() -> None:
    levels = levels_of("1:1:4", "4:4:4")
    with pytest.raises(ValueError, match="level 4:4:4:8:2:4:2 cannot predict every token: its stride must be 1"):
        HierarchicalTransformer(VOCAB, 8, 1, levels, predict_level=1)
    with pytest.raises(ValueError, match="predict_level must be from 0 to 1, not 2"):
        HierarchicalTransformer(VOCAB, 8, 1, levels, predict_level=2)
    with pytest.raises(ValueError, match="depth must be a whole number of at least 1, not 0"):
        HierarchicalTransformer(VOCAB, 8, 0, levels)
    model = HierarchicalTransformer(VOCAB, 8, 1, levels)
    with pytest.raises(ValueError, match="at least 2 tokens of a sequence, not 1"):
        model.loss(drawn(1, 0))
    for wrong in (drawn(5, 0)[0], drawn(5, 0)[:0]):
        for call in (model, model.loss):
            with pytest.raises(ValueError, match="tokens must be"):
                call(wrong)
    with pytest.raises(ValueError, match="is unknown: choose"):
        HierarchicalTransformer(VOCAB, 8, 1, levels, backend="nothing")(drawn(5, 0))


def test_the_registry_makes_measures_and_checks_the_same_model() -> None:
    impl = get_implementation("hierarchical")
    assert impl.kind == "model"
    assert impl.model is not None
    options = {**impl.defaults, "levels": ["1:1:8", "4:2:4", "8:8:2"], "vocab": VOCAB}
    asked = AttentionShape(200, batch=2, heads=2, kv_heads=1, head_dim=8)
    shape = impl.model.shape(asked, options)
    assert (shape.causal, shape.kv_heads) == (True, 2)
    n = impl.model.reference_tokens(shape, options)
    details = impl.details(replace(shape, seq_len=n), options)
    assert details["full_attention"] == [False] * 3
    assert n <= 200
    before = torch.get_rng_state()
    made = impl.model.load()(shape, options, backend="sdpa-flash", device="cpu", dtype=torch.float32, seed=7)
    assert torch.equal(before, torch.get_rng_state())
    again = impl.model.load()(shape, options, backend="math", device="cpu", dtype=torch.float32, seed=7)
    other = impl.model.load()(shape, options, backend="math", device="cpu", dtype=torch.float32, seed=8)
    tokens = drawn(n, 0, batch=2)
    state = {name: value.double() for name, value in made.state_dict().items()}
    expected = impl.model.load_reference()(state, tokens, shape, options)
    with torch.no_grad():
        torch.testing.assert_close(made(tokens).double(), expected, rtol=0, atol=2e-5)
        torch.testing.assert_close(again(tokens).double(), expected, rtol=0, atol=2e-5)
        assert not torch.allclose(other(tokens).double(), expected, rtol=0, atol=1e-2)
        half = impl.model.load()(shape, options, backend=None, device="cpu", dtype=torch.bfloat16, seed=7)
        assert half(tokens).dtype == torch.bfloat16
    work = impl.model.work(shape, options, "fwd", 4)
    assert work.parameters == details["parameters"] == sum(p.numel() for p in made.parameters())
    assert work.input_bytes == 2 * 200 * 8
    assert impl.model.vocab(options) == VOCAB


def test_what_is_held_grows_with_the_length_and_with_what_a_pass_keeps() -> None:
    h = Hierarchy(VOCAB, 8, 2, levels_of("1:1:8", "4:4:8"))
    peaks = [hierarchical_work(h, 1, 4096, passes, 2).peak_bytes for passes in ("fwd", "bwd", "fwd+bwd", "step")]
    assert peaks[0] < peaks[1] == peaks[2] < peaks[3]
    assert hierarchical_work(h, 1, 8192, "bwd", 2).peak_bytes > 1.9 * (peaks[1] - 2 * h.parameters() * 2)
    fwd, bwd, both = (hierarchical_work(h, 1, 4096, passes, 2).cost.io_bytes for passes in ("fwd", "bwd", "fwd+bwd"))
    assert fwd + bwd == both
    assert fwd == h.parameters() * 2 + 4096 * (8 + VOCAB * 2)


def test_defaults_come_from_the_shape_and_see_a_window_at_each_level() -> None:
    impl = get_implementation("hierarchical")
    assert impl.model is not None
    details = impl.details(AttentionShape(8192), impl.defaults)
    assert details["levels"] == ["1:1:256:512:8:64:4", "4:4:256:512:8:64:4", "16:16:256:512:8:64:4"]
    assert details["full_attention"] == [False, False, False]
    assert impl.details(AttentionShape(4096), impl.defaults)["full_attention"] == [False, False, True]
    assert impl.model.reference_tokens(AttentionShape(8192), impl.defaults) == 2048
    assert impl.model.reference_tokens(AttentionShape(512), impl.defaults) == 512
