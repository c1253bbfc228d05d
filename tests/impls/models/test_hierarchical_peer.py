"""The hierarchical transformer beside simple-hierarchical-transformer 0.2.0, with that package's weights.

One difference is ours to choose: a window counts the row itself, so their window w is our w + 1 (they document
w keys and give w + 1). Losses are compared with no token ignored: theirs ignore token 0 unless told otherwise.
"""

from __future__ import annotations

import re
from itertools import product

import pytest
import torch
from torch import Tensor

from attention_impls import HierarchicalTransformer
from attention_impls.models.hierarchical_layers import positions
from attention_impls.models.hierarchical_levels import Level

peer = pytest.importorskip(
    "simple_hierarchical_transformer.simple_hierarchical_transformer",
    reason="simple-hierarchical-transformer is not installed: pip install 'longbench-cli[peers]'",
)

CLOSE = 1e-4
VOCAB = 23

RENAMED = (
    (r"^token_emb\.", "token_embedding."),
    (r"^compressors\.(\d+)\.compress_fn\.1\.conv\.", r"compress.\1.conv."),
    (r"^compressors\.(\d+)\.compress_fn\.3\.", r"compress.\1.out."),
    (r"^compressors\.(\d+)\.compress_fn\.", r"compress.\1."),
    (r"^compressors\.(\d+)\.to_recon\.", r"reconstruct.\1."),
    (r"^to_hierarchical_preds\.", "next_embedding."),
    (r"^post_token_emb_norms\.", "embed_norms."),
    (r"^(layers\.\d+\.\d+)\.attn\.", r"\1.attention."),
    (r"^(layers\.\d+\.\d+)\.ff\.net\.", r"\1.feed_forward."),
    (r"^hierarchical_merges\.(\d+)\.net\.", r"merges.\1."),
    (r"\.gamma$", ".weight"),
)


def renamed(name: str) -> str:
    for pattern, ours in RENAMED:
        name = re.sub(pattern, ours, name)
    return name


def theirs(hierarchies: tuple[int, ...], strides: tuple[int, ...], windows: tuple[int | None, ...], **more: object):
    torch.manual_seed(0)
    sizes = {"num_tokens": VOCAB, "dim": 16, "depth": 2, "seq_len": 64, "dim_head": 8, "heads": 2, "ff_mult": 2}
    told = {"hierarchies": hierarchies, "hierarchical_stride": strides, "window_sizes": windows, "ignore_index": -1}
    model = peer.HierarchicalTransformer(**{**sizes, **told, **more}).eval()
    for parameter in model.parameters():  # gains of 1 and biases of 0 would hide a mistake
        torch.nn.init.normal_(parameter, 1.0 if parameter.dim() == 1 else 0.0, 0.3)
    return model


def ours(model: torch.nn.Module, windows: tuple[int | None, ...], **more: object) -> HierarchicalTransformer:
    """Our model with ``windows`` (ours: the row itself counts) and the weights of theirs."""
    dims = model.dims
    levels = []
    for place, (compression, stride, window) in enumerate(
        zip(model.hierarchies, model.h_strides, windows, strict=True)
    ):
        levels.append(Level(compression, stride, window, dims[place], 2, 8, 2))
    made = HierarchicalTransformer(
        VOCAB,
        max(dims),
        len(model.layers),
        levels,
        predict_level=model.predict_hierarchy_index,
        predict_from_all=model.predict_use_all_hierarchy,
        merge_all=model.hierarchy_merge_all,
        reconstruction_weight=model.recon_loss_weight,
        next_embedding_weight=model.hierarchical_ar_loss_weight,
        ignore_index=model.ignore_index,
        **more,
    )
    copied = {renamed(name): value for name, value in model.state_dict().items()}
    own = made.state_dict()
    made.load_state_dict({name: copied[name].reshape(own[name].shape) for name in own})
    return made


def with_own_row(windows: tuple[int | None, ...]) -> tuple[int | None, ...]:
    return tuple(window + 1 if window else window for window in windows)


def drawn(n: int, least: int = 1) -> Tensor:
    """Tokens, none of them 0: see the test of their reconstruction loss."""
    return torch.randint(least, VOCAB, (2, n), generator=torch.Generator().manual_seed(n))


CASES = {
    "its README's": ((1, 2, 8), (1, 1, 1), (4, 5, None), {}),
    "one level": ((1,), (1,), (3,), {}),
    "no overlap": ((1, 4, 16), (1, 4, 16), (4, 3, 2), {}),
    "half overlap": ((1, 4, 8), (1, 2, 4), (4, 3, 5), {}),
    "no attention": ((1, 4), (1, 2), (4, 0), {}),
    "dims apart": ((1, 2, 4), (1, 1, 2), (4, 3, None), {"dim": (12, 16, 8)}),
    "merged into all": ((1, 2, 8), (1, 2, 4), (4, 5, 2), {"hierarchy_merge_all": True}),
    "predicted from all": ((1, 2, 8), (1, 2, 4), (4, None, 2), {"predict_use_all_hierarchy": True}),
    "predicted from a compressed level": ((1, 4), (1, 1), (4, 3), {"predict_hierarchy": 4}),
}


@pytest.mark.parametrize(("case", "n"), list(product(CASES, [64, 45])))
def test_logits_and_losses_agree(case: str, n: int) -> None:
    hierarchies, strides, windows, more = CASES[case]
    model = theirs(hierarchies, strides, windows, **more)
    mine = ours(model, with_own_row(windows))
    with torch.no_grad():
        torch.testing.assert_close(mine(drawn(n)), model(drawn(n)), rtol=0, atol=CLOSE)
        total, (next_token, reconstruction, next_embedding) = model(drawn(n), return_loss=True)
        loss = mine.loss(drawn(n))
    for part, other in (
        (loss.total, total),
        (loss.next_token, next_token),
        (loss.reconstruction.sum(), reconstruction),
        (loss.next_embedding.sum(), next_embedding),
    ):
        torch.testing.assert_close(part, other, rtol=0, atol=CLOSE)


def test_gradients_agree() -> None:
    hierarchies, strides, windows, _ = CASES["half overlap"]
    model = theirs(hierarchies, strides, windows)
    mine = ours(model, with_own_row(windows))
    model(drawn(45), return_loss=True)[0].backward()
    mine.loss(drawn(45)).total.backward()
    grads = {renamed(name): p.grad for name, p in model.named_parameters()}
    for name, parameter in mine.named_parameters():
        other = grads[name].reshape(parameter.shape)
        torch.testing.assert_close(parameter.grad, other, rtol=CLOSE, atol=CLOSE, msg=name)


def test_defect_a_window_of_w_sees_w_rows_and_one_more() -> None:
    """local-attention documents its exact window as at most w keys, and masks those more than w rows away."""
    model = theirs((1,), (1,), (4,))
    with torch.no_grad():
        logits = model(drawn(32))
        torch.testing.assert_close(ours(model, (5,))(drawn(32)), logits, rtol=0, atol=CLOSE)
        assert not torch.allclose(ours(model, (4,))(drawn(32)), logits, rtol=0, atol=100 * CLOSE)


def test_defect_the_loss_is_nan_where_a_level_has_a_single_row() -> None:
    """Its next-embedding loss is a mean over no pairs of rows. Ours is 0 there, and the rest agrees."""
    model = theirs((1, 8), (1, 8), (4, 4))
    mine = ours(model, (5, 5))
    with torch.no_grad():
        total, (next_token, reconstruction, next_embedding) = model(drawn(9), return_loss=True)
        loss = mine.loss(drawn(9))
    assert bool(next_embedding.isnan())
    assert bool(total.isnan())
    assert bool((loss.next_embedding == 0).all())
    torch.testing.assert_close(loss.total, next_token + 0.1 * reconstruction, rtol=0, atol=CLOSE)


def test_defect_the_reconstruction_loss_ignores_token_0_whatever_it_is_told_to_ignore() -> None:
    """Its ignore_index never reaches the compressions, which keep their default of 0."""
    model, tokens = theirs((1, 4), (1, 4), (4, 4)), drawn(64, least=0)
    mine = ours(model, (5, 5))
    with torch.no_grad():
        reconstruction = model(tokens, return_loss=True)[1][1]
        model.compressors[1].ignore_index = model.ignore_index
        repaired = model(tokens, return_loss=True)[1][1]
        loss = mine.loss(tokens)
    assert abs(float(reconstruction - repaired)) > 10 * CLOSE
    torch.testing.assert_close(loss.reconstruction.sum(), repaired, rtol=0, atol=CLOSE)


def test_defect_a_window_above_the_length_it_was_made_for_makes_another_layer(capsys: pytest.CaptureFixture) -> None:
    """It prints so, and swaps rotary positions and a layer norm for XPOS and an RMS norm: other parameters.

    Ours is one layer at any window and any length: with a window of the length it agrees with theirs, and
    with one beyond that it stays as it is.
    """
    fits, above = theirs((1, 4), (1, 4), (4, 16)), theirs((1, 4), (1, 4), (4, 17))
    assert "greater than effective sequence length" in capsys.readouterr().out
    assert "layers.0.1.attn.norm.bias" in fits.state_dict()
    assert "layers.0.1.attn.norm.bias" not in above.state_dict()
    with torch.no_grad():
        for window in (16, 17, 10**6):
            torch.testing.assert_close(ours(fits, (5, window))(drawn(64)), fits(drawn(64)), rtol=0, atol=CLOSE)


def test_defect_a_level_of_stride_2_may_predict_and_gives_half_the_logits() -> None:
    """With hierarchy_merge_all nothing checks the predicting level's stride; the loss then fails on shapes."""
    model = theirs((1, 4), (1, 2), (4, 4), hierarchy_merge_all=True, predict_hierarchy=4)
    assert model(drawn(64)).shape == (2, 32, VOCAB)
    with pytest.raises(ValueError, match="cannot predict every token: its stride must be 1"):
        ours(model, (5, 5))


def test_defect_full_attention_beyond_its_positions_range_is_nan() -> None:
    """XPOS scales q and k by zeta to the power of a position over 512: beyond some 70k, 0 and infinity in fp32."""
    n = 1 << 18
    x = torch.ones(1, 1, n, 4)
    q, k = peer.apply_rotary_pos_emb_qk(peer.RotaryEmbedding(4)(n), x, x)
    assert bool(k.isinf().any())
    assert bool((q * k).isnan().any())
    at = positions(Level(1, 1, None, 4, 1, 4), n, torch.float32, torch.device("cpu"))
    assert all(bool(table.isfinite().all()) for table in at)
