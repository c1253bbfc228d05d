"""A comparison as JSON, for programs."""

from __future__ import annotations

import json
import math
from dataclasses import asdict
from typing import Any, Final

from longbench_cli.analyse.comparison.types import Comparison, PointVerdict, SideInfo, exit_code
from longbench_cli.present.comparison.labels import labels_of
from longbench_cli.present.comparison.summary import advice, injected_of, kinds_of
from longbench_cli.printable import printable_json

SCHEMA: Final = 1
"""Raised when a field is renamed or removed, or changes its unit or meaning; not when one is added."""


def to_json(comparison: Comparison, *, inconclusive_fails: bool = False) -> str:
    """Everything that is known, as one object. Times are nanoseconds, sizes bytes, shares and ratios plain numbers.

    - ``schema``: :data:`SCHEMA`; ``mode``: ``"paired"`` or ``"stored"``
    - ``exit_code``: of ``longbench gate``, with ``inconclusive_fails``; ``kinds``: how many points have each verdict
    - ``identical``, ``injected``, ``warnings``, ``advice``: as of :class:`Comparison`, and what to do
    - ``injected_found``, ``injected_points``: in how many points the injected slowdown was found, of how many that the
      base measured; null where none was put in
    - ``base``, ``candidate``: ``label``, ``version``, ``commit``, ``created``, ``files``, ``environment``
    - ``points``: of each ``key``, ``label``, ``case`` and the fields of :class:`PointVerdict`; null: not known

    ``effect`` is candidate over base (above 1 is slower): ``ratio``, ``interval`` (two-sided 95%), ``lower`` (one-sided
    99%), ``upper`` (one-sided 95%). ``values`` and ``confirmation`` are ln(candidate / base), pair by pair.
    """
    labels = labels_of(comparison.points)
    injected = injected_of(comparison)
    content = {
        "schema": SCHEMA,
        "mode": comparison.mode,
        "exit_code": exit_code(comparison.points, inconclusive_fails=inconclusive_fails),
        "inconclusive_fails": inconclusive_fails,
        "kinds": kinds_of(comparison),
        "identical": comparison.identical,
        "injected": comparison.injected,
        "injected_found": len(injected[0]) if injected else None,
        "injected_points": len(injected[0]) + len(injected[1]) if injected else None,
        "warnings": comparison.warnings,
        "advice": advice(comparison),
        "base": _side(comparison.base),
        "candidate": _side(comparison.candidate),
        "points": [_point(point, labels[point.key]) for point in comparison.points],
    }
    return printable_json(json.dumps(_known(content), ensure_ascii=False, allow_nan=False, indent=1)) + "\n"


def _side(side: SideInfo) -> dict[str, Any]:
    return {name: getattr(side, name) for name in ("label", "version", "commit", "created", "files", "environment")}


def _point(point: PointVerdict, label: str) -> dict[str, Any]:
    case = point.case.model_dump(mode="json", by_alias=True)
    fields = {name: _plain(getattr(point, name)) for name in PointVerdict.__dataclass_fields__ if name != "case"}
    return {"key": fields.pop("key"), "label": label, **fields, "case": case}


def _plain(value: Any) -> Any:
    if isinstance(value, tuple):
        return [_plain(one) for one in value]
    return asdict(value) if hasattr(value, "__dataclass_fields__") else value


def _known(value: Any) -> Any:
    """``value`` with null for what is no number: an interval of two pairs, say, may have no end."""
    if isinstance(value, dict):
        return {name: _known(one) for name, one in value.items()}
    if isinstance(value, list | tuple):
        return [_known(one) for one in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
