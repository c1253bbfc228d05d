"""Comparisons as a gate leaves them, built from their own types: what they look like needs no rule and no run."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from sample_runs import ENVIRONMENT, make_case

from longbench_cli.analyse.comparison.types import (
    Comparison,
    Difference,
    Effect,
    MemoryChange,
    PointVerdict,
    Side,
    SideInfo,
    Threshold,
)


def side_info(label: str = "main", **changes: Any) -> SideInfo:
    fields: dict[str, Any] = {
        "label": label,
        "version": "0.1.0",
        "commit": "0f1e2d3c4b5a69788796a5b4c3d2e1f00f1e2d3c",
        "created": "2025-01-02T03:04:05Z",
        "files": (f"gate/{label}.jsonl",),
        "environment": ENVIRONMENT,
    }
    return SideInfo(**(fields | changes))


def effect_of(values: Sequence[float], half: float = 0.004) -> Effect:
    """An effect around the mean of these d, whose interval is ``half`` wide on each side."""
    middle = sum(values) / len(values)
    ends = math.exp(middle - half), math.exp(middle + half)
    return Effect(math.exp(middle), ends, ends[0] * 0.999, ends[1])


def paired(
    kind: str = "ok",
    values: Sequence[float] = (0.001, -0.002, 0.003, 0.0, 0.001, -0.001),
    confirmation: Sequence[float] = (),
    *,
    impl: str = "dilated",
    length: int = 8192,
    base_ns: float = 1.25e7,
    case: dict[str, Any] | None = None,
    **changes: Any,
) -> PointVerdict:
    """A point that pairs decided; each has another base time, and a candidate that is its d away."""
    planned = make_case(impl, length, **(case or {}))
    pairs = [*values, *confirmation]
    bases = [base_ns * (1 + 0.02 * math.sin(index)) for index in range(max(6, len(pairs)))]
    fields: dict[str, Any] = {
        "key": planned.key,
        "case": planned,
        "kind": kind,
        "reason": f"the reason of {kind}",
        "mode": "paired",
        "base": Side("ok", None, "sdpa-flash", tuple(bases), 64 << 20),
        "candidate": Side(
            "ok",
            None,
            "sdpa-flash",
            tuple(b * math.exp(d) for b, d in zip(bases, pairs or [0.0] * 6, strict=True)),
            64 << 20,
        ),
        "threshold": Threshold(0.03, "3% on one device"),
        "effect": effect_of(pairs) if pairs else None,
        "values": tuple(values),
        "confirmation": tuple(confirmation),
        "detectable": 0.0125,
        "memory": MemoryChange(64 << 20, 64 << 20, "ok"),
        "steps": ("6 pairs", "the upper bound is below the threshold"),
    }
    return PointVerdict(**(fields | changes))


SLOWER = (0.061, 0.058, 0.064, 0.055, 0.066, 0.060)
CONFIRMED = (0.059, 0.062, 0.057, 0.063, 0.060, 0.058)


def of_every_kind() -> Comparison:
    """A gate with a point of each kind."""
    slower = paired("regression", SLOWER, CONFIRMED, reason="6.2% slower, confirmed by 6 fresh pairs")
    bigger = paired(
        "regression",
        length=16384,
        metric="memory",
        reason="peak memory +37.5% (24.0 MiB)",
        memory=MemoryChange(64 << 20, 88 << 20, "regression"),
    )
    gone = paired(
        "regression",
        impl="vanilla",
        length=65536,
        metric="status",
        reason="the candidate: out of memory (needs 9 GiB); the base: measured",
        candidate=Side("oom", "needs 9 GiB"),
        **_nothing(),
    )
    wrong = paired(
        "incorrect",
        impl="vanilla",
        reason="the candidate is incorrect: row 17 differs by 0.21",
        metric="status",
        candidate=Side("incorrect", "row 17 differs by 0.21"),
        **_nothing(),
    )
    noisy = paired(
        "inconclusive", (0.05, -0.04, 0.06, -0.03, 0.07, -0.02, 0.05, -0.04, 0.06, -0.03, 0.07, -0.02), length=32768
    )
    unlike = paired(
        "not-comparable",
        length=4096,
        reason="threads: base 2, candidate 1",
        differences=(Difference("threads", "2", "1"),),
        steps=("differs: threads: base 2, candidate 1",),
        **_nothing(),
    )
    faster = paired("improvement", tuple(-d for d in SLOWER), length=2048)
    new = paired("new", length=1024, base=Side("missing", "not in its plan"), metric="status", **_nothing())
    return comparison(slower, bigger, gone, wrong, noisy, unlike, faster, new, paired(impl="vanilla", length=1024))


def _nothing() -> dict[str, Any]:
    """No times were compared."""
    return {"threshold": None, "values": (), "detectable": None, "memory": None}


def comparison(*points: PointVerdict, **changes: Any) -> Comparison:
    fields: dict[str, Any] = {
        "mode": "paired",
        "base": side_info("main"),
        "candidate": side_info("mine", commit="fedcba9876543210"),
        "points": points,
    }
    return Comparison(**(fields | changes))


def stored(*points: PointVerdict, **changes: Any) -> Comparison:
    """Runs that are no sides of one gate; the points are given as pairs and lose them."""
    own = [replace(point, mode="stored", values=(), confirmation=()) for point in points]
    return comparison(*own, **({"mode": "stored"} | changes))
