"""What ``longbench verify`` found, as text and as JSON."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from longbench_cli.present.series import format_options
from longbench_cli.present.units import count
from longbench_cli.sweep.axes import format_length
from longbench_cli.sweep.case import Case

if TYPE_CHECKING:
    from longbench_cli.measure.checks.report import Report

_WORDS = {"passed": "passed", "failed": "FAILED", "not-applicable": "does not apply"}
_NAME_WIDTH = 18
_WORD_WIDTH = 15


def as_json(report: Report) -> dict[str, Any]:
    """Plain values, for ``--json``."""
    return {
        "impl": report.case.impl,
        "case": report.case.model_dump(by_alias=True, exclude={"impl", "pass_"}),
        "passed": not report.failed,
        "checks": [
            {"name": result.name, "outcome": result.outcome, "detail": result.detail} for result in report.results
        ],
    }


def as_lines(report: Report) -> Iterator[str]:
    """The case, then a line a check."""
    yield _title(report.case)
    for result in report.results:
        yield f"  {_WORDS[result.outcome]:{_WORD_WIDTH}} {result.name:{_NAME_WIDTH}} {result.detail}"


def summary(reports: Sequence[Report]) -> Iterator[str]:
    """How many checks passed, and what failed where."""
    results = [result for report in reports for result in report.results]
    counts = {word: sum(result.outcome == outcome for result in results) for outcome, word in _COUNTED.items()}
    yield ", ".join(f"{count} {word}" for word, count in counts.items())
    for report in reports:
        if report.failed:
            yield f"FAILED {_title(report.case)}: {', '.join(result.name for result in report.failed)}"


_COUNTED = {"passed": "passed", "failed": "failed", "not-applicable": "do not apply"}


def _title(case: Case) -> str:
    kv = "" if case.kv_heads == case.heads else f" ({case.kv_heads} kv)"
    where = case.device if case.backend == "none" else f"{case.device} {case.backend}"
    parts = [
        "causal" if case.causal else "not causal",
        f"N = {format_length(case.seq_len)}",
        f"{count(case.heads, 'head')}{kv} of {case.head_dim}",
        f"{case.dtype} on {where}",
        format_options(case.options),
    ]
    return f"{case.impl}: {', '.join(part for part in parts if part)}"
