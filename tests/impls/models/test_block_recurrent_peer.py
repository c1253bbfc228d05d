"""The block-recurrent transformer beside block-recurrent-transformer-pytorch 0.4.4, with that package's weights.

Its recurrent layers normalise queries and keys, and it never applies the factor that this needs: scores keep
1 / sqrt(dim_head), where the factor of 8 was meant. So it agrees with ours at ``qk_norm_scale = 1 / sqrt(dim_head)``.
"""

from __future__ import annotations

import re

import pytest
import torch
from torch import Tensor

from attention_impls import BlockRecurrentTransformer

peer = pytest.importorskip(
    "block_recurrent_transformer_pytorch",
    reason="block-recurrent-transformer-pytorch is not installed: pip install 'longbench-cli[peers]'",
)

CLOSE = 1e-4
HEADS, DIM_HEAD, WIDTH = 2, 8, 8
SIZES = {"num_tokens": 17, "dim": 16, "depth": 3, "heads": HEADS, "dim_head": DIM_HEAD, "block_width": WIDTH}
FACTOR = DIM_HEAD**-0.5
"""What the package multiplies scores by, normalised or not."""

CELL = r"layers.\1.attention.cell."
RENAMED = (
    (r"^token_emb\.", "embedding."),
    (r"^layers\.(\d+)\.0\.state_container\.state_norm\.", CELL + "norm."),
    (r"^layers\.(\d+)\.0\.state_container\.q_to_state\.", CELL + "to_read."),
    (r"^layers\.(\d+)\.0\.state_container\.q_from_state\.", CELL + "to_write."),
    (r"^layers\.(\d+)\.0\.state_container\.state_to_q\.", CELL + "to_self."),
    (r"^layers\.(\d+)\.0\.state_container\.state_to_kv\.", CELL + "to_kv."),
    (r"^layers\.(\d+)\.0\.state_container\.init_state$", CELL + "initial"),
    (r"^layers\.(\d+)\.0\.state_container\.state_pos_ids$", CELL + "positions"),
    (r"^layers\.(\d+)\.0\.state_container\.to_state_out\.", CELL + "to_out."),
    (r"^layers\.(\d+)\.0\.state_container\.state_out_to_gate\.", CELL + "to_update."),
    (r"^layers\.(\d+)\.0\.state_container\.learned_ema_beta$", CELL + "gate_bias"),
    (r"^layers\.(\d+)\.0\.state_container\.to_state_cross_attn\.", CELL + "read_scores."),
    (r"^layers\.(\d+)\.0\.state_container\.state_self_attn\.", CELL + "self_scores."),
    (r"^layers\.(\d+)\.0\.state_container\.from_state_cross_attn\.", CELL + "write_scores."),
    (r"^layers\.(\d+)\.0\.attn\.", r"layers.\1.attention.scores."),
    (r"^layers\.(\d+)\.0\.", r"layers.\1.attention."),
    (r"^layers\.(\d+)\.1\.0\.", r"layers.\1.feed_forward.norm."),
    (r"^layers\.(\d+)\.1\.1\.", r"layers.\1.feed_forward.up."),
    (r"^layers\.(\d+)\.1\.3\.", r"layers.\1.feed_forward.down."),
    (r"^to_logits\.0\.", "norm."),
    (r"^to_logits\.1\.", "to_logits."),
    (r"\.q_scale$", ".norm.query_scale"),
    (r"\.k_scale$", ".norm.key_scale"),
    (r"\.gamma$", ".weight"),
)


def rearranged(name: str, value: Tensor) -> Tensor:
    if name.endswith("gate_bias"):
        return -value  # their gate is the share of what is new, the paper's and ours of what is kept
    if name.endswith("cell.to_out.weight"):  # they join the two results a head at a time
        return value.unflatten(1, (HEADS, 2, DIM_HEAD)).transpose(1, 2).flatten(1)
    return value


def our_weights(model: torch.nn.Module) -> dict[str, Tensor]:
    found: dict[str, Tensor] = {}
    for name, value in model.named_parameters():
        if compressed := re.match(r"mem_manager\.layers\.(\d+)\.1\.1\.(weight|bias)$", name):
            # A convolution in two groups, (to, from, place in the group), is a linear map of keys side by side.
            taps = value if value.dim() == 1 else value.transpose(1, 2).flatten(1)
            for kind, part in zip(("keys", "values"), taps.chunk(2), strict=True):
                found[f"layers.{compressed[1]}.attention.compression.{kind}.{compressed[2]}"] = part
            continue
        ours = name
        for pattern, new in RENAMED:
            ours = re.sub(pattern, new, ours)
        found[ours] = rearranged(ours, value)
    return found


def theirs(**more: object) -> torch.nn.Module:
    torch.manual_seed(0)
    told = {"num_state_vectors": 5, "recurrent_layers": (2,), "max_seq_len": 6 * WIDTH}
    model = peer.BlockRecurrentTransformer(**{**SIZES, **told, **more}).eval()
    with torch.no_grad():
        for parameter in model.parameters():  # factors of 1 would hide a mistake
            parameter.add_(0.2 * torch.randn_like(parameter))
    return model


def ours(model: torch.nn.Module, **more: object) -> BlockRecurrentTransformer:
    recurrent = model.recurrent_layers
    made = {"num_state_vectors": 5, "recurrent_layers": recurrent, "kv_heads": 1, "qk_norm_layers": recurrent}
    copy = BlockRecurrentTransformer(**{**SIZES, **made, "qk_norm_scale": FACTOR, **more}).eval()
    copy.load_state_dict(our_weights(model))
    return copy


def tokens_of(length: int) -> Tensor:
    return torch.randint(SIZES["num_tokens"], (2, length), generator=torch.Generator().manual_seed(1))


PAIRS = {
    "as it comes": ({}, {}),
    "two recurrent layers": ({"recurrent_layers": (1, 3)}, {}),
    "normalised everywhere": ({"all_layers_qk_rmsnorm": True}, {"qk_norm_layers": (1, 2, 3)}),
    "compressed memory": ({"use_compressed_mem": True}, {"compressed_memory": WIDTH // 2}),
}
pairs = pytest.mark.parametrize("pair", PAIRS)


@pairs
@pytest.mark.parametrize("length", [3, WIDTH, 3 * WIDTH + 5, 6 * WIDTH])
@torch.no_grad()
def test_logits_agree(pair: str, length: int) -> None:
    model = theirs(**PAIRS[pair][0])
    expected, _, _ = model(tokens_of(length))
    logits, _, _ = ours(model, **PAIRS[pair][1])(tokens_of(length))
    torch.testing.assert_close(logits, expected, rtol=CLOSE, atol=CLOSE)


@pairs
@torch.no_grad()
def test_states_and_later_calls_agree(pair: str) -> None:
    model = theirs(**PAIRS[pair][0])
    copy = ours(model, **PAIRS[pair][1])
    first, second = tokens_of(5 * WIDTH + 3).split(3 * WIDTH, 1)
    _, their_memories, their_states = model(first, return_memories_and_states=True)
    expected, _, _ = model(second, xl_memories=their_memories, states=their_states)
    _, memories, states = copy(first)
    for actual, state in zip(states, their_states, strict=True):
        torch.testing.assert_close(actual, state, rtol=CLOSE, atol=CLOSE)
    torch.testing.assert_close(copy(second, memories, states)[0], expected, rtol=CLOSE, atol=CLOSE)


def test_gradients_agree() -> None:
    model = theirs()
    copy = ours(model)
    for each in (model, copy):
        each(tokens_of(4 * WIDTH + 2))[0].square().mean().backward()
    mine = dict(copy.named_parameters())
    for parameter in model.parameters():  # renamed and rearranged as the weights are
        parameter.data = torch.zeros_like(parameter) if parameter.grad is None else parameter.grad
    for name, expected in our_weights(model).items():
        torch.testing.assert_close(mine[name].grad, expected, rtol=CLOSE, atol=CLOSE, msg=lambda m, n=name: f"{n}: {m}")


@torch.no_grad()
def test_the_package_never_applies_its_factor_of_normalised_queries_and_keys() -> None:
    model, tokens = theirs(), tokens_of(3 * WIDTH)
    expected, _, _ = model(tokens)
    for module in model.modules():
        if hasattr(module, "qk_rmsnorm_scale"):
            module.qk_rmsnorm_scale = 1000
    assert torch.equal(model(tokens)[0], expected)
    meant = ours(model, qk_norm_scale=8.0)(tokens)[0]
    assert (meant - expected).abs().max() > 100 * CLOSE, "ours applies it"
