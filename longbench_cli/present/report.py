"""The HTML report: one file that needs nothing else, neither a network nor a second file.

Whatever came from a run file is text to a browser. Jinja escapes it in the page, :func:`script_json`
escapes it in data, and the page's content security policy runs the two scripts known by their hash.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from longbench_cli.analyse.sessions import merged_points
from longbench_cli.present.export import to_csv
from longbench_cli.present.facts import command_line, flatten, machine_of, run_facts
from longbench_cli.present.figures import memory_figure, runtime_figure, throughput_figure
from longbench_cli.present.findings import sentences
from longbench_cli.present.html_table import lay_out
from longbench_cli.present.series import Series, build_series, run_label, title_of
from longbench_cli.present.tables import fits_table, points_table
from longbench_cli.present.trust import is_doubtful, kinds_of
from longbench_cli.present.units import format_fixed
from longbench_cli.record.schema import dump_line
from longbench_cli.resources import data_dir

if TYPE_CHECKING:
    from longbench_cli.record.journal import Run

_UNSAFE = {ord(char): f"\\u{ord(char):04x}" for char in "<>&\u2028\u2029"}


def render_report(runs: Sequence[Run]) -> str:
    """The report of ``runs`` as a whole HTML document."""
    import jinja2
    from markupsafe import Markup
    from plotly.offline import get_plotlyjs

    folder = data_dir("reports")
    series, points = build_series(runs), points_table(runs)
    # A browser hashes a script after it has made every line end a line feed.
    scripts = [text.replace("\r\n", "\n") for text in (get_plotlyjs(), _asset("report.js"))]
    template = jinja2.Environment(
        loader=jinja2.FileSystemLoader(folder), autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True
    ).get_template("report.html.j2")
    return template.render(
        title=title_of(series),
        policy=_policy(scripts),
        style=Markup(_asset("report.css")),  # noqa: S704 (our own file)
        scripts=[Markup(script) for script in scripts],  # noqa: S704 (ours and plotly's)
        data=Markup(script_json(_data(runs, series))),  # noqa: S704 (escaped for a script element)
        findings=[_finding(one) for one in series],
        statuses=_statuses(runs),
        warnings=[warning for run in runs for warning in run.warnings],
        fits=lay_out(fits_table(series)),
        points=lay_out(points),
        common=points.common,
        doubtful=any(is_doubtful(point) for one in series for point in one.curve.points),
        runs=[_run(run, runs) for run in runs],
    )


def script_json(content: Any) -> str:
    """JSON that is safe inside a ``<script>`` element: nothing in it can end the element or a line."""
    return json.dumps(content, allow_nan=False).translate(_UNSAFE)


def _asset(name: str) -> str:
    return (data_dir("reports") / name).read_text(encoding="utf-8")


def _policy(scripts: Sequence[str]) -> str:
    hashes = [base64.b64encode(hashlib.sha256(script.encode()).digest()).decode() for script in scripts]
    allowed = " ".join(f"'sha256-{digest}'" for digest in hashes)
    return (
        f"default-src 'none'; script-src {allowed}; style-src 'unsafe-inline'; img-src data: blob:; "
        "base-uri 'none'; form-action 'none'"
    )


def _data(runs: Sequence[Run], series: Sequence[Series]) -> dict[str, Any]:
    """What the page's script reads: the figures, and the files that can be downloaded."""
    return {
        "figures": {
            "runtime": runtime_figure(series).to_plotly_json(),
            "actual": throughput_figure(series, "actual").to_plotly_json(),
            "dense": throughput_figure(series, "dense").to_plotly_json(),
            "memory": memory_figure(series).to_plotly_json(),
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
