"""What a stream may take of the memory that is free: how long its chunks are, and how many rows it may keep."""

from __future__ import annotations

from longbench_cli.sweep.case import Case

CHUNK_SHARE = 16
"""A chunk's tensors take one part in this many of the free memory."""

KEPT_SHARE = 8
"""The rows that span chunks take at most one part in this many."""

_TENSORS = {"fwd": 8, "bwd": 16, "fwd+bwd": 16}
"""Tensors like q alive at once in a chunk: inputs, results, a dilated branch's copies of them."""

_KEPT_TENSORS = 6


def stream_limits(case: Case, free_bytes: int) -> tuple[int, int]:
    """Most tokens of a chunk, and most rows (of head_dim features) kept of what spans chunks."""
    row_bytes = case.head_dim * case.element_bytes
    tokens = max(1, free_bytes // CHUNK_SHARE // (case.heads * row_bytes * _TENSORS[case.pass_]))
    return tokens, free_bytes // KEPT_SHARE // (row_bytes * _KEPT_TENSORS)
