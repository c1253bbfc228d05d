"""Sparse patterns against their definition; strides matched for equal work; options that do not fit."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from multiset import multiplicity
from sparse_cases import definition, sparse_patterns

from attention_impls.api import get_implementation
from attention_impls.dilated.pattern import DilatedPattern
from attention_impls.dilated.schedule import named_schedule
from attention_impls.shape import AttentionShape
from attention_impls.sparse.parts import parts_of
from attention_impls.sparse.pattern import FixedPattern, SlidingWindowPattern, SparsePattern, StridedPattern

LONG = AttentionShape(2**30, heads=1, kv_heads=1)


@settings(max_examples=150)
@given(sparse_patterns())
def test_each_key_of_the_definition_is_seen_once_and_no_other(pattern: SparsePattern) -> None:
    counts = multiplicity(pattern)
    assert torch.equal(counts, definition(pattern).to(counts.dtype).expand_as(counts))
    assert pattern.pairs() == pattern.shape.batch * int(counts.sum())
    seen_by = torch.zeros_like(counts[0])
    for key in range(pattern.shape.seq_len):
        for queries in pattern.query_ranges(0, key):
            seen_by[list(queries), key] += 1
    assert torch.equal(seen_by, counts[0])


def test_a_summary_place_counts_in_a_short_last_block_where_the_block_reaches_it() -> None:
    shape = AttentionShape(10, heads=1, kv_heads=1)  # blocks 0-3, 4-7 and 8, 9
    assert sorted(j for keys in FixedPattern(shape, 4, 1).key_ranges(0, 0) for j in keys) == [0, 1, 2, 3, 7]
    assert sorted(j for keys in FixedPattern(shape, 4, 3).key_ranges(0, 0) for j in keys) == [0, 1, 2, 3, 5, 6, 7, 9]


@settings(max_examples=100)
@given(sparse_patterns(longest=40), st.integers(1, 2**24))
def test_parts_hold_the_pairs_of_the_pattern_at_any_length(pattern: SparsePattern, seq_len: int) -> None:
    pattern = replace(pattern, shape=replace(pattern.shape, seq_len=seq_len))
    pairs = 0
    for part in parts_of(pattern):
        queries, keys = part.queries.members, part.keys.members
        assert not part.triangle or queries == keys
        assert part.queries.segments == part.keys.segments
        pairs += part.queries.segments * (queries * (queries + 1) // 2 if part.triangle else queries * keys)
    assert pairs * pattern.shape.batch * pattern.shape.heads == pattern.pairs()


@pytest.mark.parametrize("causal", [False, True])
def test_a_million_tokens_take_few_parts(causal: bool) -> None:
    shape = AttentionShape(2**20 + 77, causal=causal)
    assert len(parts_of(SlidingWindowPattern(shape, 256))) <= 8
    assert len(parts_of(StridedPattern(shape, 1024))) <= 12
    assert len(parts_of(FixedPattern(shape, 1024, 8))) <= 60
    assert len(parts_of(FixedPattern(shape, 16, 8))) <= 80


def test_a_billion_tokens_are_planned_without_torch() -> None:
    code = """
import sys
from attention_impls.api import get_implementation
from attention_impls.shape import AttentionShape
shape = AttentionShape(2**30, causal=True)
for name, options in (("sparse", {"match_flops": "dilated"}), ("sparse", {"pattern": "fixed"}), ("sliding-window", {})):
    impl = get_implementation(name)
    pattern = impl.pattern(shape, {**impl.defaults, **options})
    assert pattern.pairs() > 0 and impl.details(shape, {**impl.defaults, **options})
    assert len(pattern.key_ranges(0, 2**30 - 1)) < 20
assert "torch" not in sys.modules
"""
    subprocess.run([sys.executable, "-c", code], check=True, timeout=300)


def test_the_default_stride_is_the_root_of_the_length_and_work_grows_with_its_third_power() -> None:
    sparse = get_implementation("sparse")
    for options in (sparse.defaults, {**sparse.defaults, "pattern": "fixed"}):
        details = sparse.details(LONG, options)
        assert details == {"stride": 2**15} | ({"columns": 8} if options["pattern"] == "fixed" else {})
        shorter = sparse.pattern(replace(LONG, seq_len=2**28), options).pairs()
        assert sparse.pattern(LONG, options).pairs() / shorter == pytest.approx(4**1.5, rel=0.01)
    assert sparse.details(replace(LONG, seq_len=1), {"pattern": "fixed"}) == {"stride": 1, "columns": 1}


def test_a_window_past_the_end_is_recorded_as_the_length() -> None:
    window = get_implementation("sliding-window")
    assert window.details(AttentionShape(1000), window.defaults) == {"window": 256}
    assert window.details(AttentionShape(100), window.defaults) == {"window": 100}


def dilated_pairs(shape: AttentionShape) -> int:
    return DilatedPattern(shape, named_schedule("geometric", shape.seq_len)).pairs()


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("options", [{}, {"pattern": "fixed"}, {"pattern": "fixed", "columns": 1}])
@pytest.mark.parametrize("n", [4096, 10000, 100_000])
def test_matched_work_is_as_near_as_a_step_of_the_stride(n: int, options: dict, causal: bool) -> None:
    shape = AttentionShape(n, batch=2, heads=4, kv_heads=2, causal=causal)
    sparse, options = get_implementation("sparse"), {**options, "match_flops": "dilated"}
    details, target = sparse.details(shape, options), dilated_pairs(shape)

    def pairs(stride: int) -> int:
        return sparse.pattern(shape, {**options, "match_flops": None, "stride": stride}).pairs()

    stride = details["stride"]
    assert sparse.pattern(shape, options).pairs() == pairs(stride)
    assert details["pairs_over_dilated"] == pairs(stride) / target
    assert abs(pairs(stride) - target) <= abs(pairs(stride + 1) - pairs(stride - 1))
    assert details["pairs_over_dilated"] == pytest.approx(1, rel=0.002)


def test_where_dilated_is_full_attention_so_is_its_match() -> None:
    details = get_implementation("sparse").details(AttentionShape(1500), {"match_flops": "dilated"})
    assert details == {"stride": 1500, "pairs_over_dilated": 1.0}


@pytest.mark.parametrize("options", [{"pattern": "strided"}, {"pattern": "fixed"}])
def test_where_no_stride_is_as_cheap_as_dilated_the_cheapest_is_taken_and_the_ratio_says_so(options: dict) -> None:
    shape = AttentionShape(2**26, causal=True)
    sparse = get_implementation("sparse")
    matched = sparse.details(shape, {**options, "match_flops": "dilated"})
    assert matched["pairs_over_dilated"] > 2
    chosen = sparse.pattern(shape, {**options, "stride": matched["stride"]}).pairs()
    others = [sparse.pattern(shape, {**options, "stride": 2**i}).pairs() for i in range(4, 26)]
    assert chosen <= min(others)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"pattern": "other"}, "unknown pattern 'other': choose strided or fixed"),
        ({"stride": 0}, "stride must be at least 1 token, not 0"),
        ({"columns": 2}, "columns belong to the fixed pattern"),
        ({"pattern": "fixed", "stride": 4, "columns": 5}, r"between 1 and the stride \(4\), not be 5"),
        ({"pattern": "fixed", "columns": 0}, "between 1 and the stride"),
        ({"pattern": "fixed", "columns": -3, "match_flops": "dilated"}, "between 1 and the stride"),
        ({"match_flops": "dilated", "stride": 64}, "match_flops chooses the stride: give one of the two"),
        ({"match_flops": "vanilla"}, "cannot match the FLOPs of 'vanilla': choose dilated"),
    ],
)
def test_options_that_do_not_fit_say_so(options: dict, says: str) -> None:
    with pytest.raises(ValueError, match=says) as error:
        get_implementation("sparse").pattern(AttentionShape(4096), options)
    assert "\n" not in str(error.value)


def test_a_window_of_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="window must be at least 1 token, not 0"):
        get_implementation("sliding-window").pattern(AttentionShape(4096), {"window": 0})
