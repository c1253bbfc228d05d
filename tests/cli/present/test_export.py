"""Markdown, CSV and JSON carry the same points as the run, each in a form that its readers take."""

from __future__ import annotations

import csv
import io
import json

import pytest
from sample_runs import make_case, make_run, measured, realistic_points, unmeasured

from longbench_cli.present.export import to_csv, to_json, to_markdown
from longbench_cli.present.hover import hover_text
from longbench_cli.present.series import build_series
from longbench_cli.record.schema import POINT, MeasuredPoint, RunHeader


def tables(markdown: str) -> list[list[dict[str, str]]]:
    """The tables of ``markdown``, a row a dict."""
    found: list[list[dict[str, str]]] = []
    header: list[str] = []
    previous = ""
    for line in markdown.splitlines():
        if line.startswith("|"):
            cells = [cell.strip() for cell in line.strip("|").replace("\\|", "\0").split("|")]
            if not previous.startswith("|"):
                header = cells
                found.append([])
            elif not line.startswith("| ---"):
                assert len(cells) == len(header)
                found[-1].append(dict(zip(header, cells, strict=True)))
        previous = line
    return found


def test_markdown_has_exponents_and_every_point() -> None:
    points = realistic_points()
    fits, rows = tables(to_markdown([make_run(points)]))
    assert [row["curve"] for row in fits] == [
        "dilated fwd", "vanilla fwd", "dilated bwd", "vanilla bwd", "mine.kernels:fast fwd",
    ]  # fmt: skip
    assert float(fits[1]["exponent of N"]) == pytest.approx(2, abs=0.02)
    assert fits[4]["exponent of N"] == "no fit"
    assert len(rows) == len(points)
    first = next(row for row in rows if row["implementation"] == "dilated" and row["N"] == "64k")
    assert first["status"] == "ok"
    assert first["median"].endswith(" ms")
    assert float(first["TFLOP/s (dense-equivalent)"]) > 20 * float(first["TFLOP/s (actual)"])
    lost = [row for row in rows if row["status"] == "pruned"]
    assert {row["median"] for row in lost} == {""}
    assert all("above --max-point-time" in row["reason"] for row in lost)


def test_markdown_says_once_what_is_the_same_for_all_points() -> None:
    text = to_markdown([make_run(realistic_points())])
    assert "The same for all points: kind op, batch 1, heads 8, kv heads 8, head dim 64, dtype bfloat16" in text
    assert "dtype" not in tables(text)[1][0]


def test_options_have_a_column_only_if_an_implementation_has_several() -> None:
    same = [measured(make_case("dilated", length), 1e6) for length in (1024, 2048)]
    text = to_markdown([make_run(same)])
    assert "dilated options schedule=geometric" in text
    assert "options" not in tables(text)[1][0]
    other = measured(make_case("dilated", options={"schedule": "lm"}), 1e6)
    rows = tables(to_markdown([make_run([*same, other])]))[1]
    assert {row["options"] for row in rows} == {"schedule=geometric", "schedule=lm"}


def block_recurrent(length: int, **details: object) -> MeasuredPoint:
    case = make_case("block-recurrent", length, kind="model", causal=True, options={"block_width": 512})
    return measured(case, 6e6, noise=0, details=details)


def test_time_per_block_stands_beside_the_time_of_the_sequence() -> None:
    points = [block_recurrent(1024, blocks=2), block_recurrent(1536, blocks=3), measured(make_case(), 1e6)]
    run = make_run(points)
    rows = tables(to_markdown([run]))[1]
    assert [(row["N"], row["median per block"]) for row in rows] == [
        ("1k", "3.000 ms"),
        ("1536", "2.000 ms"),
        ("8k", ""),
    ]
    rows = list(csv.DictReader(io.StringIO(to_csv([run]))))
    assert [row["median_per_block_ns"] for row in rows] == ["3000000.0", "2000000.0", ""]
    assert [json.loads(row["details_json"]) for row in rows] == [{"blocks": 2}, {"blocks": 3}, {}]
    assert "3.000 ms per block, 2 blocks" in hover_text(build_series([run])[0], points[0])


def test_without_blocks_nothing_is_said_of_them() -> None:
    late = unmeasured(make_case("block-recurrent", kind="model"), "oom", "full", details={"blocks": 16})
    text = to_markdown([make_run([late, measured(make_case(), 1e6), block_recurrent(1024, blocks="many")])])
    assert "per block" not in text


def test_what_is_a_model_and_how_large_is_in_the_table() -> None:
    model = block_recurrent(1024, blocks=2, depth=2, dim=512, parameters=6574432)
    attention, first = sorted(
        tables(to_markdown([make_run([measured(make_case(), 1e6), model])]))[1], key=lambda row: row["kind"] != "op"
    )
    assert (attention["kind"], attention["model size"]) == ("op", "")
    assert (first["kind"], first["model size"]) == ("model", "2 layers, width 512, 6.57 million parameters")


def test_markdown_shows_hostile_text_as_text() -> None:
    evil = "x|y`<img src=x onerror=alert(1)>`\n# heading **bold** [a](javascript:1)"
    run = make_run([unmeasured(make_case(f"m:{evil}"), "crashed", evil)])
    run.warnings.append(evil)
    text = to_markdown([run])
    assert "<img" not in text.replace("\\<img", "")
    assert "\n# heading" not in text
    assert "**bold**" not in text
    assert len(tables(text)[1]) == 1


def test_csv_has_a_row_a_point_with_units_in_the_names() -> None:
    points = realistic_points()
    rows = list(csv.DictReader(io.StringIO(to_csv([make_run(points)]))))
    assert len(rows) == len(points)
    for row, point in zip(rows, points, strict=True):
        assert row["status"] == point.status
        assert int(row["seq_len_tokens"]) == point.case.seq_len
        if point.latency is None:
            assert row["median_ns"] == row["actual_tflop_per_s"] == row["ci95_low_ns"] == ""
            assert row["reason"] == point.reason
        else:
            assert float(row["median_ns"]) == point.latency.median_ns
            assert float(row["ci95_low_ns"]) == point.latency.ci95_ns[0]
            assert float(row["actual_tflop_per_s"]) == pytest.approx(point.cost.flops / point.latency.median_ns / 1e3)
            assert float(row["dense_equivalent_tflop_per_s"]) == pytest.approx(
                point.cost.dense_flops / point.latency.median_ns / 1e3
            )
            assert int(row["peak_bytes"]) == point.memory.peak_bytes
            assert int(row["iterations"]) == len(point.latency.iterations_ns)
            assert float(row["verification_max_error"]) == point.verification.max_error


def test_csv_takes_commas_quotes_and_lines_in_a_reason() -> None:
    reason = 'a "quoted", reason\nof two lines'
    (row,) = csv.DictReader(io.StringIO(to_csv([make_run([unmeasured(make_case(), "crashed", reason)])])))
    assert row["reason"] == reason


def test_json_gives_back_the_records_and_the_fits() -> None:
    run = make_run(realistic_points())
    content = json.loads(to_json([run]))
    (found,) = content["runs"]
    assert RunHeader.model_validate(found["run"]) == run.header
    assert [POINT.validate_python(point) for point in found["points"]] == run.points
    fits = {fit["label"]: fit for fit in content["fits"]}
    assert fits["vanilla fwd"]["fit"]["exponent"] == pytest.approx(2, abs=0.02)
    assert fits["vanilla fwd"]["work_exponent"] == pytest.approx(2)
    assert fits["dilated fwd"]["speedup"]["seq_len"] == 65536
    assert fits["mine.kernels:fast fwd"]["fit"] is None


def test_a_run_without_points_has_tables_without_rows() -> None:
    run = make_run([])
    assert [len(rows) for rows in tables(to_markdown([run]))] == [0, 0]
    assert len(to_csv([run]).splitlines()) == 1
    assert json.loads(to_json([run]))["fits"] == []


def test_few_iterations_leave_the_interval_out_of_every_output() -> None:
    run = make_run([measured(make_case(), 1e6, iterations=1), measured(make_case(length=1024), 1e6)])
    rows = tables(to_markdown([run]))[1]
    assert [bool(row["95% interval"]) for row in rows] == [True, False]
    assert next(csv.DictReader(io.StringIO(to_csv([run]))))["noise_ratio"] == ""


def test_a_pass_too_short_for_the_clock_has_no_rate() -> None:
    run = make_run([measured(make_case(), 0.0)])
    assert next(csv.DictReader(io.StringIO(to_csv([run]))))["actual_tflop_per_s"] == ""
    assert "0 ns" in to_markdown([run])
