"""A rank's inputs are its part of the whole's; where they lie in it; and what is checked of them."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from attention_impls import vanilla_attention
from attention_impls.distributed import sharding
from attention_impls.distributed.sharding import Spans
from attention_impls.pattern import FullPattern
from attention_impls.shape import AttentionShape
from longbench_cli.measure.held import WHOLE, Held
from longbench_cli.measure.inputs import Inputs, InputSource
from longbench_cli.measure.tokens import TokenSource
from longbench_cli.measure.verify import Verified, Wrong, verify
from longbench_cli.sweep.case import Case


def case(**change: Any) -> Case:
    values: dict[str, Any] = {
        "impl": "vanilla", "backend": "auto", "pass": "bwd", "seq_len": 90, "batch": 2, "heads": 4, "kv_heads": 2,
        "head_dim": 8, "dtype": "float32", "causal": True, "world_size": 3, "device": "cpu", "options": {},
    }  # fmt: skip
    return Case.model_validate(values | change)


@st.composite
def shares(draw: st.DrawFn) -> tuple[int, list[Spans]]:
    n, ranks = draw(st.integers(1, 50)), draw(st.integers(1, 6))
    layout = draw(st.sampled_from([sharding.contiguous, sharding.zigzag]))
    return n, [layout(AttentionShape(n, world_size=ranks), rank) for rank in range(ranks)]


@given(shares())
def test_every_position_is_held_once_where_the_tokens_say(share: tuple[int, list[Spans]]) -> None:
    n, spans = share
    for position in range(n):
        held = [(own, place) for own in map(Held, spans) if (place := own.place(position)) is not None]
        assert len(held) == 1
        assert held[0][0].position(held[0][1]) == position
    assert [Held(own).before(n) for own in spans] == [sum(map(len, own)) for own in spans]
    with pytest.raises(IndexError):
        Held(spans[0]).position(sum(map(len, spans[0])))


@given(shares(), st.data())
def test_what_comes_before_a_cut_is_held_first(share: tuple[int, list[Spans]], data: st.DataObject) -> None:
    n, spans = share
    cut = data.draw(st.integers(0, n))
    for own in spans:
        tokens = [t for span in own for t in span]
        assert tokens[: Held(own).before(cut)] == [t for t in tokens if t < cut]


@given(shares(), st.data())
def test_positions_are_found_where_they_are_held(share: tuple[int, list[Spans]], data: st.DataObject) -> None:
    n, spans = share
    positions = torch.tensor(sorted(data.draw(st.sets(st.integers(0, n - 1)))), dtype=torch.int64)
    seen: list[int] = []
    for own in spans:
        numbers, places = Held(own).find(positions)
        assert [Held(own).position(place) for place in places.tolist()] == positions[numbers].tolist()
        seen += numbers.tolist()
    assert sorted(seen) == list(range(len(positions)))
    numbers, places = WHOLE.find(positions)
    assert (numbers.tolist(), places.tolist()) == (list(range(len(positions))), positions.tolist())


@pytest.mark.parametrize("layout", [sharding.contiguous, sharding.zigzag])
def test_ranks_draw_parts_of_the_same_inputs_in_step(layout: Any) -> None:
    """The second draw too; each from a source of its own."""
    whole = InputSource(case(), 3)
    sources = [InputSource(case(), 3) for _ in range(3)]
    spans = [layout(case().shape, rank) for rank in range(3)]
    for _ in range(2):
        all_of_it = whole.draw().inputs()
        for own, source in zip(spans, sources, strict=True):
            part = source.draw().inputs(own)
            at = [t for span in own for t in span]
            for name in ("q", "k", "v", "grad_out"):
                assert torch.equal(getattr(part, name), getattr(all_of_it, name)[:, at])
            assert part.q.requires_grad


def test_ranks_draw_parts_of_the_same_batch_in_step() -> None:
    whole, parts = (
        TokenSource(case(batch=6), 1000, 3),
        [TokenSource(case(batch=6), 1000, 3, range(i, i + 2)) for i in (0, 2, 4)],
    )
    for _ in range(3):
        assert torch.equal(torch.cat([part.draw() for part in parts]), whole.draw())


def test_token_ids_of_a_seed_are_those_that_were_always_drawn() -> None:
    """Drawn one sequence after the other they are what one draw of the whole batch gives."""
    expected = torch.randint(1000, (6, 90), generator=torch.Generator().manual_seed(3))
    assert torch.equal(TokenSource(case(batch=6), 1000, 3).draw(), expected)


class Part:
    """An attention of one rank that has all of the inputs at hand: what the others compute is computed here too."""

    def __init__(self, inputs: Inputs, own: Spans, change: Any) -> None:
        self._whole, self._at, self._change = inputs, [t for span in own for t in span], change

    def __call__(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        at, pairs = torch.tensor(self._at), zip((self._whole.q, self._whole.k, self._whole.v), (q, k, v), strict=True)
        q, k, v = (whole.detach().index_copy(1, at, part) for whole, part in pairs)
        out: Tensor = self._change(vanilla_attention(q, k, v, causal=True)[:, at])
        return out


def check(rank: int, change: Any, pass_: str = "fwd") -> Verified:
    """Of one rank of three in zigzag, whose output goes through ``change``."""
    one = case(**{"pass": pass_})
    draw, spans = InputSource(one, 0).draw(), sharding.zigzag(one.shape, rank)
    inputs, problem = draw.inputs(spans), draw.problem(FullPattern(one.shape))
    return verify(one, Part(draw.inputs(), spans, change), problem, inputs, 0, Held(spans))


@pytest.mark.parametrize("rank", range(3))
def test_a_right_part_passes(rank: int) -> None:
    verdict = check(rank, lambda out: out)
    assert verdict.reason is None
    assert 0 < (verdict.verification.max_error or 0) < 1e-5


def test_what_is_wrong_is_named_by_its_place_in_the_sequence() -> None:
    """Rank 1 of three in zigzag holds tokens 15 to 29 and 60 to 74: its place 20 is token 65."""
    spoilt = torch.tensor([20])
    verdict = check(1, lambda out: out.index_fill(1, spoilt, float("nan")))
    assert verdict.reason is not None
    assert verdict.reason.endswith(("query 65: error inf > 0.0001", "first at batch 0, head 0, query 65"))


def test_checks_are_made_together_and_stop_together() -> None:
    """What another rank finds ends this one's verification, and its next checks are not made."""
    one = case()
    draw, made = InputSource(one, 0).draw(), list[str]()
    inputs = draw.inputs()

    def together(check: Any) -> Any:
        found = check()
        made.append("check")
        if len(made) == 2:
            raise Wrong("rank 2: dk: differs", 0.5)
        return found

    attention = lambda q, k, v: vanilla_attention(q, k, v, causal=True)  # noqa: E731
    verdict = verify(one, attention, draw.problem(FullPattern(one.shape)), inputs, 0, together=together)
    assert made == ["check", "check"]  # of output and gradients; none of causality
    assert (verdict.reason, verdict.verification.status) == ("rank 2: dk: differs", "failed")
    assert verdict.verification.max_error == 0.5
