"""The rule's decision on one point, as a line for people."""

from __future__ import annotations

from longbench_cli.analyse.comparison.rule import Decision
from longbench_cli.analyse.comparison.types import Threshold


def reason_of(decision: Decision, threshold: Threshold) -> str:
    """How much slower or faster, how sure that is, and the threshold it was held against."""
    used = len(decision.values) + len(decision.confirmation)
    effect = decision.effect
    if effect is None:
        return f"{_count(used)} so far, {decision.wants} more wanted"
    change = effect.ratio - 1
    words = f"{abs(change):.1%} {'slower' if change > 0 else 'faster'}" if abs(change) >= 0.0005 else "as fast"
    low, high = (f"{value - 1:+.1%}" for value in effect.interval)
    held = f"threshold {threshold.share:.1%}"
    if decision.wants:
        return f"{words} after {_count(used)} (from {low} to {high}), {held}: {decision.wants} more wanted"
    if decision.kind in ("regression", "improvement"):
        fresh = _count(len(decision.confirmation), "fresh pair")
        return f"{words} (from {low} to {high}), {held}, confirmed by {fresh}"
    if decision.kind == "ok":
        return f"{words}, at most {max(0.0, effect.upper - 1):.1%} slower, {held}"
    doubt = " and fresh pairs did not confirm it" if decision.confirmation else ""
    return f"{words} (from {low} to {high}), {held}: not decided by {_count(used)}{doubt}"


def _count(number: int, what: str = "pair") -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"
