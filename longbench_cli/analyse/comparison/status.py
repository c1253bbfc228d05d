"""A point that failed on one side: what that says of the candidate."""

from __future__ import annotations

from typing import Final

from longbench_cli.analyse.comparison.types import Kind, Side
from longbench_cli.execute.budget import BUDGET
from longbench_cli.record.schema import BAD_STATUSES

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


def status_change(base: Side, candidate: Side) -> tuple[Kind, str] | None:
    """What the statuses alone say, and why, on one line; None where both sides are measured.

    A failure, or a point that is missing, where the base was measured is a regression, and so is a crash or a timeout
    where the base failed in a way that a run counts as a result (oom, unsupported). The same failure on both sides is
    nothing new, but for a wrong result, which no gate lets pass. A pruned point was never started, which says nothing
    of the code: it is comparable only with one that was pruned too, and not for want of time.
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
    if _out_of_time(base) or _out_of_time(candidate):
        return "not-comparable", f"was measured on neither side: {_said(candidate)}"
    return "ok", f"on both sides {_said(candidate)}"


def _kind(base: str, candidate: str) -> Kind:
    if candidate == "ok":
        return "improvement"
    worse = candidate in BAD_STATUSES and base not in BAD_STATUSES
    return "regression" if base == "ok" or candidate == "missing" or worse else "ok"


def _said(side: Side) -> str:
    return WORDS[side.status] + (f" ({side.reason})" if side.reason else "")


def _out_of_time(side: Side) -> bool:
    return side.status == "pruned" and (side.reason or "").startswith(BUDGET)
