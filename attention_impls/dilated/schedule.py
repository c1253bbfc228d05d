"""Schedules: which segment lengths and dilation rates a dilated attention uses at a length.

LongNet (Ding et al., 2023, arXiv:2307.02486) mixes branches (w_i, r_i): segments of w_i tokens of
which every r_i-th is kept. The named schedules are the paper's.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

Branch = tuple[int, int]
"""(segment length w, dilation rate r)."""

GEOMETRIC_BASE = 2048
GEOMETRIC_RATIO = 4
LM_BRANCHES: tuple[Branch, ...] = ((2048, 1), (4096, 2), (8192, 4), (16384, 6), (32768, 12))
SCHEDULES = ("geometric", "lm", "runtime")


@dataclass(frozen=True, slots=True)
class Schedule:
    """The branches of a dilated attention, in order."""

    branches: tuple[Branch, ...]

    @classmethod
    def of(cls, segments: Sequence[int], dilations: Sequence[int]) -> Schedule:
        """Pair up segment lengths and dilation rates.

        Raises:
            ValueError: the two differ in length, are empty, or hold a number below 1.
        """
        if len(segments) != len(dilations):
            raise ValueError(
                f"segments and dilations must pair up: {len(segments)} segment lengths, {len(dilations)} dilation rates"
            )
        if not segments:
            raise ValueError("at least one segment length and dilation rate is needed")
        for name, values in (("segment length", segments), ("dilation rate", dilations)):
            for value in values:
                if value < 1:
                    raise ValueError(f"a {name} must be at least 1, not {value}")
        return cls(tuple(zip(segments, dilations, strict=True)))

    @property
    def segments(self) -> list[int]:
        return [w for w, _ in self.branches]

    @property
    def dilations(self) -> list[int]:
        return [r for _, r in self.branches]


def named_schedule(name: str, seq_len: int, world_size: int = 1) -> Schedule:
    """The branches of a named schedule at ``seq_len``.

    * ``geometric``: w_i = 2048 * 4^i up to N, r_i = 4^i (the paper's eq. for w and alpha = 4).
    * ``lm``: w = 2048, 4096, 8192, 16384, 32768 and r = 1, 2, 4, 6, 12 (its language models).
    * ``runtime``: w = 2048, tokens a device, N and r = w / 2048 (its runtime figure).

    Raises:
        ValueError: an unknown name.
    """
    if name == "geometric":
        branches = [(GEOMETRIC_BASE, 1)]
        while (w := branches[-1][0] * GEOMETRIC_RATIO) <= seq_len:
            branches.append((w, branches[-1][1] * GEOMETRIC_RATIO))
        return Schedule(tuple(branches))
    if name == "lm":
        return Schedule(LM_BRANCHES)
    if name == "runtime":
        local = -(-seq_len // world_size)
        lengths = sorted({GEOMETRIC_BASE, max(local, GEOMETRIC_BASE), max(seq_len, GEOMETRIC_BASE)})
        return Schedule(tuple((w, w // GEOMETRIC_BASE) for w in lengths))
    raise ValueError(f"unknown schedule {name!r}: choose {', '.join(SCHEDULES)}")
