"""LongNet's claim of constant communication, and what docs/communication.md says of every algorithm."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from attention_impls.api import get_implementation
from attention_impls.dilated.pattern import head_offset
from attention_impls.dilated.schedule import Schedule
from attention_impls.distributed.sharding import contiguous
from attention_impls.shape import AttentionShape
from longbench_cli.analyse.comm import Exchanged, exchange_of, grouped
from longbench_cli.analyse.comm_growth import GrowthLine, growth_lines
from longbench_cli.sweep.case import Case

B, H, G, D = 3, 8, 2, 16
"""Sequences, heads, key heads, features: all different, so that none stands for another."""
W0 = 2048


def exchanged(impl: str, n: int, p: int, pass_: str = "fwd", **changes: Any) -> Exchanged:
    implementation = get_implementation(impl)
    fields: dict[str, Any] = {
        "impl": impl, "kind": implementation.kind, "backend": "auto", "pass_": pass_, "seq_len": n, "batch": B,
        "heads": H, "kv_heads": H, "head_dim": D, "dtype": "bfloat16", "causal": False, "world_size": p,
        "device": "cpu", "options": dict(implementation.defaults),
    }  # fmt: skip
    fields["options"] |= changes.pop("options", {})
    found = exchange_of(Case(**(fields | changes)), implementation)
    assert isinstance(found, Exchanged)
    return found


def vanilla(algorithm: str, n: int, p: int, pass_: str = "fwd", **changes: Any) -> Exchanged:
    return exchanged("vanilla", n, p, pass_, kv_heads=G, options={"parallel": algorithm}, **changes)


def dilated(n: int, p: int, pass_: str = "fwd", *, schedule: str | None = None, **options: Any) -> Exchanged:
    return exchanged("dilated", n, p, pass_, options={"schedule": schedule, **options})


SIZES = [(2**20, 4), (2**20, 64), (2**24, 16)]


@pytest.mark.parametrize(("n", "p"), SIZES)
@pytest.mark.parametrize(("dtype", "e"), [("bfloat16", 2), ("float32", 4)])
def test_what_a_rank_receives_of_full_attention(n: int, p: int, dtype: str, e: int) -> None:
    others = n - n // p
    block = 2 * B * G * D * others
    for algorithm in ("ring", "zigzag", "allgather"):
        assert vanilla(algorithm, n, p, dtype=dtype).most == block * e
    for algorithm in ("ring", "zigzag"):
        assert vanilla(algorithm, n, p, "bwd", dtype=dtype).most == block * (e + 4)
    assert vanilla("allgather", n, p, "bwd", dtype=dtype).most == block * 4


def test_a_causal_ring_receives_what_lies_before_a_rank() -> None:
    n, p = 2**20, 16
    found, full = vanilla("ring", n, p, causal=True), vanilla("ring", n, p)
    assert (found.most, found.mean) == (full.most, full.mean / 2)
    for algorithm in ("zigzag", "allgather"):
        assert vanilla(algorithm, n, p, causal=True).most == vanilla(algorithm, n, p).most


@pytest.mark.parametrize(("n", "p"), [(2**20, 2), (2**24, 2)])
def test_all_to_all_receives_a_share_of_a_share(n: int, p: int) -> None:
    for pass_ in ("fwd", "bwd"):
        assert vanilla("ulysses", n, p, pass_).most == 2 * B * (H + G) * D * 2 * (n - n // p) // p


@pytest.mark.parametrize("k", [1, 2, 5])
@pytest.mark.parametrize("pass_", ["fwd", "bwd"])
def test_the_full_geometric_schedule_grows_with_log_p(k: int, pass_: str) -> None:
    """Lengths 2048 * 4^i on 4^k ranks that hold at least 2048 tokens each."""
    p = 4**k
    rows = [W0 * (4**j - 1) // 4**j for j in range(1, k + 1)]
    assert sum(rows) == pytest.approx(W0 * (k - (1 - 1 / p) / 3))
    for n in (W0 * p, W0 * p * 4, W0 * p * 64):
        found = dilated(n, p, pass_, schedule="geometric")
        assert found.most == 2 * B * H * D * sum(rows) * (2 if pass_ == "fwd" else 4)
        assert sorted(branch.rows for branch in found.branches if branch.rows) == rows
        assert {branch.kept for branch in found.branches} == {W0}


@pytest.mark.parametrize("p", [2, 4, 64])
def test_a_rate_in_proportion_to_the_segment_makes_it_constant(p: int) -> None:
    """The schedule of the paper's runtime figure: 2048, the tokens of a rank, N."""
    found = {dilated(n, p, schedule="runtime").most for n in (2**20, 2**23, 2**30)}
    assert found == {2 * B * H * D * 2 * W0 * (p - 1) // p}


def test_a_fixed_rate_makes_it_linear() -> None:
    for n in (2**20, 2**23, 2**30):
        found = dilated(n, 16, segments=[W0, 2**30], dilations=[1, 16])
        assert found.most == 2 * B * H * D * 2 * (n - n // 16) // 16


def test_the_schedule_of_the_language_models_needs_nothing_of_others_in_long_sequences() -> None:
    assert dilated(2**20, 32, schedule="lm").most == 0
    assert dilated(2**18, 32, schedule="lm").most > 0


LENGTHS = [W0 * 4**i for i in range(5, 10)]
RANKS = [4**k for k in range(1, 6)]


def lines(of: Callable[[int, int], Exchanged]) -> Iterator[GrowthLine]:
    (group,) = grouped([of(n, p) for n in LENGTHS for p in RANKS], weak=False)
    yield from growth_lines(group)


CLAIM: list[tuple[Callable[[int, int], Exchanged], str, str]] = [
    (lambda n, p: dilated(n, p, schedule="runtime"), "constant", "constant"),
    (lambda n, p: dilated(n, p, segments=[W0, 2**30], dilations=[1, 16]), "power", "constant"),
    (lambda n, p: dilated(n, p, schedule="geometric"), "constant", "logarithmic"),
    (lambda n, p: vanilla("ring", n, p), "power", "constant"),
    (lambda n, p: vanilla("allgather", n, p), "power", "constant"),
]


@pytest.mark.parametrize(("of", "against_n", "against_p"), CLAIM)
def test_the_claim_is_read_off(of: Callable[[int, int], Exchanged], against_n: str, against_p: str) -> None:
    found = list(lines(of))
    for line in found:
        if line.receiver == "a rank" and line.axis == "N":
            assert line.growth.law == against_n
            assert line.growth.exponent == pytest.approx(1 if against_n == "power" else 0, abs=1e-6)
        elif line.receiver == "a rank":
            assert line.growth.law == against_p
        else:  # fabric-wide it grows with P, whatever the schedule
            assert line.growth.exponent is not None
            assert line.growth.exponent >= 0.99


def gathered_rows(shape: AttentionShape, w: int, r: int, offsets: str, rank: int) -> int:
    """(head, token) keys of segments that the rank has a part of, and others too, and that are not its own."""
    (own,) = contiguous(shape, rank)
    segments = {token // w for token in own}
    return sum(
        t not in own and t // w in segments and (t % w) % r == head_offset(head, r, shape.heads, offsets)
        for t in range(shape.seq_len)
        for head in range(shape.heads)
    )


@given(
    n=st.integers(1, 60),
    p=st.integers(2, 7),
    heads=st.integers(1, 5),
    branches=st.lists(st.tuples(st.integers(1, 70), st.integers(1, 9)), min_size=1, max_size=3, unique=True),
    offsets=st.sampled_from(["paper", "grouped"]),
)
@settings(max_examples=60)
def test_rows_by_branch_are_those_that_counting_tokens_gives(
    n: int, p: int, heads: int, branches: list[tuple[int, int]], offsets: str
) -> None:
    if n < p:
        return
    schedule = Schedule(tuple(branches))
    options = {
        "schedule": None, "segments": schedule.segments, "dilations": schedule.dilations, "offsets": offsets,
    }  # fmt: skip
    found = exchanged("dilated", n, p, heads=heads, kv_heads=heads, options=options)
    shape = AttentionShape(n, heads=heads, kv_heads=heads, world_size=p)
    for branch, (w, r) in zip(found.branches, branches, strict=True):
        most = max(gathered_rows(shape, w, r, offsets, rank) for rank in range(p))
        assert branch.rows == pytest.approx(most / heads)
    whole = [sum(gathered_rows(shape, w, r, offsets, rank) for w, r in branches) for rank in range(p)]
    assert (found.most, found.total) == (2 * B * D * 2 * max(whole), 2 * B * D * 2 * sum(whole))


def test_ranks_of_a_model_sum_its_gradients_whatever_the_length() -> None:
    model = get_implementation("longnet")
    assert model.model is not None
    for p in (2, 8):
        bytes_found = set()
        for n in (1024, 4096):
            found = exchanged("longnet", n, p, "fwd+bwd", batch=8, causal=True)
            parameters = model.model.work(found.case.shape, found.case.options, "fwd+bwd", 2).parameters
            assert found.most == 2 * (p - 1) * 2 * parameters // p
            bytes_found.add(found.most)
            assert exchanged("longnet", n, p, "fwd", batch=8, causal=True).total == 0
        assert len(bytes_found) == 1
