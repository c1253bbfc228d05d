"""The HTML report of runs: what was found, the curves, and every point."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from longbench_cli.analyse.sessions import merged_points
from longbench_cli.present.export import to_csv
from longbench_cli.present.facts import command_line, flatten, machine_of, run_facts
from longbench_cli.present.figures import memory_figure, runtime_figure, throughput_figure
from longbench_cli.present.findings import sentences
from longbench_cli.present.html_table import lay_out
from longbench_cli.present.page import render_page
from longbench_cli.present.points_table import points_table
from longbench_cli.present.rank_section import for_page, rank_section
from longbench_cli.present.series import Series, build_series, run_label, title_of
from longbench_cli.present.tables import fits_table
from longbench_cli.present.trust import is_doubtful, kinds_of
from longbench_cli.present.units import format_fixed
from longbench_cli.record.schema import dump_line

if TYPE_CHECKING:
    from longbench_cli.record.journal import Run


def render_report(runs: Sequence[Run]) -> str:
    """The report of ``runs`` as a whole HTML document."""
    series, points = build_series(runs), points_table(runs)
    ranks, rank_figures = for_page(rank_section(runs), first_place=len(series))
    return render_page(
        "report.html.j2",
        _data(runs, series, rank_figures),
        title=title_of(series),
        findings=[_finding(one) for one in series],
        statuses=_statuses(runs),
        warnings=[warning for run in runs for warning in run.warnings],
        ranks=ranks,
        fits=lay_out(fits_table(series)),
        points=lay_out(points),
        common=points.common,
        doubtful=any(is_doubtful(point) for one in series for point in one.curve.points),
        runs=[_run(run, runs) for run in runs],
    )


def _data(runs: Sequence[Run], series: Sequence[Series], rank_figures: dict[str, Any]) -> dict[str, Any]:
    """What the page's script reads: the figures, and the files that can be downloaded."""
    return {
        "figures": {
            "runtime": runtime_figure(series).to_plotly_json(),
            "actual": throughput_figure(series, "actual").to_plotly_json(),
            "dense": throughput_figure(series, "dense").to_plotly_json(),
            "memory": memory_figure(series).to_plotly_json(),
            **rank_figures,
        },
        "files": [*(_jsonl(run) for run in runs), to_csv(runs)],
    }


def _jsonl(run: Run) -> str:
    return "".join(f"{dump_line(line)}\n" for line in (run.header, *run.points))


def _finding(series: Series) -> dict[str, Any]:
    fit = series.fit
    return {
        "label": series.label,
        "color": series.color,
        "dash": series.dash,
        "exponent": format_fixed(fit.exponent, 2) if fit else None,
        "sentences": sentences(series),
    }


def _statuses(runs: Sequence[Run]) -> list[tuple[str, int]]:
    """How many points came to each status, and how many of the measured ones are not trusted."""
    points = [point for run in runs for point in merged_points(run)]
    return [*Counter[str](point.status for point in points).most_common(), *kinds_of(points)]


def _run(run: Run, runs: Sequence[Run]) -> dict[str, Any]:
    return {
        "label": run_label(run, runs),
        "facts": run_facts(run),
        "machine": machine_of(run),
        "created": run.header.created,
        "version": run.header.version,
        "command": command_line(run),
        "environment": flatten(run.header.environment),
        "settings": flatten(run.header.settings),
        "filename": f"{run.path.stem}.jsonl",
    }
