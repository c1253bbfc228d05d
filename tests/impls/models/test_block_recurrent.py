"""The block-recurrent transformer against a plain loop over blocks, and what its name promises."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import FlopCounterMode

from attention_impls import BlockRecurrentTransformer
from attention_impls.api import get_implementation
from attention_impls.kernels.sdpa_cpu import SDPA_FLASH_CPU
from attention_impls.models import block_recurrent, block_recurrent_reference
from attention_impls.models.block_recurrent_config import upper_layer
from attention_impls.models.block_recurrent_reference import reference_logits
from attention_impls.models.block_recurrent_work import block_recurrent_work
from attention_impls.shape import AttentionShape

EXACT = 1e-9
WIDTH = 4
SIZES = {
    "num_tokens": 13,
    "dim": 12,
    "depth": 3,
    "heads": 2,
    "dim_head": 4,
    "ff_mult": 2,
    "block_width": WIDTH,
    "num_state_vectors": 3,
    "recurrent_layers": (2,),
}
VARIANTS = {
    "plain": {},
    "two states, memory in two layers": {"recurrent_layers": (1, 3), "xl_memories_layers": (2, 3)},
    "states alone": {"xl_memories_layers": ()},
    "memory alone": {"recurrent_layers": ()},
    "qk-norm": {"qk_norm_layers": (1, 2, 3)},
    "one key head": {"kv_heads": 1, "qk_norm_layers": (2,), "qk_norm_scale": 3.0},
    "compressed": {"compressed_memory": 3, "compression_factor": 2},
    "all of it": {"compressed_memory": 5, "compression_factor": 2, "kv_heads": 1, "qk_norm_layers": (1, 2, 3)},
}
variants = pytest.mark.parametrize("variant", VARIANTS)


def model_of(variant: str = "plain", seed: int = 0, **more: object) -> BlockRecurrentTransformer:
    """A small model in fp64 with no parameter at 0 or 1, where mistakes would hide."""
    torch.manual_seed(seed)
    model = BlockRecurrentTransformer(**{**SIZES, **VARIANTS[variant], **more}).double()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    return model


def tokens_of(batch: int, length: int, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(SIZES["num_tokens"], (batch, length), generator=generator)


def gradients(model: BlockRecurrentTransformer, loss: Tensor) -> dict[str, Tensor]:
    names, parameters = zip(*model.named_parameters(), strict=True)
    found = torch.autograd.grad(loss, parameters, allow_unused=True, materialize_grads=True)
    return dict(zip(names, found, strict=True))


def assert_same(actual: dict[str, Tensor], expected: dict[str, Tensor]) -> None:
    for name, value in expected.items():
        torch.testing.assert_close(actual[name], value, rtol=EXACT, atol=EXACT, msg=lambda m, name=name: f"{name}: {m}")


@settings(max_examples=60, deadline=None)
@given(
    variant=st.sampled_from(list(VARIANTS)),
    batch=st.integers(1, 2),
    length=st.integers(1, 5 * WIDTH + 3),
    bptt=st.sampled_from([None, None, 1, 2]),
    backend=st.sampled_from(["sdpa-flash", "math"]),
    seed=st.integers(0, 2**31),
)
def test_logits_and_gradients_are_those_of_the_loop_over_blocks(
    variant: str, batch: int, length: int, bptt: int | None, backend: str, seed: int
) -> None:
    model, tokens = model_of(variant, seed, backend=backend), tokens_of(batch, length, seed)
    logits, _, _ = model(tokens, bptt=bptt)
    expected = reference_logits(dict(model.named_parameters()), tokens, model.config, bptt)
    torch.testing.assert_close(logits, expected, rtol=EXACT, atol=EXACT)
    grad = torch.randn_like(logits)
    assert_same(gradients(model, (logits * grad).sum()), gradients(model, (expected * grad).sum()))


@settings(max_examples=40, deadline=None)
@given(
    variant=st.sampled_from(list(VARIANTS)),
    pieces=st.lists(st.integers(1, 2 * WIDTH + 1), min_size=2, max_size=6),
    seed=st.integers(0, 2**31),
)
def test_a_sequence_in_pieces_is_the_sequence(variant: str, pieces: list[int], seed: int) -> None:
    model, tokens = model_of(variant, seed), tokens_of(2, sum(pieces), seed)
    with torch.no_grad():
        whole, _, states = model(tokens)
        memories = carried = None
        parts = []
        for piece in tokens.split(pieces, 1):
            logits, memories, carried = model(piece, memories, carried)
            parts.append(logits)
    torch.testing.assert_close(torch.cat(parts, 1), whole, rtol=EXACT, atol=EXACT)
    assert len(carried) == len(states) == len(model.config.recurrent_layers)
    for actual, expected in zip(carried, states, strict=True):
        torch.testing.assert_close(actual, expected, rtol=EXACT, atol=EXACT)


@variants
@pytest.mark.parametrize("changed", [0, WIDTH - 1, 2 * WIDTH, 3 * WIDTH + 1])
def test_a_token_changes_nothing_before_it(variant: str, changed: int) -> None:
    model, tokens = model_of(variant), tokens_of(1, 4 * WIDTH + 2)
    other = tokens.clone()
    other[:, changed] = (other[:, changed] + 1) % SIZES["num_tokens"]
    with torch.no_grad():
        difference = (model(tokens)[0] - model(other)[0]).abs().amax(-1)[0]
    assert difference[:changed].max() < 1e-12 if changed else True
    assert difference[changed] > 1e-6
    if VARIANTS[variant].get("recurrent_layers", True):
        assert difference[-1] > 0, "the state carries every token to the end"


@pytest.mark.parametrize("variant", ["plain", "all of it"])
def test_truncated_gradients_are_those_of_calls_with_detached_memories_and_states(variant: str) -> None:
    model, tokens = model_of(variant), tokens_of(2, 5 * WIDTH + 1)
    logits, _, _ = model(tokens, bptt=2)
    grad = torch.randn_like(logits)
    memories = states = None
    parts = []
    for piece in tokens.split(2 * WIDTH, 1):
        part, memories, states = model(piece, memories, states)
        memories, states = [memory.detach() for memory in memories], [state.detach() for state in states]
        parts.append(part)
    expected = gradients(model, (torch.cat(parts, 1) * grad).sum())
    assert_same(gradients(model, (logits * grad).sum()), expected)


@pytest.mark.parametrize(("bptt", "reached"), [(None, True), (5, True), (4, False), (1, False)])
def test_only_full_back_propagation_reaches_the_first_block(bptt: int | None, reached: bool) -> None:
    """Through the state alone, over four boundaries between blocks."""
    model, tokens = model_of("states alone"), tokens_of(1, 5 * WIDTH) % (SIZES["num_tokens"] - 1) + 1
    tokens[:, 0] = 0
    logits, _, _ = model(tokens, bptt=bptt)
    grad = gradients(model, logits[:, -1].square().sum())["embedding.weight"]
    assert bool(grad[0].abs().max() > 0) is reached
    assert grad[tokens[0, -1]].abs().max() > 0


@variants
def test_every_parameter_learns(variant: str) -> None:
    model = model_of(variant)
    logits, _, _ = model(tokens_of(2, 4 * WIDTH + 1))
    for name, grad in gradients(model, logits.square().sum()).items():
        assert grad.abs().max() > 0, name


def test_the_gate_is_the_papers_fixed_one() -> None:
    """c' = g c + (1 - g) z with g = sigmoid(b), whatever the tokens are."""
    model = model_of()
    cell = model.layers[1].attention.cell
    updates = []
    cell.to_update.register_forward_hook(lambda _module, _args, z: updates.append(z))
    before = torch.randn(2, SIZES["num_state_vectors"], SIZES["dim"], dtype=torch.float64)
    with torch.no_grad():
        _, memories, (after,) = model(tokens_of(2, WIDTH), states=[before])
        gate = torch.sigmoid(cell.gate_bias)
        torch.testing.assert_close(after, gate * before + (1 - gate) * updates[0], rtol=EXACT, atol=EXACT)
        cell.gate_bias.fill_(50.0)
        _, _, (kept,) = model(tokens_of(2, 3 * WIDTH), memories, [before])
    torch.testing.assert_close(kept, before, rtol=EXACT, atol=EXACT)


def test_a_block_writes_the_state_when_it_is_complete() -> None:
    model, tokens = model_of(), tokens_of(1, WIDTH)
    with torch.no_grad():
        _, memories, (begun,) = model(tokens[:, :-1])
        _, _, (complete,) = model(tokens[:, -1:], memories, [begun])
    torch.testing.assert_close(begun[0], model.layers[1].attention.cell.initial, rtol=0, atol=0)
    assert (complete - begun).abs().max() > 1e-3


class Elements(TorchDispatchMode):
    """Counts the elements of every result of every operation, views included."""

    count = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        found = func(*args, **(kwargs or {}))
        results = found if isinstance(found, tuple | list) else (found,)
        self.count += sum(x.numel() for x in results if isinstance(x, Tensor))
        return found


@pytest.mark.parametrize("variant", ["plain", "all of it"])
@pytest.mark.parametrize("bptt", [None, 2])
def test_a_block_costs_the_same_however_many_came_before(variant: str, bptt: int | None) -> None:
    """Elements written, forward and backward, are linear in the blocks to the last one."""
    model = model_of(variant)
    counts = []
    for blocks in (6, 8, 10):  # the compressed memory is full by then
        with Elements() as elements:
            model(tokens_of(1, blocks * WIDTH), bptt=bptt)[0].sum().backward()
        counts.append(elements.count)
        model.zero_grad()
    assert counts[2] - counts[1] == counts[1] - counts[0]


class Launches:
    """The CPU's flash kernel, and the (query, key) pairs of a head and sequence that it was given."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.pairs, self.most_keys = 0, 0
        backend = replace(SDPA_FLASH_CPU, forward=self.forward, backward=self.backward)
        monkeypatch.setattr(block_recurrent, "get_backend", lambda *_: backend)

    def count(self, q: Tensor, k: Tensor, causal: bool) -> None:
        n, keys = q.shape[1], k.shape[1]
        self.pairs += q.shape[0] * q.shape[2] * (n * (n + 1) // 2 if causal else n * keys)
        self.most_keys = max(self.most_keys, n, keys)

    def forward(self, q: Tensor, k: Tensor, v: Tensor, causal: bool, scale: float) -> tuple[Tensor, Tensor]:
        self.count(q, k, causal)
        return SDPA_FLASH_CPU.forward(q, k, v, causal, scale)

    def backward(
        self, grad: Tensor, q: Tensor, k: Tensor, v: Tensor, out: Tensor, lse: Tensor, causal: bool, scale: float
    ) -> tuple[Tensor, Tensor, Tensor]:
        self.count(q, k, causal)
        return SDPA_FLASH_CPU.backward(grad, q, k, v, out, lse, causal, scale)


# What is compressed right after a cut has no gradient of its own, and is counted as if it had.
CUT = [(name, 2) for name, more in VARIANTS.items() if "compressed_memory" not in more]


@pytest.mark.parametrize(("variant", "bptt"), [*((name, None) for name in VARIANTS), *CUT])
@pytest.mark.parametrize("length", [2, 4 * WIDTH, 6 * WIDTH + 3])
def test_flops_are_those_of_the_matrix_products_and_kernels_that_ran(
    variant: str, bptt: int | None, length: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, launches = model_of(variant), Launches(monkeypatch)
    config = model.config
    assert config.parameters() == sum(parameter.numel() for parameter in model.parameters())
    shape = AttentionShape(length, 2, config.heads, config.kv_heads, config.dim_head, causal=True)
    with FlopCounterMode(display=False) as matmul:
        loss = model(tokens_of(2, length), bptt=bptt)[0].square().sum()
    forward = 4 * launches.pairs * config.dim_head
    assert block_recurrent_work(config, shape, bptt, "fwd", 8).cost.flops == matmul.get_total_flops() + forward
    launches.pairs = 0
    with FlopCounterMode(display=False) as matmul:
        loss.backward()
    backward = 10 * launches.pairs * config.dim_head
    assert block_recurrent_work(config, shape, bptt, "bwd", 8).cost.flops == matmul.get_total_flops() + backward
    assert launches.most_keys <= 2 * WIDTH + 5


def test_the_recurrent_layer_is_as_far_up_as_the_papers() -> None:
    assert [upper_layer(depth) for depth in (1, 2, 3, 6, 12, 24)] == [1, 2, 3, 5, 10, 20]


SHAPE = AttentionShape(seq_len=64, batch=2, heads=2, kv_heads=1, head_dim=4)
OPTIONS = {"depth": 2, "ff_mult": 2, "vocab": 11, "block_width": 8, "states": 4}


@pytest.mark.parametrize("more", [{}, {"qk_norm": True, "compressed_memory": 3, "bptt": 1}])
def test_the_registered_model_is_its_own_reference(more: dict[str, object]) -> None:
    implementation = get_implementation("block-recurrent")
    options = {**implementation.defaults, **OPTIONS, **more}
    spec = implementation.model
    shape = spec.shape(SHAPE, options)
    assert shape.causal
    make = spec.load()
    module = make(shape, options, backend="sdpa-flash", device="cpu", dtype=torch.float32, seed=3)
    again = make(shape, options, backend="sdpa-flash", device="cpu", dtype=torch.float32, seed=3)
    length = spec.reference_tokens(shape, options)
    assert 2 * 8 < length < 3 * 8
    tokens = torch.randint(spec.vocab(options), (2, length))
    logits = module(tokens)
    assert logits.shape == (2, length, 11)
    assert torch.equal(logits, again(tokens))
    cache = module.cache(2, length)
    decoded = [module(part, cache) for part in tokens.split([9, *[1] * 7, length - 16], 1)]
    torch.testing.assert_close(torch.cat(decoded, 1), logits)
    parameters = {name: value.double() for name, value in module.state_dict().items()}
    expected = spec.load_reference()(parameters, tokens, shape, options)
    torch.testing.assert_close(logits.double(), expected, rtol=1e-4, atol=1e-4)
    details = implementation.details(shape, options)
    assert details == {
        "blocks": 8,
        "recurrent_layers": [2],
        "dim": 8,
        "depth": 2,
        "parameters": sum(parameter.numel() for parameter in module.parameters()),
    }


def test_the_reference_is_asked_for_no_more_than_it_can_do() -> None:
    implementation = get_implementation("block-recurrent")

    def tokens(shape: AttentionShape, **more: object) -> int:
        return implementation.model.reference_tokens(shape, {**implementation.defaults, **more})

    assert tokens(AttentionShape(65536)) == 2 * 512 + 256 + 1
    assert tokens(AttentionShape(700)) == 700
    assert tokens(AttentionShape(65536, heads=12, kv_heads=12), depth=12) > 512
    assert tokens(AttentionShape(1 << 20), block_width=1 << 17) <= 1024


def test_the_references_rows_of_a_block_are_those_of_all_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    model, tokens = model_of(), tokens_of(2, 2 * WIDTH + 3)
    whole = reference_logits(dict(model.named_parameters()), tokens, model.config)
    monkeypatch.setattr(block_recurrent_reference, "ROWS", 3)
    parts = reference_logits(dict(model.named_parameters()), tokens, model.config)
    torch.testing.assert_close(parts, whole)
    wanted = torch.autograd.grad(whole.square().mean(), model.embedding.weight)
    torch.testing.assert_close(torch.autograd.grad(parts.square().mean(), model.embedding.weight), wanted)


def test_drawing_parameters_leaves_every_generator_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """``torch.manual_seed`` would seed those of the GPUs too, and only the CPU's is put back."""

    def refused(_seed: int) -> None:
        raise AssertionError

    monkeypatch.setattr(torch, "manual_seed", refused)
    before = torch.random.get_rng_state()
    implementation = get_implementation("block-recurrent")
    where = {"backend": None, "device": "cpu", "dtype": torch.float32}
    implementation.model.load()(SHAPE, {**implementation.defaults, **OPTIONS}, **where, seed=3)
    assert torch.equal(torch.random.get_rng_state(), before)


def test_work_is_linear_in_the_sequence_and_adds_up() -> None:
    model, options = get_implementation("block-recurrent").model, OPTIONS

    def work(blocks: int, passes: str):
        return model.work(replace(SHAPE, seq_len=8 * blocks), options, passes, 4)

    def slope(blocks: int) -> int:
        return work(blocks + 1, "step").cost.flops - work(blocks, "step").cost.flops

    assert slope(10) == slope(10**6)
    step, fwd, bwd = work(10, "step"), work(10, "fwd"), work(10, "bwd")
    assert step.cost.flops == fwd.cost.flops + bwd.cost.flops
    assert step.peak_bytes > bwd.peak_bytes > fwd.peak_bytes
    assert work(1000, "fwd").cost.dense_flops > 2 * work(1000, "fwd").cost.flops


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"depth": 0}, "depth must be"),
        ({"block_width": 6, "compressed_memory": 2}, "multiple of compression_factor"),
        ({"bptt": 0}, "bptt must be"),
        ({"states": 0}, "num_state_vectors must be"),
    ],
)
def test_options_that_do_not_fit_are_refused_in_one_line(options: dict[str, object], said: str) -> None:
    implementation = get_implementation("block-recurrent")
    with pytest.raises(ValueError, match=said) as caught:
        implementation.details(SHAPE, {**implementation.defaults, **OPTIONS, **options})
    assert "\n" not in str(caught.value)


def test_what_belongs_to_another_model_is_refused() -> None:
    model, tokens = model_of(), tokens_of(1, 5)
    _, memories, states = model(tokens)
    with pytest.raises(ValueError, match="memories of 2 layers were given to a model of 3"):
        model(tokens, memories[:2], states)
    with pytest.raises(ValueError, match="memories of a batch of 1 were given with 2 sequences"):
        model(tokens.expand(2, -1), memories, None)
    with pytest.raises(ValueError, match=r"states must be one of shape \(2, 3, 12\)"):
        model(tokens.expand(2, -1), None, states)
