"""Schedules and costs as published."""

from __future__ import annotations

import pytest

from attention_impls.dilated.schedule import named_schedule
from attention_impls.pattern import FullPattern, attention_cost
from attention_impls.shape import AttentionShape


@pytest.mark.parametrize(
    ("n", "branches"),
    [
        (1024, ((2048, 1),)),
        (8192, ((2048, 1), (8192, 4))),
        (16384, ((2048, 1), (8192, 4))),
        (32768, ((2048, 1), (8192, 4), (32768, 16))),
    ],
)
def test_geometric_reaches_up_to_the_length(n: int, branches: tuple) -> None:
    assert named_schedule("geometric", n).branches == branches


def test_lm_is_the_papers() -> None:
    assert named_schedule("lm", 4096).branches == ((2048, 1), (4096, 2), (8192, 4), (16384, 6), (32768, 12))


def test_runtime_spans_segment_device_and_sequence() -> None:
    assert named_schedule("runtime", 2**30, world_size=8).branches == ((2048, 1), (2**27, 2**16), (2**30, 2**19))
    assert named_schedule("runtime", 2**20).branches == ((2048, 1), (2**20, 512))
    assert named_schedule("runtime", 1000).branches == ((2048, 1),)


def test_unknown_schedule_lists_the_known() -> None:
    with pytest.raises(ValueError, match="choose geometric, lm, runtime"):
        named_schedule("other", 8)


def test_flops_follow_the_fields_convention() -> None:
    shape = AttentionShape(1024, batch=2, heads=8, head_dim=64)
    forward = attention_cost(FullPattern(shape), "fwd", 2)
    assert forward.flops == forward.dense_flops == 4 * 2 * 8 * 1024**2 * 64
    assert attention_cost(FullPattern(shape), "bwd", 2).flops == 2.5 * forward.flops
    assert attention_cost(FullPattern(shape), "fwd+bwd", 2).flops == 3.5 * forward.flops
    assert forward.io_bytes == 4 * 2 * 8 * 1024 * 64 * 2


@pytest.mark.parametrize("bad", [{"seq_len": 0}, {"heads": 8, "kv_heads": 3}, {"head_dim": -1}])
def test_impossible_shapes_are_refused(bad: dict) -> None:
    with pytest.raises(ValueError, match="must be"):
        AttentionShape(**({"seq_len": 8} | bad))
