"""``longbench predict`` as a user sees it: every number marked as predicted, every mistake one line."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from sample_runs import ENVIRONMENT, make_case, make_run, measured, unmeasured, write_run
from simulated_ranks import Machine

from longbench_cli.app import main
from longbench_cli.measure.types import Verdict

ROOT = Path(__file__).resolve().parents[3]
LENGTHS = (4096, 8192, 16384, 32768)


@pytest.fixture
def run(tmp_path: Path) -> str:
    points = [Machine().point(n, ranks) for n in LENGTHS for ranks in (1, 2)]
    return str(write_run(make_run(points, "measured.jsonl"), tmp_path))


def call(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, str, str]:
    with pytest.raises(SystemExit) as leaving:
        main(["predict", *words])
    said = capsys.readouterr()
    return int(leaving.value.code or 0), said.out, said.err


def refused(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    code, out, err = call(capsys, *words)
    assert (code, out) == (2, "")
    (line,) = err.splitlines()
    return line


def as_json(capsys: pytest.CaptureFixture[str], *words: str) -> Any:
    code, out, _ = call(capsys, *words, "--format", "json")
    assert code == 0
    return json.loads(out)


def test_a_table_says_predicted_and_from_what(capsys: pytest.CaptureFixture[str], run: str) -> None:
    code, out, err = call(capsys, run, "--seq", "64k,1m", "--gpus", "1,4")
    assert (code, err) == (0, "")
    assert "PREDICTED, not measured: vanilla fwd" in out
    assert "predicted time" in out
    assert "90% interval" in out
    assert "leave-one-out error of the fit: median" in out
    assert "measured: 8 points, 4k–32k, 1, 2 ranks, resident, on Example CPU" in out
    assert "N 32x beyond 32k" in out
    assert "4 ranks, measured with 1, 2" in out
    rows = [line.split()[:2] for line in out.splitlines() if line.split()[:1] in (["64k"], ["1m"])]
    assert [row[0] for row in rows] == ["64k", "64k", "1m", "1m"]


def test_json_has_every_number_and_marks_it(capsys: pytest.CaptureFixture[str], run: str) -> None:
    (section,) = as_json(capsys, run, "--seq", "64k", "--gpus", "1,2,4", "--heads", "8,16")["sections"]
    assert [one["case"]["world_size"] for one in section["forecasts"]] == [1, 1, 2, 2, 4, 4]
    assert section["machine"]["cores"] == 2
    for one in section["forecasts"]:
        assert one["predicted"] is True
        assert one["basis"] == "predicted"
        assert one["seconds_90"][0] < one["seconds"] < one["seconds_90"][1]
        assert one["fits"] == "resident"
    eight, sixteen = section["forecasts"][:2]
    assert sixteen["seconds"] == pytest.approx(2 * eight["seconds"], rel=0.05)


def test_held_out_points_are_predicted_from_the_rest(capsys: pytest.CaptureFixture[str], run: str) -> None:
    found = as_json(capsys, run, "--hold-out", "seq>8k,gpus=2")
    rows = found["sections"][0]["held_out"]
    assert len(rows) == found["score"]["count"] == 2
    assert found["score"]["median_error"] < 0.05
    assert all(row["seconds_90"][0] <= row["measured_seconds"] <= row["seconds_90"][1] for row in rows)
    code, out, _ = call(capsys, run, "--hold-out", "seq>8k,gpus=2", "--format", "md")
    assert code == 0
    assert "held out: 2 points, median error" in out
    assert "100% in their 90% intervals" in out


def test_markdown_and_a_page(capsys: pytest.CaptureFixture[str], run: str, tmp_path: Path) -> None:
    code, out, _ = call(capsys, run, "--seq", "64k", "--format", "md")
    assert code == 0
    assert "| N | gpus | predicted time | 90% interval |" in out
    page = tmp_path / "page.html"
    code, out, _ = call(capsys, run, "--seq", "64k:1m", "--gpus", "1,8", "--format", "html", "-o", str(page))
    assert (code, out) == (0, f"predictions: {page}\n")
    text = page.read_text(encoding="utf-8")
    assert "predicted, not measured" in text
    data = json.loads(text.partition('id="longbench-data">')[2].partition("</script>")[0])
    traces = data["figures"]["0"]["data"]
    dashed = [trace for trace in traces if trace.get("line", {}).get("dash") == "dash"]
    solid = [trace for trace in traces if trace["mode"] == "lines+markers" and trace not in dashed]
    assert sorted(len(trace["x"]) for trace in solid) == [4, 4]
    assert [trace["x"] for trace in dashed] == [[1 << 16, 1 << 17, 1 << 18, 1 << 19, 1 << 20]] * 2
    assert all(text.startswith("predicted: ") for trace in dashed for text in trace["hovertext"])
    assert all(text.startswith("measured: ") for trace in solid for text in trace["hovertext"])


def test_without_a_run_it_is_a_roofline_and_says_so(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = call(capsys, "--hardware", "h100", "--seq", "1m,1b", "--gpus", "1,64", "--impl", "dilated")
    assert code == 0
    assert "roofline, nothing measured" in out
    assert "predicted time" not in out
    assert "interval" not in out.replace("no interval", "")
    (section,) = as_json(capsys, "--hardware", "h100", "--seq", "1m", "--gpus", "8,64")["sections"]
    assert [one["seconds_90"] for one in section["forecasts"]] == [None, None]
    assert section["forecasts"][0]["case"]["device"] == "cuda"
    assert section["forecasts"][0]["seconds"] > section["forecasts"][1]["seconds"]
    assert "--device: a roofline is of" in refused(capsys, "--hardware", "h100", "--device", "cpu")


def test_feasibility_is_said_of_every_point(capsys: pytest.CaptureFixture[str]) -> None:
    words = ("--hardware", "h100", "--seq", "1b", "--gpus", "1,8,512", "--impl", "dilated,vanilla")
    (section,) = as_json(capsys, *words)["sections"]
    fits = {(one["case"]["impl"], one["case"]["world_size"]): one["fits"] for one in section["forecasts"]}
    assert fits == {
        ("dilated", 1): "streamed", ("dilated", 8): "no", ("dilated", 512): "resident",
        ("vanilla", 1): "no", ("vanilla", 8): "no", ("vanilla", 512): "resident",
    }  # fmt: skip


def test_hardware_of_your_own(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    text = (ROOT / "profiles" / "hardware" / "h100.toml").read_text(encoding="utf-8")
    mine = tmp_path / "mine.toml"
    mine.write_text(text.replace("H100 80GB SXM", "mine").replace("bandwidth = 3.7e11", "bandwidth = 3.7e9"))
    words = ("--seq", "1m", "--gpus", "8", "--impl", "vanilla", "--parallel", "allgather", "--heads", "64")
    found = [as_json(capsys, "--hardware", name, *words)["sections"][0] for name in ("h100", str(mine))]
    assert found[1]["forecasts"][0]["seconds"] > found[0]["forecasts"][0]["seconds"]
    assert "on NVIDIA mine" in found[1]["title"]
    mine.write_text("name = 3")
    assert "mine.toml: " in refused(capsys, "--hardware", str(mine), *words)
    mine.write_text("name = ")
    assert "not valid TOML" in refused(capsys, "--hardware", str(mine), *words)
    for old, new, said in (
        ('within = "nvlink"', 'within = "string"', "link 'string' is not among links"),
        ("float32 = 6.7e13\n", "", "peak_flops: Value error, no float32: give all of float32, float16, bfloat16"),
        ("bfloat16 = 9.895e14", "bfloat16 = 0.0", "peak_flops.bfloat16: Input should be greater than 0"),
        ("memory_bandwidth = 3.35e12", "memory_bandwidth = inf", "memory_bandwidth: Input should be a finite number"),
    ):
        mine.write_text(text.replace(old, new))
        assert said in refused(capsys, "--hardware", str(mine), *words)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--impl", "dilated"), "--impl dilated: no measured point of that"),
        (("--pass", "bwd"), "--pass bwd: no measured point of that"),
        (("--hardware", "h900"), "--hardware 'h900': unknown; did you mean h200?"),
        (("--hardware", "h100"), "no rate is carried from one device to another"),
        (("--link", "nvlink"), "--link nvlink: CPU: choose"),
        (("--hold-out", "seq>4m"), "holds out no measured point"),
        (("--hold-out", "seq>4k"), "holds out no measured point whose rest has two lengths"),
        (("--hold-out", "speed>4"), "--hold-out 'speed>4': expected"),
        (("--seq", "many"), "--seq 'many': expected a whole number"),
        (("--gpus", "2:8k:+1"), "--gpus: all points together have"),
        (("--gpus", "0"), "--gpus '0'"),
        (("--format", "html"), "give one with -o"),
        (("--window", "64"), "--window: nothing that was measured takes it (vanilla); leave it out"),
        (("--parallel", "rnig", "--gpus", "4"), "--parallel rnig: no such algorithm; did you mean ring?"),
        (("--parallel", "ring"), "--parallel: it has no effect on one rank"),
        (("--scaling", "weak"), "--scaling: it has no effect on one rank"),
        (("--hold-out", "seq>8k", "--seq", "1m"), "--seq: what --hold-out holds out is predicted as it was measured"),
        (("--hold-out", "seq>8k", "--per-node", "1"), "--per-node: what --hold-out holds out"),
    ],
)
def test_mistakes_are_one_line(capsys: pytest.CaptureFixture[str], run: str, words: tuple[str, ...], said: str) -> None:
    assert said in refused(capsys, run, *words)


def test_nothing_to_predict_from(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert "give run files to predict from, or --hardware" in refused(capsys)
    assert "needs run files" in refused(capsys, "--hardware", "h100", "--hold-out", "seq>4k")
    failed = make_run([unmeasured(make_case("vanilla", 4096), "oom", "needed 9 GiB")], "failed.jsonl")
    assert "no measured point in these run files" in refused(capsys, str(write_run(failed, tmp_path)))
    one = make_run([Machine().point(4096)], "one.jsonl")
    line = refused(capsys, str(write_run(one, tmp_path)), "--seq", "1m")
    assert "measured at one length only (4k): measure it at another length too" in line


def test_a_run_file_is_not_written_over_and_counts_once_by_any_name(
    capsys: pytest.CaptureFixture[str], run: str, tmp_path: Path
) -> None:
    before = Path(run).read_bytes()
    assert "is a run file to be read" in refused(capsys, run, "--seq", "1m", "-o", run)
    assert Path(run).read_bytes() == before
    link = tmp_path / "link.jsonl"
    link.symlink_to(run)
    (section,) = as_json(capsys, run, str(link), "--seq", "1m")["sections"]
    assert "measured: 8 points" in section["basis"]


def test_key_heads_are_as_measured_unless_given(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    points = [Machine().point(n, kv_heads=2) for n in LENGTHS]
    path = str(write_run(make_run(points, "grouped.jsonl"), tmp_path))

    def widths(*words: str) -> list[tuple[int, int, int]]:
        (section,) = as_json(capsys, path, "--seq", "64k", *words)["sections"]
        return [(case["batch"], case["heads"], case["kv_heads"]) for case in (f["case"] for f in section["forecasts"])]

    assert widths() == [(1, 8, 2)]
    assert widths("--batch", "1,4") == [(1, 8, 2), (4, 8, 2)]
    assert widths("--heads", "8,16") == [(1, 8, 2), (1, 16, 4)]
    assert widths("--kv-heads", "8") == [(1, 8, 8)]
    assert widths("--heads", "16", "--kv-heads", "1,16") == [(1, 16, 1), (1, 16, 16)]
    line = refused(capsys, path, "--seq", "64k", "--heads", "6", "--kv-heads", "4")
    assert "--kv-heads 4: 6 heads are no multiple of it" in line


def test_a_table_tells_options_of_one_implementation_apart(capsys: pytest.CaptureFixture[str]) -> None:
    words = ("--hardware", "h100", "--seq", "64k", "--impl", "dilated,vanilla", "--format", "md")
    _, out, _ = call(capsys, *words)
    assert "| implementation | N |" in out
    _, out, _ = call(capsys, *words, "--schedule", "geometric,lm")
    assert "| implementation | options | N |" in out
    assert "schedule=lm" in out


def test_a_line_holds_one_point_of_a_length(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    page = tmp_path / "page.html"
    varied = ("--causal", "both", "--kv-heads", "1,8", "--dtype", "bf16,fp16", "--schedule", "geometric,lm")
    words = ("--hardware", "h100", "--seq", "64k,128k", "--impl", "dilated,vanilla", *varied)
    assert call(capsys, *words, "--format", "html", "-o", str(page))[0] == 0
    text = page.read_text(encoding="utf-8")
    traces = json.loads(text.partition('id="longbench-data">')[2].partition("</script>")[0])["figures"]["0"]["data"]
    assert [trace["x"] for trace in traces] == [[1 << 16, 1 << 17]] * (8 * 3)
    assert len({trace["name"] for trace in traces}) == 8 * 3
    assert "dilated fwd 1 rank 8 heads dtype float16 causal yes kv heads 1 schedule=lm" in {
        trace["name"] for trace in traces
    }


def test_help_states_its_own_default_length(capsys: pytest.CaptureFixture[str]) -> None:
    _, out, _ = call(capsys, "--help")
    assert "(default: 1b)" in " ".join(out.replace("│", " ").split())


def test_points_that_are_not_trusted_are_told_of(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    noisy = Verdict(kind="contended", reasons=["others took 80% of the processors"])
    points = [Machine().point(n) for n in LENGTHS]
    points[1:3] = [point.model_copy(update={"verdict": noisy}) for point in points[1:3]]
    code, out, _ = call(capsys, str(write_run(make_run(points, "busy.jsonl"), tmp_path)), "--seq", "1m")
    assert code == 0
    assert "measured: 4 points (2 of 4 points contended), 4k–32k" in out


def test_options_that_do_not_fit_are_one_line(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    points = [measured(make_case("dilated", n, options={"schedule": "none"}), 1e3 * n) for n in LENGTHS]
    line = refused(capsys, str(write_run(make_run(points, "odd.jsonl"), tmp_path)), "--seq", "1m")
    assert "unknown schedule 'none'" in line
    assert "internal error" not in line


def test_machines_are_fitted_apart_and_said(capsys: pytest.CaptureFixture[str], run: str, tmp_path: Path) -> None:
    slower = [Machine(rate=1e11).point(n) for n in LENGTHS]
    other = make_run(slower, "other.jsonl", environment=ENVIRONMENT | {"cpu": "Slow CPU"})
    code, out, err = call(capsys, run, str(write_run(other, tmp_path)), "--seq", "1m", "--format", "json")
    assert code == 0
    assert "2 machines, each fitted apart: Example CPU" in err
    fast, slow = json.loads(out)["sections"]
    assert slow["forecasts"][0]["seconds"] == pytest.approx(2 * fast["forecasts"][0]["seconds"], rel=0.02)


def test_a_run_file_leads_to_no_code(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    (tmp_path / "trap.py").write_text(f"open({str(tmp_path / 'sprung')!r}, 'w')\n")
    points = [measured(make_case("trap:attend", n, backend="none"), 1e3 * n) for n in LENGTHS]
    path = str(write_run(make_run(points, "trapped.jsonl"), tmp_path))
    done = subprocess.run(
        [sys.executable, "-m", "longbench_cli", "predict", path],
        cwd=tmp_path,
        env={"PYTHONPATH": str(ROOT), "PATH": ""},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    assert "if you trust it, add --impl trap:attend" in done.stderr
    assert not (tmp_path / "sprung").exists()


def test_it_imports_no_torch(run: str) -> None:
    code = (
        "import sys; from longbench_cli.app import main\n"
        "try: main(sys.argv[1:])\n"
        "finally: sys.stderr.write(' '.join(sys.modules))"
    )
    for words in ((run, "--seq", "1m", "--gpus", "1,4"), ("--hardware", "h100", "--gpus", "1,8")):
        done = subprocess.run(
            [sys.executable, "-c", code, "predict", *words], cwd=ROOT, capture_output=True, text=True, check=True
        )
        assert not {"torch", "pandas", "plotly"} & set(done.stderr.split())
