"""What is said of curves over ranks: what more ranks gain, and where that means nothing."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from longbench_cli.analyse.parallel_scaling import shared_cores
from longbench_cli.measure.judge import percent
from longbench_cli.present.rank_series import RankSeries, format_speedup
from longbench_cli.present.units import count

if TYPE_CHECKING:
    from longbench_cli.record.journal import Run


def rank_sentences(series: Sequence[RankSeries]) -> list[str]:
    """One line a variant and way, of its largest problem: what its most ranks gain over its fewest."""
    largest: dict[tuple[str, str], RankSeries] = {}
    for one in series:
        known = largest.get((one.label, one.curve.way))
        if known is None or one.size > known.size:
            largest[one.label, one.curve.way] = one
    return [_sentence(one) for one in largest.values()]


def _sentence(series: RankSeries) -> str:
    least, most = series.curve.points[0], series.curve.widest
    over = f"on {most.ranks} ranks over {least.ranks}"
    if most.speedup is not None:
        said = f"{format_speedup(most.speedup)} as fast {over}, efficiency {percent(most.efficiency)}"
    else:
        work = "" if most.work_efficiency is None else f", of the work {percent(most.work_efficiency)}"
        said = f"weak efficiency {percent(most.efficiency)}{work} {over}"
    return f"{series.label} at {series.problem}: {said}{_cost(series)}"


def _cost(series: RankSeries) -> str:
    told = series.curve.widest.point.communication
    if told is None or told.overlap is None:
        return ""
    share = min(1.0, told.exposed_ns / told.full_ns) if told.full_ns > 0 else 0.0
    return f"; {percent(share)} of its time is communication that nothing hides ({percent(told.overlap)} is hidden)"


def core_notes(runs: Sequence[Run]) -> list[str]:
    """A line where ranks shared the cores of a processor: their speed-up then says nothing."""
    found = {shared for run in runs if (shared := shared_cores(run)) is not None}
    return [
        f"{count(one.ranks, 'rank')} with {count(one.threads, 'thread')} in all shared {count(one.cores, 'core')}: "
        "speed-up and efficiency over ranks mean nothing there, since one rank has all cores already; what is "
        "exchanged, and that results agree, holds anywhere"
        for one in sorted(found, key=lambda one: (one.ranks, one.threads, one.cores))
    ]
