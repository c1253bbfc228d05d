"""The rule for sessions that did not take turns: Welch on the logarithms of their medians, and a margin."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from typing import Final

from longbench_cli.analyse.comparison.threshold import LEAST_NS
from longbench_cli.analyse.comparison.types import Kind, Threshold
from longbench_cli.analyse.comparison.verdict import TimeVerdict
from longbench_cli.analyse.comparison.welch import LogRatio, log_ratio
from longbench_cli.sweep.units import format_seconds

LEAST_SESSIONS: Final = 8
"""Of each side: with fewer, one spoiled session decides."""

LEAST_SHARE: Final = 0.05

_WEAKER = "stored runs, weaker than taking turns"


def judge_stored(base_ns: Sequence[float], candidate_ns: Sequence[float], noise: float | None = None) -> TimeVerdict:
    """What the medians of both sides' sessions say, in nanoseconds.

    With the ratio of :func:`log_ratio` and t = ln(1 + threshold): a regression if the ratio is at least the threshold
    and the one-sided 99% lower bound is above 1; an improvement if the same is true of the base over the candidate; ok
    if the one-sided 95% upper bound is below the threshold; else inconclusive. Below :data:`LEAST_SESSIONS` of a side
    the times are not comparable, and the ratio is for information. ``noise`` is as in :func:`stored_threshold`.
    """
    counts = (
        f"{len(base_ns)} session{'' if len(base_ns) == 1 else 's'} of the base, {len(candidate_ns)} of the candidate"
    )
    if min(*base_ns, *candidate_ns) <= 0:
        return TimeVerdict("not-comparable", "the clock is too coarse to see the pass at all")
    threshold = stored_threshold(base_ns, noise)
    if min(len(base_ns), len(candidate_ns)) < LEAST_SESSIONS:
        return TimeVerdict(
            "not-comparable",
            f"{counts}: stored runs need {LEAST_SESSIONS} of each: measure with --sessions {LEAST_SESSIONS}",
            threshold=threshold,
            effect=log_ratio(base_ns, candidate_ns).effect if min(len(base_ns), len(candidate_ns)) > 1 else None,
        )
    found = log_ratio(base_ns, candidate_ns)
    limit = math.log1p(threshold.share)
    kind = _kind(found, limit)
    effect = found.effect
    # Found 9 times of 10: the estimate must pass the threshold, and its lower bound must pass 0.
    detectable = math.expm1(found.error * found.quantile(0.9) + max(limit, found.error * found.quantile(0.99)))
    return TimeVerdict(
        kind,
        f"{_words(found, kind)}, threshold {threshold.share:.1%} ({_WEAKER})",
        threshold=threshold,
        effect=effect,
        detectable=detectable,
        steps=(
            f"{counts}: {_WEAKER}",
            f"ratio {effect.ratio:.4f}, 95% interval {effect.interval[0]:.4f} to {effect.interval[1]:.4f}",
            f"Welch on the logarithms of session medians: {found.freedom:.1f} degrees of freedom",
            f"threshold {threshold.share:.2%}: {threshold.why}",
            f"one-sided bounds: above {effect.lower:.4f} (99%), below {effect.upper:.4f} (95%)",
        ),
    )


def stored_threshold(base_ns: Sequence[float], noise: float | None = None) -> Threshold:
    """The largest of 5%, the spread (sd) of the base's session medians, ``noise``, and 5 us.

    ``noise`` is the spread of ln(candidate / base) where both are the same code. The medians are above 0.
    """
    spread = statistics.stdev(map(math.log, base_ns)) if len(base_ns) > 1 else 0.0
    middle = statistics.median(base_ns)
    shares = [
        (LEAST_SHARE, "the least of stored runs"),
        (math.expm1(spread), "the spread of the base's own sessions"),
        (LEAST_NS / middle, f"{format_seconds(LEAST_NS / 1e9)} of {format_seconds(middle / 1e9)}"),
    ]
    if noise is not None:
        shares.append((noise, "the spread of pairs of the same code"))
    return Threshold(*max(shares, key=lambda one: one[0]))


def _kind(found: LogRatio, limit: float) -> Kind:
    if found.estimate >= limit and found.bound(0.01) > 0:
        return "regression"
    if found.estimate <= -limit and found.bound(0.99) < 0:
        return "improvement"
    return "ok" if found.bound(0.95) < limit else "inconclusive"


def _words(found: LogRatio, kind: Kind) -> str:
    change = math.expm1(found.estimate)
    words = f"{abs(change):.1%} {'slower' if change >= 0 else 'faster'}"
    if kind == "ok":
        return f"{words}, at most {max(0.0, math.expm1(found.bound(0.95))):.1%} slower"
    low, high = (math.expm1(found.bound(level)) for level in (0.025, 0.975))
    return f"{words} (from {low:+.1%} to {high:+.1%})"
