"""The sessions of a case as one point: what several fresh processes measured, with an interval that holds between them.

A process fixes what no number of iterations in it averages out: where its memory lies, which
processors it got, what the machine did that minute. So the unit of repetition is the process
(Kalibera and Jones, Rigorous Benchmarking in Reasonable Time, ISMM 2013). With the medians m_1 ... m_K
of K sessions::

    y = ln m,   interval: exp(mean(y) +- t(0.975; K - 1) sd(y) / sqrt(K))

which is Student's interval of the mean, of logarithms because such noise multiplies.
"""

from __future__ import annotations

import math
import statistics
from collections import Counter
from collections.abc import Sequence

from longbench_cli.measure.interval import quantile
from longbench_cli.measure.judge import SEVERITY, too_wide
from longbench_cli.measure.types import Latency, Memory, StoppedBy, Verdict
from longbench_cli.record.loading import RecordedPoint, Run
from longbench_cli.record.schema import FailureStatus, MeasuredPoint, UnmeasuredPoint

WORST: tuple[FailureStatus, ...] = ("incorrect", "crashed", "timeout", "oom", "unsupported", "pruned")
"""Failures, worst first."""

_TOLD = frozenset({"crashed", "timeout", "oom", "unsupported"})
"""Failures of single sessions that a measured point tells of. A pruned session was not started, by choice."""

_LIMITS: tuple[StoppedBy, ...] = ("max_time", "max_iterations", "converged")


def merged_points(run: Run) -> list[RecordedPoint]:
    """One point a key, in the order in which keys first appear; a line of a (key, session) replaces earlier ones.

    Of a key with several sessions

    - one incorrect result makes the point incorrect;
    - as many failures as measurements, or more, make it a failure, the worst of them;
    - else it is measured, and the verdict tells of sessions that failed.
    """
    precision = run.header.settings.get("precision")
    asked = precision if isinstance(precision, float) and 0 < precision < 1 else None
    return [merged(sessions, asked) for sessions in sessions_of(run).values()]


def sessions_of(run: Run) -> dict[str, list[RecordedPoint]]:
    """By key, in the order in which keys first appear, the sessions of each in their order."""
    latest: dict[str, dict[int, RecordedPoint]] = {}
    for point in run.points:
        latest.setdefault(point.key, {})[point.session if is_numbered(run) else 0] = point
    return {key: [sessions[number] for number in sorted(sessions)] for key, sessions in latest.items()}


def is_numbered(run: Run) -> bool:
    """Whether ``session`` counts fresh processes; in older files it is the number of the resumption."""
    return "sessions" in run.header.settings


def between_interval(medians: Sequence[float]) -> tuple[float, float]:
    """95% interval of the medians of at least 2 sessions, stretched to hold their median where they are skewed."""
    from scipy.special import stdtrit  # here, so that importing this module stays cheap

    count = len(medians)
    logs = [math.log(value) for value in medians]
    centre = math.fsum(logs) / count
    half = float(stdtrit(count - 1, 0.975)) * statistics.stdev(logs) / math.sqrt(count)
    middle = statistics.median(medians)
    return min(math.exp(centre - half), middle), max(math.exp(centre + half), middle)


def ran_alike(measured: Sequence[MeasuredPoint]) -> list[MeasuredPoint]:
    """Those that ran the way most did: on which back end, resident or streamed."""
    ways = Counter((point.case.backend, point.execution) for point in measured)
    way = ways.most_common(1)[0][0] if ways else None
    return [point for point in measured if (point.case.backend, point.execution) == way]


def merged(sessions: Sequence[RecordedPoint], precision: float | None) -> RecordedPoint:
    """At least one session of one key as one point; ``precision`` is the one asked for, None where it is not known."""
    if len(sessions) == 1:
        return sessions[0]
    measured = [point for point in sessions if isinstance(point, MeasuredPoint)]
    failed = [point for point in sessions if isinstance(point, UnmeasuredPoint)]
    told = [point for point in failed if point.status in _TOLD]
    if not measured or len(told) >= len(measured) or any(point.status == "incorrect" for point in failed):
        return _failure(failed, len(sessions))
    return _measured(measured, told, precision)


def _failure(failed: list[UnmeasuredPoint], sessions: int) -> UnmeasuredPoint:
    """The worst failure, and in how many sessions it was, unless it was the same in all."""
    worst = min(failed, key=lambda point: WORST.index(point.status))
    same = [point for point in failed if point.status == worst.status]
    if len(same) == sessions and len({point.reason for point in same}) == 1:
        return worst
    return worst.model_copy(update={"reason": f"in {len(same)} of {sessions} sessions: {worst.reason}"})


def _measured(measured: list[MeasuredPoint], told: list[UnmeasuredPoint], precision: float | None) -> MeasuredPoint:
    """The sessions that ran alike, as one; telemetry, timing, details and ranks are those of the one in the middle."""
    alike = ran_alike(measured)
    way = (alike[0].case.backend, alike[0].execution)
    others = [point for point in measured if (point.case.backend, point.execution) != way]
    reasons = [f"session {point.session} {point.status}: {point.reason}" for point in told]
    reasons += [
        f"session {point.session} ran another way ({point.case.backend}, {point.execution}) and is left out"
        for point in others
    ]
    middle = sorted(alike, key=lambda point: point.latency.median_ns)[(len(alike) - 1) // 2]
    latency = _latency([point.latency for point in alike]) if len(alike) > 1 else middle.latency
    checked = max(alike, key=lambda point: point.verification.max_error or 0.0)
    update = {
        "latency": latency,
        "memory": _memory([point.memory for point in alike]),
        "verification": checked.verification,
        "verdict": _verdict(alike, latency, reasons, precision),
    }
    return middle.model_copy(update=update)


def _latency(sessions: list[Latency]) -> Latency:
    medians = [latency.median_ns for latency in sessions]
    times = [time for latency in sessions for time in latency.iterations_ns]
    middle = statistics.median(medians)
    # A clock too coarse to see the pass says 0, which has no logarithm.
    low, high = between_interval(medians) if min(medians) > 0 else (min(medians), max(medians))
    worths = [latency.effective_iterations for latency in sessions]
    return Latency(
        iterations_ns=times,
        median_ns=middle,
        ci95_ns=(low, high),
        mean_ns=sum(times) / len(times),
        p95_ns=quantile(sorted(times), 0.95),
        noise=(high - low) / 2 / middle if middle > 0 else 0.0,
        stopped_by=min((latency.stopped_by for latency in sessions), key=_LIMITS.index),
        effective_iterations=None if None in worths else sum(worth for worth in worths if worth is not None),
        interval="between",
        sessions=len(sessions),
        omitted=sum(latency.omitted for latency in sessions),
    )


def _memory(sessions: list[Memory]) -> Memory:
    """The most of each that any session took."""
    names = Memory.model_fields
    values = {name: [getattr(memory, name) for memory in sessions] for name in names}
    return Memory(**{name: max((v for v in found if v is not None), default=None) for name, found in values.items()})


def _verdict(
    alike: list[MeasuredPoint], latency: Latency, reasons: list[str], precision: float | None
) -> Verdict | None:
    """The worst kind of all sessions; noisy at least if a session failed or the interval between them is too wide.

    None where no session was judged (an older file) and nothing else is to be said.
    """
    verdicts = [(point.session, point.verdict) for point in alike if point.verdict is not None]
    if precision is not None and latency.interval == "between" and (latency.noise or 0.0) > precision:
        reasons = [f"between sessions {too_wide(latency.noise or 0.0, precision)}", *reasons]
    if not verdicts and not reasons:
        return None
    kinds = {verdict.kind for _, verdict in verdicts} | ({"noisy"} if reasons else set())
    said: dict[str, list[int]] = {}
    for session, verdict in verdicts:
        for reason in verdict.reasons:
            said.setdefault(reason, []).append(session)
    return Verdict(
        kind=min(kinds, key=SEVERITY.index),
        reasons=[*reasons, *(f"{_named(numbers)}: {reason}" for reason, numbers in said.items())],
    )


def _named(sessions: Sequence[int]) -> str:
    return f"session{'' if len(sessions) == 1 else 's'} {', '.join(map(str, sessions))}"
