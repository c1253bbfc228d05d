"""Sparse and sliding-window attention as entries of the registry; their code is in ``sparse.op``."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from attention_impls.api import Implementation, Options
from attention_impls.dilated.spec import DILATED
from attention_impls.shape import AttentionShape
from attention_impls.sparse.matching import matched_stride
from attention_impls.sparse.pattern import (
    FixedPattern,
    SlidingWindowPattern,
    SparsePattern,
    StridedPattern,
    sparse_pattern,
    window_pattern,
)

DEFAULT_WINDOW = 256

NOT_PARALLEL = (
    "sequence parallelism is not defined for it here, only for dilated and vanilla; "
    "the ranks of a transformer with this attention share its batch"
)


def _dilated_pairs(shape: AttentionShape) -> int:
    return DILATED.pattern(shape, DILATED.defaults).pairs()


def _sparse(shape: AttentionShape, options: Options) -> StridedPattern | FixedPattern:
    pattern = str(options.get("pattern") or "strided")
    stride, columns, match = (options.get(name) for name in ("stride", "columns", "match_flops"))
    if match is not None:
        if match != "dilated":
            raise ValueError(f"cannot match the FLOPs of {match!r}: choose dilated")
        if stride is not None:
            raise ValueError("match_flops chooses the stride: give one of the two")
        stride = matched_stride(shape, pattern, columns, _dilated_pairs(shape))
    return sparse_pattern(shape, pattern, stride, columns)


def idle_options(options: Options) -> frozenset[str]:
    """Only the fixed pattern has summary columns."""
    return frozenset() if options.get("pattern") == "fixed" else frozenset({"columns"})


def _sparse_details(shape: AttentionShape, options: Options) -> dict[str, Any]:
    pattern = _sparse(shape, options)
    details: dict[str, Any] = {"stride": pattern.stride}
    if isinstance(pattern, FixedPattern):
        details["columns"] = pattern.columns
    if options.get("match_flops") is not None:
        details["pairs_over_dilated"] = pattern.pairs() / _dilated_pairs(shape)
    return details


def _window(shape: AttentionShape, options: Options) -> SlidingWindowPattern:
    window = options.get("window")
    return window_pattern(shape, DEFAULT_WINDOW if window is None else window)


def _window_details(shape: AttentionShape, options: Options) -> dict[str, Any]:
    return {"window": min(_window(shape, options).window, shape.seq_len)}


def _loader(pattern_of: Callable[[AttentionShape, Options], SparsePattern]) -> Callable[[], Callable[..., Any]]:
    def load() -> Callable[..., Any]:
        from attention_impls.sparse.op import attend, shape_of

        def run(q: Any, k: Any, v: Any, *, causal: bool, backend: str | None = None, **options: Any) -> Any:
            return attend(q, k, v, pattern_of(shape_of(q, k, v, causal), options), None, backend)[0]

        return run

    return load


SLIDING_WINDOW = Implementation(
    name="sliding-window",
    summary="softmax attention over the nearest tokens only",
    load=_loader(_window),
    pattern=_window,
    details=_window_details,
    defaults={"window": DEFAULT_WINDOW},
    takes_backend=True,
    not_parallel=NOT_PARALLEL,
)

SPARSE = Implementation(
    name="sparse",
    summary="the Sparse Transformer's strided or fixed pattern, O(N sqrt N)",
    load=_loader(_sparse),
    pattern=_sparse,
    details=_sparse_details,
    defaults={"pattern": "strided", "stride": None, "columns": None, "match_flops": None},
    idle=idle_options,
    takes_backend=True,
    not_parallel=NOT_PARALLEL,
)
