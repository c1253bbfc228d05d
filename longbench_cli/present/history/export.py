"""A history as Markdown, and as JSON for other programs."""

from __future__ import annotations

import json
from typing import Any

from longbench_cli.analyse.history import Change, Event, Observation, Series
from longbench_cli.present.export import escape_markdown, markdown_table
from longbench_cli.present.history.view import HistoryView
from longbench_cli.printable import printable_json, printable_lines
from longbench_cli.record.schema import MeasuredPoint


def to_markdown(view: HistoryView) -> str:
    """The headline, what changed, and a row a series."""
    lines = [f"**{escape_markdown(view.headline)}**", "", *(f"- {escape_markdown(line)}" for line in view.lines)]
    return printable_lines("\n".join([*lines, "", *markdown_table(view.table()), ""]))


def to_json(view: HistoryView) -> str:
    """``{"min_effect", "series": [{"name", "key", "fingerprint", "runs", "changes", "events", ...}]}``.

    Times are nanoseconds; ratios and ``min_effect`` shares, of which 0.03 is 3%.
    """
    content = {
        "min_effect": view.least_effect,
        "series": [_series(name, one) for name, one in zip(view.names, view.series, strict=True)],
    }
    return printable_json(json.dumps(content, ensure_ascii=False, allow_nan=False, indent=1)) + "\n"


def _series(name: str, series: Series) -> dict[str, Any]:
    return {
        "name": name,
        "key": series.key,
        "fingerprint": dict(series.fingerprint),
        "differs": series.differs,
        "newest_ratio": series.newest,
        "runs": [_run(run) for run in series.runs],
        "changes": [_change(one) for one in series.changes],
        "events": [_event(one) for one in series.events],
    }


def _run(run: Observation) -> dict[str, Any]:
    point = run.point
    latency = point.latency
    return {
        **_identity(run),
        "status": point.status,
        "reason": point.reason,
        "backend": point.case.backend,
        "median_ns": run.median_ns,
        "ci95_ns": latency.ci95_ns if latency else None,
        "sessions": latency.sessions if latency else None,
        "verdict": point.verdict.kind if isinstance(point, MeasuredPoint) and point.verdict else None,
    }


def _change(change: Change) -> dict[str, Any]:
    return {
        "before": _identity(change.last),
        "after": _identity(change.first),
        "ratio": change.ratio,
        "ratio_95": change.interval,
        "before_ns": change.before.median_ns,
        "after_ns": change.after.median_ns,
        "runs_before": len(change.before.runs),
        "runs_after": len(change.after.runs),
    }


def _event(event: Event) -> dict[str, Any]:
    return {
        "what": event.what,
        "was": event.was,
        "now": event.now,
        "reason": event.first.point.reason,
        "before": _identity(event.last),
        "after": _identity(event.first),
    }


def _identity(run: Observation) -> dict[str, Any]:
    return {
        "run_id": run.run.header.run_id,
        "file": str(run.run.path),
        "created": run.run.header.created,
        "commit": run.commit,
    }
