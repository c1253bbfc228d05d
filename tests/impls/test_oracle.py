"""The oracle against dense float64 attention and its autograd."""

from __future__ import annotations

import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from multiset import dense_attention, multiplicity

from attention_impls import oracle
from attention_impls.dilated.pattern import DilatedPattern
from attention_impls.dilated.schedule import Schedule
from attention_impls.oracle import Problem, TensorRows, oracle_gradients, oracle_row, sample_rows
from attention_impls.pattern import FullPattern, Pattern
from attention_impls.shape import AttentionShape

patterns = st.builds(
    lambda n, batch, kv, group, causal, branches: (
        DilatedPattern(AttentionShape(n, batch, kv * group, kv, 4, causal), Schedule(tuple(branches)))
        if branches
        else FullPattern(AttentionShape(n, batch, kv * group, kv, 4, causal))
    ),
    st.integers(1, 24),
    st.integers(1, 2),
    st.integers(1, 2),
    st.integers(1, 2),
    st.booleans(),
    st.lists(st.tuples(st.integers(1, 32), st.integers(1, 6)), max_size=3),
)


def problem_of(pattern: Pattern) -> tuple[Problem, list[torch.Tensor]]:
    s = pattern.shape
    q = torch.randn(s.batch, s.seq_len, s.heads, s.head_dim, dtype=torch.float64, requires_grad=True)
    k, v = (
        torch.randn(s.batch, s.seq_len, s.kv_heads, s.head_dim, dtype=torch.float64, requires_grad=True)
        for _ in range(2)
    )
    return Problem(pattern, TensorRows(q), TensorRows(k), TensorRows(v), 0.4), [q, k, v]


@settings(max_examples=60, deadline=None)
@given(patterns)
def test_rows_and_gradients_are_those_of_dense_attention(pattern: Pattern) -> None:
    problem, (q, k, v) = problem_of(pattern)
    dense = dense_attention(q, k, v, multiplicity(pattern), 0.4)
    rows = sample_rows(pattern, 6, seed=3)
    for row in rows:
        out, _ = oracle_row(problem, row)
        torch.testing.assert_close(out, dense[row.batch, row.query, row.head].detach(), rtol=0, atol=1e-12)
    grad_rows = torch.randn(len(rows), 4, dtype=torch.float64)
    grad_out = torch.zeros_like(dense)
    for row, grad in zip(rows, grad_rows, strict=True):
        grad_out[row.batch, row.query, row.head] = grad
    dq, dk, dv = (g.clone() for g in torch.autograd.grad(dense, (q, k, v), grad_out))
    for dq_rows, keys in oracle_gradients(problem, rows, grad_rows):
        for row, expected in dq_rows:
            torch.testing.assert_close(dq[row.batch, row.query, row.head], expected.value, rtol=0, atol=1e-12)
        for actual, expected_keys in ((dk, keys.dk), (dv, keys.dv)):
            part = actual[keys.batch, keys.positions, keys.kv_head]
            torch.testing.assert_close(part, expected_keys.value, rtol=0, atol=1e-12)
            actual[keys.batch, keys.positions, keys.kv_head] = 0
    assert bool((dk == 0).all())
    assert bool((dv == 0).all())


def test_keys_fetched_in_chunks_give_the_same_row(monkeypatch: object) -> None:
    problem, _ = problem_of(FullPattern(AttentionShape(50, head_dim=4)))
    row = sample_rows(problem.pattern, 2, seed=0)[0]
    whole = oracle_row(problem, row)[0]
    monkeypatch.setattr(oracle, "CHUNK_KEYS", 7)  # type: ignore[attr-defined]
    torch.testing.assert_close(oracle_row(problem, row)[0], whole, rtol=0, atol=1e-14)


@given(st.integers(1, 2**30), st.integers(1, 16), st.integers(1, 4), st.integers(0, 100))
def test_sampled_rows_exist_and_touch_every_head_when_there_are_enough(
    n: int, heads: int, batch: int, seed: int
) -> None:
    pattern = FullPattern(AttentionShape(n, batch, heads, heads))
    rows = sample_rows(pattern, 32, seed)
    assert all(0 <= r.query < n and 0 <= r.head < heads and 0 <= r.batch < batch for r in rows)
    if n > 10_000:
        assert {r.head for r in rows} == set(range(heads))


def test_a_row_at_1b_tokens_costs_its_own_keys_only() -> None:
    n = 2**30
    pattern = DilatedPattern(AttentionShape(n, heads=1, kv_heads=1), Schedule.of([2048, n], [1, n // 2048]))

    class Generated:
        fetched = 0

        def rows(self, batch: int, head: int, positions: range) -> torch.Tensor:
            Generated.fetched += len(positions)
            at = torch.arange(positions.start, positions.stop, positions.step, dtype=torch.float64)
            return (at[:, None] * 0.37 + torch.arange(4)).sin()

    source = Generated()
    row = oracle.Row(0, 0, n // 2)
    out, _ = oracle_row(Problem(pattern, source, source, source, 0.5), row)
    assert torch.isfinite(out).all()
    assert Generated.fetched < 20_000
