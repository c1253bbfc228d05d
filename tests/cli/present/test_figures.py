"""The figures show every point: a number on a line, anything else in the strip above."""

from __future__ import annotations

import pytest
from sample_runs import make_case, make_run, measured, realistic_points, sweep_points, unmeasured

from longbench_cli.present.figures import memory_figure, runtime_figure, throughput_figure
from longbench_cli.present.series import build_series


def lines(figure: object) -> dict[str, object]:
    return {trace.name: trace for trace in figure.data if trace.mode == "lines+markers"}


def marks(figure: object) -> dict[str, object]:
    return {trace.name: trace for trace in figure.data if trace.yaxis == "y2"}


def test_one_line_a_curve_through_its_medians() -> None:
    run = make_run(sweep_points())
    found = lines(runtime_figure(build_series([run])))
    assert list(found) == ["dilated fwd", "dilated bwd", "vanilla fwd", "vanilla bwd"]
    expected = {p.case.seq_len: p.latency.median_ns for p in run.points if p.key.startswith("vanilla/sdpa-flash/bwd/")}
    trace = found["vanilla bwd"]
    assert dict(zip(trace.x, trace.y, strict=True)) == expected


def test_axes_are_logarithmic_and_lengths_read_8k() -> None:
    figure = runtime_figure(build_series([make_run(sweep_points())]))
    assert figure.layout.xaxis.type == figure.layout.yaxis.type == "log"
    assert list(figure.layout.xaxis.ticktext) == ["1k", "2k", "4k", "8k", "16k", "32k", "64k"]


def test_points_without_a_number_break_the_line_and_are_marked() -> None:
    points = [measured(make_case(length=1024 << step), 1e6 * 4**step) for step in range(5)]
    points[2] = unmeasured(points[2].case, "crashed", "signal 11")
    figure = runtime_figure(build_series([make_run(points)]))
    (line,) = lines(figure).values()
    assert line.y[2] is None
    assert line.connectgaps is False
    (mark,) = marks(figure).values()
    assert list(mark.x) == [4096]
    assert "crashed: signal 11" in mark.hovertext[0]
    bands = [trace for trace in figure.data if trace.fill == "toself"]
    assert [sorted(set(band.x)) for band in bands] == [[1024, 2048], [8192, 16384]]


def test_statuses_have_marks_of_their_own() -> None:
    found = marks(runtime_figure(build_series([make_run(realistic_points())])))
    assert set(found) == {"vanilla fwd: pruned", "vanilla bwd: oom, pruned", "mine.kernels:fast fwd: incorrect"}
    symbols = found["vanilla bwd: oom, pruned"].marker.symbol
    assert symbols[0] != symbols[1] == symbols[2]


def test_the_band_is_the_interval() -> None:
    points = [measured(make_case(length=1024 << step), 1e6 * 4**step, noise=0.1) for step in range(3)]
    figure = runtime_figure(build_series([make_run(points)]))
    (band,) = (trace for trace in figure.data if trace.fill == "toself")
    ends = [end for point in points for end in point.latency.ci95_ns]
    assert sorted(band.y) == sorted(ends)


def test_reference_slopes_are_n_and_n_squared() -> None:
    figure = runtime_figure(build_series([make_run(sweep_points())]))
    for name, power in (("slope N", 1), ("slope N²", 2)):
        (trace,) = (trace for trace in figure.data if trace.name == name)
        assert trace.y[1] / trace.y[0] == pytest.approx((trace.x[1] / trace.x[0]) ** power)
        assert trace.line.dash


def test_actual_and_dense_equivalent_rates_are_separate_figures_with_separate_names() -> None:
    series = build_series([make_run(sweep_points())])
    actual, dense = throughput_figure(series, "actual"), throughput_figure(series, "dense")
    assert "actually done" in actual.layout.yaxis.title.text
    assert "dense-equivalent" in dense.layout.yaxis.title.text
    assert lines(dense)["dilated fwd"].y[-1] > 20 * lines(actual)["dilated fwd"].y[-1]
    assert lines(dense)["vanilla fwd"].y == lines(actual)["vanilla fwd"].y


def test_memory_is_the_peak_and_a_missing_one_leaves_no_line() -> None:
    points = sweep_points({"dilated": lambda n: n * 1e3})
    figure = memory_figure(build_series([make_run(points)]))
    assert list(lines(figure)["dilated fwd"].y) == [point.memory.peak_bytes for point in points[:7]]
    bare = [p.model_copy(update={"memory": p.memory.model_copy(update={"peak_bytes": None})}) for p in points]
    assert not lines(memory_figure(build_series([make_run(bare)])))


def test_streamed_points_have_a_line_of_their_own_that_says_so() -> None:
    points = [
        measured(make_case(length=1024 << step), 1e6 * 2**step, execution="resident" if step < 3 else "streamed")
        for step in range(6)
    ]
    found = lines(runtime_figure(build_series([make_run(points)])))
    assert {name: len(trace.x) for name, trace in found.items()} == {"vanilla fwd": 3, "vanilla fwd streamed": 3}


def test_hovering_shows_everything() -> None:
    figure = runtime_figure(build_series([make_run(sweep_points())]))
    text = lines(figure)["dilated bwd"].hovertext[-1]
    for part in (
        "dilated bwd, N = 64k", "median", "95%", "20 iterations", "TFLOP/s actual", "dense-equivalent", "peak memory",
        "verification passed, 64 rows", "sdpa-flash", "bfloat16", "resident", "schedule=geometric",
    ):  # fmt: skip
        assert part in text


def test_text_of_a_file_is_no_markup_in_a_figure() -> None:
    case = make_case('m:<a href="https://example.org">x</a>', length=1024)
    points = [unmeasured(case, "crashed", "<b>bold</b>"), measured(case.model_copy(update={"seq_len": 2048}), 1e6)]
    figure = runtime_figure(build_series([make_run([points[0], points[1].model_copy(update={"key": "other"})])]))
    for trace in figure.data:
        for text in (trace.name or "", *(trace.hovertext or ())):
            assert "<a" not in text
            assert "<b>bold" not in text


@pytest.mark.parametrize("points", [[], [unmeasured(make_case(), "oom", "too large")], [measured(make_case(), 0.0)]])
def test_a_run_without_a_number_still_draws(points: list[object]) -> None:
    series = build_series([make_run(points)])
    for figure in (runtime_figure(series), memory_figure(series), throughput_figure(series, "actual")):
        assert figure.to_json()
