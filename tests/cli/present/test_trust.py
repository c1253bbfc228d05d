"""Every output says how precise a number is, and whether it is to be trusted; older files say less, and still draw."""

from __future__ import annotations

import csv
import io
import json

import pytest
from sample_runs import make_case, make_run, measured, unmeasured

from longbench_cli.measure.types import Verdict
from longbench_cli.present.export import to_csv, to_json, to_markdown
from longbench_cli.present.figures import runtime_figure
from longbench_cli.present.findings import finding
from longbench_cli.present.point_cells import one_line
from longbench_cli.present.report import render_report
from longbench_cli.present.series import build_series, varied_options
from longbench_cli.present.trust import precision_words
from longbench_cli.record.schema import POINT, MeasuredPoint

TRUSTED = Verdict(kind="trusted", reasons=[])
NOISY = Verdict(kind="noisy", reasons=["the 95% interval is ±3%, wider than ±1%", "two modes: 40% take longer"])
CONTENDED = Verdict(kind="contended", reasons=["other processes took 31% of the processors: make (pid 9)"])
SESSIONS = {"precision": 0.01, "sessions": 5}


def curve(*verdicts: Verdict | None) -> list[MeasuredPoint]:
    lengths = [1024 << step for step in range(len(verdicts))]
    return [measured(make_case(length=n), n * 1e3, verdict=v) for n, v in zip(lengths, verdicts, strict=True)]


def five_sessions() -> list[MeasuredPoint]:
    return [measured(make_case(), 1e6 + 1e3 * n, noise=0, session=n, verdict=TRUSTED) for n in range(5)]


@pytest.mark.parametrize(("iterations", "words"), [(20, "±0.5%"), (3, "±0.5% (range of 3)"), (1, "(1 run)")])
def test_the_precision_is_that_of_the_interval_or_of_the_range(iterations: int, words: str) -> None:
    point = measured(make_case(), 1e6, iterations=iterations)
    assert precision_words(point.latency) == words
    assert f" {words}" in one_line(point, {})
    assert words in to_markdown([make_run([point])])


def test_a_line_of_a_log_gives_the_verdict_and_every_reason() -> None:
    trusted, noisy, old = (one_line(measured(make_case(), 1e6, verdict=v), {}) for v in (TRUSTED, NOISY, None))
    assert trusted.endswith("verified: passed (64 rows), trusted")
    assert noisy.endswith("noisy: the 95% interval is ±3%, wider than ±1%; two modes: 40% take longer")
    assert old.endswith("verified: passed (64 rows)")


def test_lines_of_points_that_differ_in_options_alone_are_told_apart() -> None:
    cases = [
        make_case("transformer", kind="model", options={"depth": depth, "vocab": 256, "attention": None})
        for depth in (2, 4)
    ]
    varied = varied_options([*cases, make_case("dilated")])
    lines = [one_line(measured(case, 1e6), varied) for case in cases]
    assert [("depth=2" in line, "depth=4" in line) for line in lines] == [(True, False), (False, True)]
    assert all("vocab" not in line for line in lines)
    assert "schedule" not in one_line(measured(make_case("dilated"), 1e6), varied)


def test_a_finding_counts_the_points_that_are_not_trusted() -> None:
    (series,) = build_series([make_run(curve(TRUSTED, NOISY, NOISY, CONTENDED, TRUSTED))])
    assert "; 1 of 5 points contended, 2 noisy" in finding(series)
    for verdict in (TRUSTED, None):
        assert "points" not in finding(build_series([make_run(curve(*[verdict] * 5))])[0])


def test_points_that_are_not_trusted_have_open_markers_and_the_page_says_so() -> None:
    run = make_run(curve(TRUSTED, NOISY, TRUSTED))
    (line,) = (trace for trace in runtime_figure(build_series([run])).data if trace.mode == "lines+markers")
    assert list(line.marker.symbol) == ["circle", "circle-open", "circle"]
    assert "two modes: 40% take longer" in line.hovertext[1]
    page = render_report([run])
    assert "open marker: not trusted" in page
    assert "1 noisy" in page
    assert "1 of 3 points noisy" in page
    quiet = render_report([make_run(curve(TRUSTED, TRUSTED, TRUSTED))])
    assert "open marker" not in quiet
    assert ">trusted</span>" not in quiet  # the same for all points, and said once
    assert "verdict <b>trusted</b>" in quiet


def test_a_doubtful_streamed_point_differs_from_a_doubtful_resident_one() -> None:
    points = [measured(make_case(), 1e6, execution=how, verdict=NOISY) for how in ("resident", "streamed")]
    points[1] = points[1].model_copy(update={"key": "other"})
    figure = runtime_figure(build_series([make_run(points)]))
    symbols = {trace.marker.symbol[0] for trace in figure.data if trace.mode == "lines+markers"}
    assert symbols == {"circle-open", "circle-open-dot"}


def test_the_table_has_the_verdict_and_why() -> None:
    text = to_markdown([make_run(curve(TRUSTED, NOISY))])
    assert "| verdict | why |" in text
    assert "| noisy | the 95% interval is ±3%, wider than ±1%; two modes: 40% take longer |" in text
    assert "holds within 1 process" in text  # the same for all points


def test_a_verdict_that_all_points_share_still_says_why() -> None:
    text = to_markdown([make_run(curve(NOISY, NOISY))])
    assert "verdict noisy" in text
    assert "two modes" in text


def test_sessions_are_one_row_and_the_table_says_what_the_interval_holds_between() -> None:
    run = make_run([*five_sessions(), measured(make_case(length=1024), 1e6)], settings=SESSIONS)
    text = to_markdown([run])
    assert text.count("| vanilla |") == 2
    assert "between 5 sessions" in text
    assert "within 1 process" in text
    (hover,) = {
        text
        for trace in runtime_figure(build_series([run])).data
        for text in trace.hovertext or ()
        if "between 5 sessions" in text
    }
    assert "100 iterations" in hover


def test_csv_and_json_keep_the_sessions_apart_and_json_has_them_merged_beside() -> None:
    run = make_run([*five_sessions(), unmeasured(make_case(length=1024), "oom", "full")], settings=SESSIONS)
    rows = list(csv.DictReader(io.StringIO(to_csv([run]))))
    assert [row["session"] for row in rows] == ["0", "1", "2", "3", "4", "0"]
    assert [row["verdict"] for row in rows] == ["trusted"] * 5 + [""]
    (content,) = json.loads(to_json([run]))["runs"]
    assert len(content["points"]) == 6
    (merged,) = map(POINT.validate_python, content["merged"])
    assert merged.latency is not None
    assert (merged.latency.sessions, merged.latency.median_ns) == (5, 1.002e6)


def test_csv_has_the_reasons() -> None:
    (row,) = csv.DictReader(io.StringIO(to_csv([make_run(curve(NOISY))])))
    assert row["verdict"] == "noisy"
    assert row["verdict_reasons"] == "; ".join(NOISY.reasons)
    assert row["interval"] == "within"


def test_files_without_verdicts_show_none_anywhere() -> None:
    run = make_run(curve(None, None, None))
    for text in (to_markdown([run]), render_report([run])):
        assert "verdict" not in text.split("longbench-data")[0]
    (row,) = csv.DictReader(io.StringIO(to_csv([make_run(curve(None))])))
    assert row["verdict"] == ""


def test_hostile_reasons_stay_text() -> None:
    evil = Verdict(kind="contended", reasons=["<img src=x onerror=alert(1)> | `x`\n# y"])
    page, text = (render([make_run(curve(evil, TRUSTED))]) for render in (render_report, to_markdown))
    assert "<img" not in page
    assert "\\<img" in text
    assert "\n# y" not in text
