"""Inputs are a function of seed, tensor and position."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from longbench_cli.measure.inputs import LARGE_POOLS, SMALL_POOLS, InputSource
from longbench_cli.sweep.case import Case


def case(**change: Any) -> Case:
    values: dict[str, Any] = {
        "impl": "vanilla", "backend": "auto", "pass": "bwd", "seq_len": 2048, "batch": 2, "heads": 4, "kv_heads": 2,
        "head_dim": 8, "dtype": "bfloat16", "causal": True, "world_size": 1, "device": "cpu", "options": {},
    }  # fmt: skip
    return Case.model_validate(values | change)


@pytest.mark.parametrize("seq_len", [5, 2048, 70_001])
@pytest.mark.parametrize("chunk", [1000, 4096, 65536])
def test_whole_chunked_and_strided_agree_bit_for_bit(seq_len: int, chunk: int) -> None:
    draw = InputSource(case(seq_len=seq_len), 7).draw()
    again = InputSource(case(seq_len=seq_len), 7).draw()
    inputs = draw.inputs()
    for name in ("q", "k", "v", "grad_out"):
        whole = getattr(inputs, name)
        parts = [again.chunk(name, a, min(a + chunk, seq_len)) for a in range(0, seq_len, chunk)]
        assert torch.equal(torch.cat(parts, 1), whole)
        at = range(seq_len // 3, seq_len, 17)
        assert torch.equal(again.strided(name, 1, at), whole[:, at.start : at.stop : at.step, 1])
        rows = again.row_source(name).rows(1, 0, at)
        assert torch.equal(rows, whole[1, at.start : at.stop : at.step, 0].double())


def test_values_are_standard_normal_and_tokens_are_not_alike() -> None:
    q = InputSource(case(seq_len=100_000, batch=1, dtype="float32"), 3).draw().inputs().q.detach()
    assert abs(float(q.mean())) < 0.01
    assert abs(float(q.std()) - 1) < 0.01
    assert abs(float((q**4).mean()) - 3) < 0.1
    rows = q[0, :, 0]
    assert len(torch.unique(rows, dim=0)) == len(rows)
    assert not torch.equal(q[0, :, 0], q[0, :, 1])


def test_no_two_tokens_share_both_rows_below_the_product_of_the_pools() -> None:
    """The Chinese remainder theorem: two different primes."""
    for first, second in (LARGE_POOLS, SMALL_POOLS):
        assert first != second
        for prime in (first, second):
            assert all(prime % k for k in range(2, int(prime**0.5) + 1))
    assert LARGE_POOLS[0] * LARGE_POOLS[1] > 1 << 30


def test_draws_differ_from_each_other_and_move_in_memory() -> None:
    source = InputSource(case(), 5)
    first, second = source.draw().inputs(), source.draw().inputs()
    assert not torch.equal(first.q, second.q)
    assert torch.equal(InputSource(case(), 5).draw().inputs().q, first.q)  # the seed decides
    assert not torch.equal(InputSource(case(), 6).draw().inputs().q, first.q)
    offsets = {source.draw().inputs().q.storage_offset() for _ in range(12)}
    assert len(offsets) > 3
