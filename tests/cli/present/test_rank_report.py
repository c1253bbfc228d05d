"""What a user sees of points of several ranks: the report's section, the tables, the terminal."""

from __future__ import annotations

import csv
import io
import json

import pytest
from rank_runs import on_ranks, ranks_case, scaled_points
from rich.console import Console
from sample_runs import ENVIRONMENT, make_case, make_run, measured, unmeasured

from longbench_cli.measure.types import Verdict
from longbench_cli.present.export import to_csv, to_json, to_markdown
from longbench_cli.present.hover import hover_text
from longbench_cli.present.point_cells import one_line
from longbench_cli.present.progress import PlainDisplay
from longbench_cli.present.rank_figures import MOST_BARS, breakdown_figure, efficiency_figure, time_figure
from longbench_cli.present.rank_section import rank_section
from longbench_cli.present.rank_series import build_rank_series, exchanges_of
from longbench_cli.present.report import render_report
from longbench_cli.present.series import NOTHING_VARIES, build_series
from longbench_cli.present.units import format_rate
from longbench_cli.record.journal import Run

BANDWIDTH = "Bandwidth of the collectives"
EVIL = "</script><img src=x onerror=\"document.title='pwned'\">|`"


def rows(markdown: str, title: str) -> list[dict[str, str]]:
    """The table under ``title``, a row a dict."""
    lines = iter(markdown.split(f"#### {title}\n\n", 1)[1].splitlines())
    header = [cell.strip() for cell in next(lines).strip("|").split("|")]
    next(lines)
    found = []
    for line in lines:
        if not line.startswith("|"):
            break
        found.append(dict(zip(header, (cell.strip() for cell in line.strip("|").split("|")), strict=True)))
    return found


def both() -> Run:
    """dilated and vanilla on 1, 2 and 4 ranks of a processor with 2 cores."""
    points = [*scaled_points("dilated"), *scaled_points("vanilla")]
    points.append(unmeasured(ranks_case(ranks=8), "unsupported", "too short"))  # type: ignore[arg-type]
    return make_run(points)


def test_tables_say_what_ranks_gain_and_what_they_exchange() -> None:
    text = to_markdown([both()])
    scaling = {
        (row["scaling"], row["curve"], row["problem"], row["ranks"]): row for row in rows(text, "Scaling over ranks")
    }
    four = scaling["strong", "dilated fwd", "16k", "4"]
    assert (four["speed-up"], four["efficiency"]) == ("3.81×", "95%")
    weak = scaling["weak", "dilated fwd", "8k a rank", "2"]
    assert (weak["speed-up"], weak["efficiency"]) == ("", "95%")
    exchanged = rows(text, "What the ranks exchange")
    assert [row["ranks"] for row in exchanged if row["curve"] == "vanilla fwd"] == ["2", "4", "2", "4"]
    first = next(row for row in exchanged if (row["N"], row["ranks"]) == ("8k", "4"))
    assert first["compute alone"] == "16.38 µs"
    assert first["communication alone"] == "1.638 µs"
    assert first["exposed"] == "819.2 ns"
    assert first["hidden"] == "50%"
    assert (first["most received by a rank"], first["received by all"]) == ("1.00 MiB", "4.00 MiB")
    assert (first["straggler spread"], first["imbalance of work"], first["imbalance of time"]) == ("5%", "25%", "0%")
    assert {row["algorithm"] for row in exchanged} == {"gather, sequence shared", "ring, sequence shared"}
    speed = rows(text, BANDWIDTH)[0]
    assert (speed["collective"], speed["size"], speed["bus bandwidth"]) == ("all-gather", "2.00 MiB", "786 MB/s")
    assert (speed["algorithm bandwidth"], speed["greatest seen"], speed["at size"]) == (
        "1.05 GB/s",
        "2.50 GB/s",
        "16.0 MiB",
    )


def test_the_greatest_bandwidth_is_that_of_the_whole_run() -> None:
    slow, fast = (on_ranks(ranks_case("dilated", length, 2), [1e6, 1e6], 1e5, 1e4) for length in (1024, 2048))
    assert fast.communication is not None
    (seen,) = fast.communication.bandwidth
    more = seen.model_copy(update={"peak_bus_bytes_per_s": 9e9, "peak_size_bytes": 64 << 20})
    told = fast.communication.model_copy(update={"bandwidth": [more]})
    run = make_run([slow, fast.model_copy(update={"communication": told})])
    found = [(row["N"], row["greatest seen"], row["at size"]) for row in rows(to_markdown([run]), BANDWIDTH)]
    assert found == [("1k", "9.00 GB/s", "64.0 MiB"), ("2k", "9.00 GB/s", "64.0 MiB")]


def test_the_largest_problem_is_told_in_a_sentence() -> None:
    text = to_markdown([both()])
    assert "- dilated fwd at 16k: 3.81× as fast on 4 ranks over 1, efficiency 95%; 4.8% of its time is" in text
    assert "communication that nothing hides (50% is hidden)" in text


def test_ranks_that_share_the_cores_are_told_that_speed_up_means_nothing() -> None:
    note = "4 ranks with 4 threads in all shared 2 cores: speed-up and efficiency over ranks mean nothing there"
    assert note in to_markdown([both()])
    assert note in render_report([both()])
    roomy = make_run(both().points, environment=ENVIRONMENT | {"cores": 64})
    assert "mean nothing there" not in to_markdown([roomy])


def test_one_rank_says_nothing_of_ranks() -> None:
    run = make_run([measured(make_case(), 1e6)])
    assert not rank_section([run])
    assert 'id="ranks"' not in render_report([run])
    assert "over ranks" not in to_markdown([run])
    assert json.loads(to_json([run]))["rank_scaling"] == []
    assert next(csv.DictReader(io.StringIO(to_csv([run]))))["comm_full_ns"] == ""


def test_csv_has_the_same_in_columns() -> None:
    by_place = {
        (row["impl"], row["seq_len_tokens"], row["world_size"]): row
        for row in csv.DictReader(io.StringIO(to_csv([both()])))
    }
    four = by_place["dilated", "16384", "4"]
    assert (four["comm_algorithm"], four["comm_received_bytes_most"]) == ("gather", str(1 << 20))
    assert float(four["comm_overlap"]) == 0.5
    assert float(four["strong_speedup"]) == pytest.approx(4 / 1.05)
    assert float(four["weak_efficiency"]) == pytest.approx(1 / 1.05, rel=0.1)
    assert float(by_place["vanilla", "8192", "1"]["strong_efficiency"]) == 1
    assert by_place["dilated", "8192", "8"]["strong_efficiency"] == ""


def test_json_has_the_curves_over_ranks() -> None:
    found = json.loads(to_json([both()]))["rank_scaling"]
    assert {(one["label"], one["scaling"]) for one in found} == {
        (f"{impl} fwd", way) for impl in ("dilated", "vanilla") for way in ("strong", "weak")
    }
    strong = next(one for one in found if one["scaling"] == "strong" and "/n16384/" in one["problem"])
    assert [(at["ranks"], round(at["efficiency"], 3)) for at in strong["points"]] == [(1, 1), (2, 0.952), (4, 0.952)]


def test_figures_have_a_line_a_problem_with_its_ideal() -> None:
    series = [one for one in build_rank_series([both()]) if one.curve.way == "strong"]
    figure = time_figure(series, [0, 0, 1, 1])
    lines = [trace for trace in figure.data if trace.mode == "lines+markers+text"]
    assert [trace.name for trace in lines] == [
        "dilated fwd, 8k",
        "dilated fwd, 16k",
        "vanilla fwd, 8k",
        "vanilla fwd, 16k",
    ]
    assert [trace.meta for trace in lines] == [0, 0, 1, 1]
    ideal = next(trace for trace in figure.data if trace.mode == "lines")
    assert list(ideal.x) == [1, 4]
    assert ideal.y[1] == pytest.approx(ideal.y[0] / 4)
    (weak, *_) = [one for one in build_rank_series([both()]) if one.curve.way == "weak"]
    level = next(trace for trace in time_figure([weak], [0]).data if trace.mode == "lines")
    assert level.y[0] == level.y[1]
    efficiency = efficiency_figure(series, [0, 0, 1, 1])
    assert list(efficiency.data[0].y) == pytest.approx([1, 1 / 1.05, 1 / 1.05])
    assert efficiency.layout.yaxis.range[1] > 1


def test_compute_and_what_is_exposed_make_the_whole_bar() -> None:
    exchanges = exchanges_of([both()])
    compute, exposed, alone = breakdown_figure(exchanges).data
    assert [a + b for a, b in zip(compute.x, exposed.x, strict=True)] == pytest.approx([1] * len(exchanges))
    assert list(exposed.x) == pytest.approx([0.05 / 1.05] * len(exchanges))
    assert list(alone.x) == pytest.approx([0.1 / 1.05] * len(exchanges))
    assert breakdown_figure(exchanges).layout.yaxis.ticktext[-1] == exchanges[0].name == "dilated fwd, 8k on 2 ranks"


def test_of_many_points_the_longest_are_drawn_and_the_page_says_so() -> None:
    points = [
        on_ranks(ranks_case("dilated", 1024 + step, 2), [1e6 + step] * 2, 1e5, 1e4) for step in range(MOST_BARS + 3)
    ]
    run = make_run(points)
    names = breakdown_figure(exchanges_of([run])).layout.yaxis.ticktext
    assert len(names) == MOST_BARS
    assert "dilated fwd, 1k on 2 ranks" not in names
    assert f"The {MOST_BARS} points of the longest time; the table has 3 more" in render_report([run])


def test_an_untrusted_point_has_an_open_marker_here_too() -> None:
    base, two, _ = scaled_points(lengths=[8192])
    noisy = two.model_copy(update={"verdict": Verdict(kind="noisy", reasons=["too wide"])})
    (one,) = build_rank_series([make_run([base, noisy])])
    line = time_figure([one], [0]).data[-1]
    assert list(line.marker.symbol) == ["circle", "circle-open"]
    assert "noisy<br>too wide" in line.hovertext[1]


def test_algorithms_are_different_curves_with_their_own_colours() -> None:
    points = [measured(ranks_case("vanilla", 8192, 1), 4e6)]
    for name in ("ring", "ulysses"):
        case = ranks_case("vanilla", 8192, 2, options={"parallel": name})
        points.append(on_ranks(case, [2e6, 2e6], 1e5, 1e4, algorithm=name))
    ring, ulysses = build_rank_series([make_run(points)])
    assert (ring.label, ulysses.label) == ("vanilla fwd parallel=ring", "vanilla fwd parallel=ulysses")
    assert ring.color != ulysses.color
    assert [one.label for one in build_series([make_run(points)])] == [
        "vanilla fwd 1 rank", "vanilla fwd parallel=ring 2 ranks", "vanilla fwd parallel=ulysses 2 ranks",
    ]  # fmt: skip


def test_a_finished_point_says_its_ranks_and_what_is_hidden() -> None:
    point = on_ranks(ranks_case(ranks=4), [2e6] * 4, 1e5, 2e4, received=[1258291, 10, 10, 10])
    out = io.StringIO()
    PlainDisplay(Console(file=out, width=300), total=1, done=0).finished(point)
    line = out.getvalue()
    assert "dilated (sdpa-flash) 4 ranks 8k fwd: " in line
    assert "1.20 MiB a rank, 80% hidden" in line
    silent = on_ranks(ranks_case(ranks=2), [2e6] * 2, 0.0, 0.0, received=[0, 0])
    assert "nothing exchanged" in one_line(silent, NOTHING_VARIES)
    assert "rank" not in one_line(measured(make_case(), 1e6), NOTHING_VARIES)
    (series,) = build_series([make_run([point])])
    assert "receives 1.20 MiB a rank, 80% hidden" in hover_text(series, point)


def test_without_room_to_take_it_apart_the_bytes_are_still_told() -> None:
    whole = on_ranks(ranks_case(ranks=2), [2e6, 2e6], 1e5, 1e4, received=[1024, 2048])
    point = whole.model_copy(update={"communication": None})
    run = make_run([point])
    (row,) = rows(to_markdown([run]), "What the ranks exchange")
    assert (row["algorithm"], row["full"], row["hidden"]) == ("", "", "")
    assert (row["most received by a rank"], row["received by all"]) == ("2.00 KiB", "3.00 KiB")
    assert one_line(point, NOTHING_VARIES).endswith("2.00 KiB a rank")
    page = render_report([run])
    assert "figure-breakdown" not in page
    assert 'id="every-rank"' in page


def test_every_rank_is_in_the_page() -> None:
    points = [on_ranks(ranks_case(ranks=3), [2e6, 3e6, 4e6], 1e5, 1e4, received=[1024, 2048, 4096])]
    page = render_report([make_run(points)])
    table = page.split('<table id="every-rank"', 1)[1].split("</table>", 1)[0]
    assert table.count("<tr>") == 4
    for text in ("2.000 ms", "3.000 ms", "4.000 ms", "1.00 KiB", "2.00 KiB", "4.00 KiB", "bench-1"):
        assert f">{text}</td>" in table


def test_text_of_a_file_stays_text() -> None:
    case = ranks_case(f"m:{EVIL}", ranks=2, backend=EVIL, options={EVIL: EVIL})
    told = {"algorithm": EVIL}
    point = on_ranks(case, [2e6, 2e6], 1e5, 1e4, algorithm=EVIL, kind=EVIL, host=EVIL, told=told)
    more = point.model_copy(update={"case": case.model_copy(update={"world_size": 4}), "key": "another"})
    run = make_run([point, more])
    page = render_report([run])
    assert "<img" not in page.split('id="longbench-data"')[0]
    assert "<img" not in page.split('id="longbench-data"')[1].split("</script>")[0]
    assert all("<img" not in json.dumps(figure.to_plotly_json()) for figure in (
        time_figure(build_rank_series([run])[:1], [0]), breakdown_figure(exchanges_of([run])),
    ))  # fmt: skip
    assert "<img" not in to_markdown([run]).replace("\\<img", "")


def test_rates_are_decimal() -> None:
    assert [format_rate(value) for value in (12.0, 1500.0, 2.5e9, 4e12)] == [
        "12 B/s",
        "1.50 kB/s",
        "2.50 GB/s",
        "4.00 TB/s",
    ]
