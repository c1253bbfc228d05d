"""One side of a comparison: of one point, and as a whole."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import replace
from typing import Final

from longbench_cli.analyse.comparison.types import Side, SideInfo
from longbench_cli.analyse.sessions import merged, ran_alike
from longbench_cli.record.history import commit_of
from longbench_cli.record.loading import RecordedPoint, Run
from longbench_cli.record.schema import MeasuredPoint

SHOWN: Final = 2
"""Sessions that must show a failure, or pairs a status, before it is believed."""


def side_of(records: Sequence[RecordedPoint], *, planned: bool = False) -> Side:
    """What one side's sessions of one key say; they are numbered from 0 in the order given, whatever runs they are of.

    One incorrect session makes the side incorrect; as many failures as measurements, or more, make it the worst of
    these failures; else it is measured, and ``notes`` tell of sessions that failed. Sessions on another back end than
    most, or streamed where most were resident, do not count. ``planned``: its run meant to measure the point, which
    is a reason for a record that is missing.
    """
    if not records:
        return Side("missing", "planned, and not recorded: the run was cut off" if planned else "not in its plan")
    sessions = [record.model_copy(update={"session": number}) for number, record in enumerate(records)]
    whole = merged(sessions, None)
    alike = ran_alike([one for one in sessions if isinstance(one, MeasuredPoint)])
    peaks = [one.memory.peak_bytes for one in alike if one.memory.peak_bytes is not None]
    verdict = whole.verdict if isinstance(whole, MeasuredPoint) else None
    return Side(
        status=whole.status,
        reason=whole.reason,
        backend=whole.case.backend,
        medians_ns=tuple(one.latency.median_ns for one in alike),
        peak_bytes=round(statistics.median(peaks)) if peaks else None,
        notes=tuple(verdict.reasons) if verdict else (),
    )


def with_failures(
    before: Side, now: Side, base: Sequence[RecordedPoint], candidate: Sequence[RecordedPoint], of: str
) -> Side:
    """The candidate's side ``now``, which fails though most of it was measured, if enough of its sessions failed.

    Enough are :data:`SHOWN`, and a larger share of its sessions than of the base's. A session that was not started
    (pruned) did not fail. ``of`` are the sessions, or pairs, that there are, in words.
    """
    failed = [[one for one in side if one.status not in ("ok", "pruned")] for side in (base, candidate)]
    more = len(failed[1]) * len(base) > len(failed[0]) * len(candidate)
    if before.status != "ok" or now.status != "ok" or len(failed[1]) < SHOWN or not more:
        return now
    status = side_of(failed[1]).status
    reason = next(one.reason for one in failed[1] if one.status == status)
    return replace(now, status=status, reason=f"in {len(failed[1])} of {of}: {reason}")


def side_info(runs: Sequence[Run], label: str) -> SideInfo:
    """Where a side of at least one run comes from; of several runs, the newest says all but the names of the files."""
    header = newest(runs).header
    return SideInfo(
        label=label,
        version=header.version,
        commit=commit_of(header),
        created=header.created,
        files=tuple(str(run.path) for run in runs),
        environment=header.environment,
    )


def newest(runs: Sequence[Run]) -> Run:
    """The run that was started last; of several that were, the last of them."""
    return max(enumerate(runs), key=lambda item: (item[1].header.created, item[0]))[1]


def label_of(runs: Sequence[Run]) -> str:
    """What tables call a side of at least one run, where the user did not say: its file, or its folder."""
    first = runs[0]
    if len(runs) == 1:
        return first.header.duet.label if first.header.duet else first.path.name
    return f"{first.path.parent.name or first.path.parent} ({len(runs)} runs)"
