"""A point that failed on one side: what that says of the candidate."""

from __future__ import annotations

from typing import Final

from longbench_cli.analyse.comparison.types import Kind, Side
from longbench_cli.analyse.sessions import WORST
from longbench_cli.execute.budget import BUDGET

WORDS: Final = {
    "ok": "measured",
    "oom": "out of memory",
    "timeout": "timed out",
    "crashed": "crashed",
    "incorrect": "incorrect",
    "unsupported": "unsupported",
    "pruned": "pruned",
    "missing": "missing",
}
"""A status as people say it."""

_UNKNOWN: Final = frozenset({"crashed", "timeout", "missing"})
"""On both sides: what hit the base may hide what the candidate would have done."""


def status_change(base: Side, candidate: Side) -> tuple[Kind, str] | None:
    """What the statuses alone say, and why, on one line; None where both sides are measured.

    A failure where the base was measured is a regression, and so is a point that is missing. Where both failed, a
    worse failure of the candidate is a regression and a milder one is ok, in the order incorrect, crashed, timed out,
    out of memory, unsupported. The same limit on both sides (out of memory, unsupported) is nothing new; the same
    crash or timeout compares nothing; a wrong result no gate lets pass. A pruned point was never started, which says
    nothing of the code: it is comparable only with one that was pruned too, and not for want of time.
    """
    before, now = _said(base), _said(candidate)
    if candidate.status == "incorrect":
        return "incorrect", f"the candidate is {now}; the base: {before}"
    if base.status == candidate.status:
        return None if base.status == "ok" else _alike(base, candidate)
    if base.status == "missing":
        return "new", f"only in the candidate: {now}"
    if "pruned" in (base.status, candidate.status):
        which, how = ("base", before) if base.status == "pruned" else ("candidate", now)
        return "not-comparable", f"was not measured on one side: the {which} was {how}"
    return _kind(base.status, candidate.status), f"the candidate: {now}; the base: {before}"


def _alike(base: Side, candidate: Side) -> tuple[Kind, str]:
    if candidate.status in _UNKNOWN or _out_of_time(base) or _out_of_time(candidate):
        return "not-comparable", f"measured on neither side: {_said(candidate)}"
    return "ok", f"on both sides {_said(candidate)}"


def _kind(base: str, candidate: str) -> Kind:
    if candidate == "ok":
        return "improvement"
    if base == "ok" or candidate == "missing":
        return "regression"
    return "regression" if WORST.index(candidate) < WORST.index(base) else "ok"


def _said(side: Side) -> str:
    return WORDS[side.status] + (f" ({side.reason})" if side.reason else "")


def _out_of_time(side: Side) -> bool:
    return side.status == "pruned" and (side.reason or "").startswith(BUDGET)
