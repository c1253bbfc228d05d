"""The levels of a hierarchical transformer: what each compresses, how far it sees, how long it is.

A level of compression c and stride s has a row every s tokens; row i is made of the c tokens that end with
token i * s, and tokens i * s to i * s + s - 1 read it: never one before the last it is made of. Rows that
share no token are c / s apart, so attention runs over every (c / s)-th row: the level has c / s phases,
and a phase of N tokens ceil(N / c) rows. No torch here: planning asks.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from attention_impls.shape import AttentionShape

DEFAULT_LEVELS = ("1:1:256", "4:4:256", "16:16:256")
"""Windows of 256 rows at 1, 4 and 16 tokens a row: reaching back 256, 1024 and 4096 tokens a layer."""

FULL = "full"
FORM = "compression:stride:window[:dim[:heads[:dim_head[:ff_mult]]]]"


def window_pairs(rows: int, window: int | None) -> int:
    """Pairs of a causal window over ``rows`` rows: row t sees rows t - window + 1 to t."""
    width = rows if window is None else min(window, rows)
    return rows * width - width * (width - 1) // 2


@dataclass(frozen=True, slots=True)
class Level:
    """One view of the token sequence and the transformer block that runs on it.

    Attributes:
        compression: tokens that a row is made of, c.
        stride: tokens from one row to the next, s; divides ``compression``.
        window: rows of its phase that a row sees, itself included; None for all before it, at any length
            (with XPOS and an RMS norm where windows have rotary positions and a layer norm: the published
            model's two kinds of attention); 0 for no attention, only a shift by one row and the feed-forward.
        dim: features of a row, at least 2 (the shift moves half of them).
        heads: attention heads.
        dim_head: features of a head, even (rotary positions turn pairs).
        ff_mult: width inside the feed-forward over ``dim``.
    """

    compression: int
    stride: int
    window: int | None
    dim: int
    heads: int
    dim_head: int
    ff_mult: int = 4

    def __post_init__(self) -> None:
        least = {"compression": 1, "stride": 1, "window": 0, "dim": 2, "heads": 1, "dim_head": 2, "ff_mult": 1}
        for name, low in least.items():
            value = getattr(self, name)
            if value is None and name == "window":
                continue
            if not isinstance(value, int) or isinstance(value, bool) or value < low:
                raise ValueError(f"{self._called()}: {name} must be a whole number of at least {low}, not {value!r}")
        if self.compression % self.stride:
            raise ValueError(f"{self._called()}: the stride must divide the compression")
        if self.dim_head % 2:
            raise ValueError(f"{self._called()}: dim_head must be even, since rotary positions turn pairs of features")

    def _called(self) -> str:
        return f"level {self.word}"

    @property
    def word(self) -> str:
        """The level as :func:`parse_levels` reads it, nothing left out."""
        window = FULL if self.window is None else self.window
        return f"{self.compression}:{self.stride}:{window}:{self.dim}:{self.heads}:{self.dim_head}:{self.ff_mult}"

    @property
    def inner(self) -> int:
        """Features of all heads together."""
        return self.heads * self.dim_head

    @property
    def hidden(self) -> int:
        """Width inside the feed-forward."""
        return self.dim * self.ff_mult

    @property
    def phases(self) -> int:
        """Interleaved sequences that attention keeps apart."""
        return self.compression // self.stride

    def rows(self, tokens: int) -> int:
        """Rows at a sequence of ``tokens``."""
        return -(-tokens // self.stride)

    def length(self, tokens: int) -> int:
        """Rows of its longest phase: the most that a row could see."""
        return -(-tokens // self.compression)

    def full_attention(self, tokens: int) -> bool:
        """Whether every row sees all before it in its phase: the window is the level's length or more."""
        return self.window is None or self.window >= self.length(tokens)

    def pairs(self, tokens: int, *, dense: bool = False) -> int:
        """(head, row, row) pairs of its attention in one layer; ``dense``: were every window the whole phase."""
        window = None if dense and self.window != 0 else self.window
        short, longer = divmod(self.rows(tokens), self.phases)
        one_head = longer * window_pairs(short + 1, window) + (self.phases - longer) * window_pairs(short, window)
        return self.heads * one_head


def parse_levels(words: Sequence[str] | None, shape: AttentionShape, ff_mult: int) -> tuple[Level, ...]:
    """Read levels, each ``compression:stride:window[:dim[:heads[:dim_head[:ff_mult]]]]``.

    What a word leaves out is the shape's: dim is heads * head_dim. ``window`` is a number of rows, or
    ``full``, or 0. None stands for :data:`DEFAULT_LEVELS`.

    Raises:
        ValueError: a word that is not of that form, or whose numbers do not fit.
    """
    return tuple(_parse(word, shape, ff_mult) for word in (DEFAULT_LEVELS if words is None else words))


def _parse(word: str, shape: AttentionShape, ff_mult: int) -> Level:
    fields = str(word).split(":")
    numbers = [None if place == 2 and field == FULL else _number(field, word) for place, field in enumerate(fields)]
    if not 3 <= len(fields) <= 7:
        raise ValueError(f"level {word!r} has {len(fields)} fields: write {FORM}")
    left_out = (shape.heads * shape.head_dim, shape.heads, shape.head_dim, ff_mult)
    return Level(*numbers, *left_out[len(fields) - 3 :])  # type: ignore[arg-type]  # only the window may be None


def _number(field: str, word: str) -> int:
    if not (field.isascii() and field.isdigit()):
        raise ValueError(f"level {word!r}: {field!r} is not a whole number (or, as the window, {FULL!r}): write {FORM}")
    return int(field)
