"""A stride for equal work: comparing patterns is fair where they see as many pairs."""

from __future__ import annotations

from math import sqrt

from attention_impls.shape import AttentionShape
from attention_impls.sparse.pattern import DEFAULT_COLUMNS, sparse_pattern


def matched_stride(shape: AttentionShape, pattern: str, columns: int | None, pairs: int) -> int:
    """The stride at which ``pattern`` sees as nearly ``pairs`` pairs as one step of the stride allows.

    Of the two strides that fit, a short one with many columns and a long one with few, this is the long
    one: its steps are finer. Work is least where window and columns balance, at a stride of sqrt(N / 2)
    (strided) or sqrt(columns * N) (fixed); that is the answer where even it sees more than ``pairs``.

    Raises:
        ValueError: as :func:`~attention_impls.sparse.pattern.sparse_pattern`.
    """

    def seen(stride: int) -> int:
        return sparse_pattern(shape, pattern, stride, columns).pairs()

    n = shape.seq_len
    balance = n / 2 if pattern == "strided" else n * (DEFAULT_COLUMNS if columns is None else columns)
    low, high = min(n, max(1, round(sqrt(max(balance, 0))))), n
    if seen(low) >= pairs:
        return low
    if seen(high) <= pairs:
        return high
    while high - low > 1:
        middle = (low + high) // 2
        if seen(middle) <= pairs:
            low = middle
        else:
            high = middle
    return min(low, high, key=lambda stride: abs(seen(stride) - pairs))
