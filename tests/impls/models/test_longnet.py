"""LongNet as a module of its own: made, trained, saved, refused."""

from __future__ import annotations

import io
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch.nn import functional

import attention_impls
from attention_impls import LongNetTransformer
from attention_impls.api import get_implementation, implementations
from attention_impls.shape import AttentionShape


def small(**more: object) -> LongNetTransformer:
    settings = {"num_tokens": 8, "dim": 16, "depth": 2, "heads": 2, "dim_head": 8, "ff_mult": 2}
    return LongNetTransformer(**({**settings, "segments": [8, 32], "dilations": [1, 2]} | more))


def test_it_is_a_name_of_the_package_and_of_the_registry() -> None:
    assert {"LongNetTransformer", "generate"} <= set(attention_impls.__all__)
    for name in ("longnet", "transformer"):
        implementation = implementations()[name]
        assert implementation.kind == "model"
        assert implementation.takes_backend
    model = get_implementation("longnet").model
    assert model is not None
    assert model.vocab({}) == 256
    assert model.vocab({"vocab": 8}) == 8
    made = model.load()(AttentionShape(32), {"vocab": 8}, backend="math", device="cpu", dtype=torch.float32, seed=0)
    assert isinstance(made, LongNetTransformer)
    assert made.architecture.dim == 512


PLANNED = """
import sys
from attention_impls.api import implementations
from attention_impls.shape import AttentionShape
for name in ("longnet", "transformer"):
    found, shape = implementations()[name], AttentionShape(1 << 30)
    work = found.model.work(shape, found.defaults, "step", 2)
    assert found.details(shape, found.defaults)["parameters"] == work.parameters
    assert found.model.reference_tokens(shape, found.defaults) < 4096
assert "torch" not in sys.modules
"""


def test_planning_a_billion_tokens_needs_no_torch() -> None:
    subprocess.run([sys.executable, "-c", PLANNED], check=True, cwd=Path(__file__).parents[3])


def test_width_need_not_be_heads_times_head_dim() -> None:
    model = small(dim=24, heads=3, dim_head=4)
    assert model(torch.zeros(1, 9, dtype=torch.int64)).shape == (1, 9, 8)


def test_what_a_tokens_logits_depend_on_is_what_the_branches_reach() -> None:
    """One block, one head: a query's logits change with the keys its branches hold, and with no others."""
    model = small(depth=1, heads=1, dim_head=16, segments=[4, 16], dilations=[1, 3]).double()
    tokens = torch.randint(8, (1, 16), generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        before = model(tokens)[0, 15]
        reached = set()
        for t in range(16):
            changed = tokens.clone()
            changed[:, t] = (changed[:, t] + 3) % 8
            if not torch.allclose(model(changed)[0, 15], before, rtol=0, atol=1e-12):
                reached.add(t)
    assert reached == {12, 13, 14, 15} | set(range(0, 16, 3))


def test_the_back_end_is_the_one_asked_for() -> None:
    tokens = torch.randint(8, (2, 40))
    torch.manual_seed(0)
    one = small(backend="math", dtype=torch.float64)
    other = small(backend="sdpa-flash", dtype=torch.float64)
    other.load_state_dict(one.state_dict())
    torch.testing.assert_close(one(tokens), other(tokens), rtol=0, atol=1e-12)
    with pytest.raises(ValueError, match="back end 'nothing' is unknown"):
        small(backend="nothing")(tokens)


def test_a_repeated_text_is_learned() -> None:
    torch.manual_seed(0)
    model = small(segments=[8, 16], dilations=[1, 2])
    text = torch.tensor([[0, 1, 2, 3, 4, 5, 6, 7, 3, 1, 4, 1]]).repeat(1, 4)
    optimiser = torch.optim.Adam(model.parameters(), lr=3e-3)
    losses = []
    for _ in range(40):
        logits = model(text[:, :-1])
        loss = functional.cross_entropy(logits.flatten(0, 1), text[:, 1:].flatten())
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    assert losses[0] > 1.5
    assert losses[-1] < 0.2


def test_a_saved_state_makes_the_same_model() -> None:
    tokens = torch.randint(8, (1, 20))
    one, other = small(qk_norm=True), small(qk_norm=True)
    assert not torch.equal(one(tokens), other(tokens))
    file = io.BytesIO()
    torch.save(one.state_dict(), file)
    file.seek(0)
    other.load_state_dict(torch.load(file))
    assert torch.equal(one(tokens), other(tokens))


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"segments": [8]}, "must pair up"),
        ({"dilations": [1, 0]}, "dilation rate must be at least 1"),
        ({"offsets": "other"}, "unknown offsets 'other': choose paper or grouped"),
        ({"feed_forward": "relu"}, "unknown feed_forward 'relu'"),
        ({"dim_head": 7}, "head_dim must be even"),
        ({"depth": 0}, "depth must be a whole number of at least 1"),
    ],
)
def test_what_does_not_fit_is_refused_when_it_is_made(change: dict, says: str) -> None:
    with pytest.raises(ValueError, match=says) as caught:
        small(**change)
    assert "\n" not in str(caught.value)
