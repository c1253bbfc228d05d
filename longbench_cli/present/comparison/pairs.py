"""What each pair of a point was to its verdict: looked at, run to confirm a suspicion, or far off the others."""

from __future__ import annotations

import math
from statistics import median
from typing import Final

from longbench_cli.analyse.comparison.rule import judge_pairs
from longbench_cli.analyse.comparison.types import PointVerdict

_FAR: Final = 10.0
"""So many robust standard deviations from the median are far."""

_LEAST_SPREAD: Final = 0.005
"""Where the pairs agree better than this, it counts as their spread."""

_NORMAL: Final = 1.4826
"""Standard deviation over median absolute deviation, of normal values."""


def changes_of(point: PointVerdict) -> tuple[float, ...]:
    """d of each pair that the verdict rests on, in order; nothing of stored runs."""
    return (*point.values, *point.confirmation)


def pairs_of(point: PointVerdict) -> int:
    """Pairs that the verdict rests on; 0 of stored runs."""
    return len(point.values) + len(point.confirmation)


def confirmations_of(point: PointVerdict) -> list[range]:
    """Places (from 0) of the pairs that were run to confirm a suspicion, whether they did or not.

    The verdict counts pairs that did not confirm among those that it rests on; the rule, asked again, tells them apart.
    """
    found = {range(len(point.values), pairs_of(point))} if point.confirmation else set()
    if point.threshold:
        trail = judge_pairs(changes_of(point), math.log1p(point.threshold.share)).trail
        found |= {range(step.first - 1, step.first - 1 + len(step.look.values)) for step in trail if step.first > 1}
    return sorted(found, key=lambda places: places.start)


def far_off(point: PointVerdict) -> list[int]:
    """Places (from 0) of the pairs that something hit: their change is far from that of most."""
    d = changes_of(point)
    if not d:
        return []
    middle = median(d)
    spread = max(_LEAST_SPREAD, _NORMAL * median(abs(value - middle) for value in d))
    return [place for place, value in enumerate(d) if abs(value - middle) > _FAR * spread]
