"""``longbench comm``: what it prints, what it draws, what it sets beside it, and what it refuses."""

from __future__ import annotations

import html
import json
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from counted_runs import counted_point
from sample_runs import make_case, make_run, measured, write_run

from attention_impls.distributed.traffic import Count
from longbench_cli import app

ROOT = Path(__file__).resolve().parents[3]
MINE = '''
from attention_impls.api import Implementation, Parallel
from attention_impls.distributed.traffic import Count

LAWS = {
    "level": lambda n, p: 4096,
    "linear": lambda n, p: n * 2,
    "log": lambda n, p: 1024 * p.bit_length(),
    "turns": lambda n, p: 64 if n.bit_length() % 2 else 0,
}


def traffic(shape, options, passes, element_bytes):
    """Rank 0 receives by the law, the others half as much."""
    most = LAWS[options["parallel"]](shape.seq_len, shape.world_size)
    return tuple(
        {"all_gather": Count(2, 3 * most, most, most if rank == 0 else most // 2)} for rank in range(shape.world_size)
    )


def refuse(shape, options):
    return "at most 32 of us" if shape.world_size > 32 else None


nothing = lambda *args, **more: None
attention = Implementation(
    name="mine",
    summary="a test's",
    load=nothing,
    defaults={"parallel": None},
    parallel=Parallel(tuple(LAWS), refuse, nothing, traffic, lambda shape, options: (1,) * shape.world_size, nothing),
)
'''
IMPL = "ranks_of_mine:attention"
SWEEP = ("--impl", IMPL, "--parallel", "level,linear,log", "--seq", "1k:16k", "--gpus", "2:32")


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Holds ``ranks_of_mine``, and is the current folder."""
    (tmp_path / "ranks_of_mine.py").write_text(MINE)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "ranks_of_mine", raising=False)
    return tmp_path


@pytest.fixture
def shown(folder: Path, capsys: pytest.CaptureFixture[str]) -> Callable[..., str]:
    """``shown("--impl", ...)``: what it prints; it must exit with 0."""

    def call(*words: object) -> str:
        with pytest.raises(SystemExit) as leaving:
            app.main(["comm", *map(str, words)])
        printed = capsys.readouterr()
        assert leaving.value.code == 0, printed.err
        return printed.out

    return call


def read(shown: Callable[..., str], *words: object) -> dict[str, dict[str, Any]]:
    """The JSON of each variant, by its name."""
    found = json.loads(shown(*words, "--format", "json"))
    return {one["label"].removeprefix(IMPL).strip(): one for one in found["variants"]}


def run_file(folder: Path, *, ranks: int, length: int, received: int, **changes: Any) -> Path:
    """A run in which each rank but the first counted half of ``received`` bytes."""
    case = make_case(IMPL, length, world_size=ranks, options={"parallel": "linear"}, **changes)
    counts = [
        {"all_gather": Count(2, 3 * received, received, received if rank == 0 else received // 2)}
        for rank in range(ranks)
    ]
    return write_run(make_run([measured(make_case(), 1e6), counted_point(case, counts)]), folder)


def test_every_number_of_every_point_is_in_the_json(shown: Callable[..., str]) -> None:
    found = read(shown, *SWEEP)
    assert list(found) == ["level", "linear", "log"]
    points = found["linear"]["points"]
    assert [(one["seq_len"], one["world_size"]) for one in points] == [
        (1024 << n, 2 << p) for n in range(5) for p in range(5)
    ]
    for one in points:
        most, ranks = 2 * one["seq_len"], one["world_size"]
        total = most + (ranks - 1) * most // 2
        assert one["received_bytes_most"] == most
        assert one["received_bytes_all"] == total
        assert one["received_bytes_mean"] == pytest.approx(total / ranks)
        assert (one["calls"], one["refused"], one["measured"]) == (2, None, [])


def test_growth_is_read_off_per_line(shown: Callable[..., str]) -> None:
    found = read(shown, *SWEEP)
    laws = {
        (name, line["receiver"], line["axis"]): line["growth"]["law"]
        for name, one in found.items()
        for line in one["growth"]
    }
    assert laws["level", "a rank", "N"] == laws["level", "a rank", "P"] == "constant"
    assert laws["linear", "a rank", "N"] == "power"
    assert laws["linear", "a rank", "P"] == "constant"
    assert laws["log", "a rank", "N"] == "constant"
    assert laws["log", "a rank", "P"] == "logarithmic"
    assert laws["level", "all ranks", "P"] == "power"
    assert len(found["log"]["growth"]) == 5 + 5 + 5  # a line a P, and a line an N for a rank and for all


def test_the_table_says_it_in_words(shown: Callable[..., str]) -> None:
    text = shown(*SWEEP)
    rows = [" ".join(line.split()) for line in text.splitlines()]
    assert "16k 32 32.0 KiB 16.5 KiB 528 KiB 2" in rows
    assert any(row.startswith("a rank N P 2–32 N^1.00, exactly N 1k–16k 5 points") for row in rows)
    assert any(row.startswith("a rank P N 1k–16k log P: 1.00 KiB more at each doubling, exactly") for row in rows)
    assert any(row.startswith("a rank P N 1k–16k constant, exactly: 4.00 KiB P 2–32 5 points") for row in rows)
    assert "bytes that must come to a rank from others" in text


def test_no_law_is_said_where_there_is_none(shown: Callable[..., str]) -> None:
    text = shown("--impl", IMPL, "--parallel", "turns", "--seq", "1k:16k", "--gpus", "4")
    assert "no law: 0 B to 64 B" in text


def test_a_point_that_cannot_be_says_why_and_has_no_number(shown: Callable[..., str]) -> None:
    words = ("--impl", f"{IMPL},sparse", "--seq", "1k", "--gpus", "32,64")
    text = shown(*words)
    (row,) = [line for line in text.splitlines() if "at most 32 of us" in line]
    assert row.split()[:2] == ["1k", "64"]
    assert "sparse cannot be shared by 32 ranks" in text
    found = read(shown, *words)
    assert found["level"]["points"][1] == {"seq_len": 1024, "world_size": 64, "batch": 1, "refused": "at most 32 of us"}
    assert all(point["refused"] for point in found["sparse"]["points"])


def test_weak_scaling_holds_the_tokens_of_a_rank(shown: Callable[..., str]) -> None:
    found = read(shown, "--impl", IMPL, "--parallel", "linear", "--seq", "1k", "--gpus", "2:16", "--scaling", "weak")
    points = found["linear"]["points"]
    assert [(one["seq_len"], one["world_size"]) for one in points] == [(1024 * p, p) for p in (2, 4, 8, 16)]
    (line,) = [one for one in found["linear"]["growth"] if one["receiver"] == "a rank"]
    assert (line["axis"], line["held"], line["growth"]["law"]) == ("P", 1024, "power")
    assert line["growth"]["exponent"] == pytest.approx(1)


def test_lines_of_weak_scaling_are_named_by_what_they_hold(shown: Callable[..., str]) -> None:
    weak = ("--seq", "1k", "--gpus", "2:16", "--scaling", "weak")
    text = shown("--impl", IMPL, "--parallel", "linear", *weak)
    assert "weak scaling: N grows with the ranks" in text
    assert "P        N / P 1k  P^1.00, exactly" in text
    model = shown("--impl", "longnet", "--pass", "fwd+bwd", *weak)
    assert "weak scaling: the batch grows with the ranks" in model
    assert "P        N 1k  constant times (P - 1) / P, exactly" in model


def test_what_ranks_counted_stands_beside_what_is_computed(shown: Callable[..., str], folder: Path) -> None:
    path = run_file(folder, ranks=4, length=2048, received=4096)
    text = shown(*SWEEP, "--dtype", "bf16", path)
    (row,) = [line for line in text.splitlines() if re.search(r"\bequal$", line.rstrip())]
    assert row.split()[:4] == ["2k", "4", "4.00", "KiB"]
    assert row.split()[-3:] == ["4.00", "KiB", "equal"]
    found = read(shown, *SWEEP, path)
    (point,) = [one for one in found["linear"]["points"] if one["measured"]]
    assert (point["seq_len"], point["world_size"]) == (2048, 4)
    assert point["measured"] == [
        {"source": "today.jsonl", "backend": "sdpa-flash", "device": "cpu", "most": 4096, "total": 10240,
         "difference": None}
    ]  # fmt: skip


def test_a_count_that_differs_is_said_with_rank_kind_and_file(shown: Callable[..., str], folder: Path) -> None:
    path = run_file(folder, ranks=4, length=2048, received=4098)
    text = shown(*SWEEP, path)
    assert "no: rank 0, all_gather: size_bytes counted 12,294, computed 12,288 (today.jsonl)" in text


def test_measured_points_that_are_not_in_the_table_are_told(shown: Callable[..., str], folder: Path) -> None:
    path = run_file(folder, ranks=4, length=2048, received=4096, causal=True)
    text = shown(*SWEEP, path)
    assert "Measured points of several ranks that are not in the tables: 1 (ranks_of_mine:attention/" in text
    assert "equal" not in text.replace("all ranks", "")


def test_markdown_is_a_table_a_variant(shown: Callable[..., str]) -> None:
    text = shown(*SWEEP, "--format", "md")
    assert text.count("### ranks_of_mine:attention l") == 3
    assert "| 16k | 32 | 32.0 KiB | 16.5 KiB | 528 KiB | 2 |" in text
    assert "| a rank | N | P 2–32 | N^1.00, exactly |" in text


def test_the_page_holds_a_figure_an_axis_and_variant_with_measured_marks(
    shown: Callable[..., str], folder: Path
) -> None:
    path = run_file(folder, ranks=4, length=2048, received=4096)
    assert "page: comm.html" in shown(*SWEEP, path, "-o", "comm.html")
    page = (folder / "comm.html").read_text(encoding="utf-8")
    assert page.startswith("<!doctype html>")
    assert "default-src 'none'" in html.unescape(page)
    assert not re.search(r"<(link|iframe|img)\b|\bsrc=", page.split("<script", 1)[0])
    data = json.loads(re.search(r'id="longbench-data">(.*?)</script>', page, re.DOTALL)[1])
    assert list(data["figures"]) == [f"{index}-{axis}" for index in range(3) for axis in "NP"]
    assert all(f'id="figure-{name}"' in page for name in data["figures"])
    against_n = data["figures"]["1-N"]
    lines = [trace for trace in against_n["data"] if trace["mode"] == "lines+markers"]
    assert [trace["name"] for trace in lines] == [f"P = {ranks}" for ranks in (2, 4, 8, 16, 32)]
    assert all(trace["y"] == [2 * n for n in trace["x"]] for trace in lines)
    marks = [trace for trace in against_n["data"] if trace["mode"] == "markers"]
    assert [(trace["x"], trace["y"], trace["name"]) for trace in marks] == [([2048], [4096], "P = 4")]
    assert {figure["layout"][axis]["type"] for figure in data["figures"].values() for axis in ("xaxis", "yaxis")} == {
        "log"
    }
    assert len({str(figure["layout"]["yaxis"]["range"]) for figure in data["figures"].values()}) == 1
    assert json.loads(data["files"][0])["variants"]
    series = re.findall(r'data-series="(\d+)"', page)
    assert len(series) == len(set(series)) == 3 * (5 + 5)
    assert "--scaling" not in page.split("</header>")[0]
    assert f"--impl {IMPL}" in page.split("</header>")[0]


def test_text_of_a_run_file_stays_text(shown: Callable[..., str], folder: Path) -> None:
    path = run_file(folder, ranks=4, length=2048, received=4096)
    lines = path.read_text(encoding="utf-8").replace('"all_gather"', '"</script><b>\\u001b[31m"')
    path.write_text(lines, encoding="utf-8")
    text = shown(*SWEEP, path, "-o", "comm.html")
    assert "\x1b" not in text
    assert "</script><b>" in text
    assert "</script><b>" not in (folder / "comm.html").read_text(encoding="utf-8")


def test_nothing_of_it_needs_torch(folder: Path) -> None:
    code = (
        "import atexit, os, sys\n"
        "atexit.register(lambda: os.write(2, b'torch' if 'torch' in sys.modules else b'light'))\n"
        "from longbench_cli.app import main\n"
        "main(['comm', '--seq', '1b', '--gpus', '4096', '--pass', 'fwd+bwd', '-o', 'comm.html'])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=folder,
        env={"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stderr == "light"
    assert "1b  4096" in done.stdout


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--gpus", "1"), "--gpus: one rank receives nothing from others; give 2 or more"),
        (("--gpus", "two"), "--gpus 'two': expected a whole number"),
        (("--impl", "vanila"), "--impl vanila: unknown implementation 'vanila'"),
        (("--impl", "vanilla", "--parallel", "rings"), "--parallel rings: no such algorithm; did you mean ring?"),
        (("--impl", "vanilla", "--schedule", "lm"), "--schedule: none of this sweep's implementations takes it"),
        (("--segments", "2048"), "segments and dilations go together"),
        (("--scaling", "both"), "--scaling 'both': choose strong or weak"),
        (("-o", "comm.md"), "--output comm.md: the page is HTML: give a name that ends in .html"),
        (("no-such.jsonl",), "no-such.jsonl"),
        (("-o", "no/such/folder.html", "--seq", "8k", "--gpus", "2"), "no/such/folder.html: cannot write"),
    ],
)
def test_what_cannot_be_shown_is_refused_in_one_line(
    folder: Path, words: tuple[str, ...], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as leaving:
        app.main(["comm", *words])
    printed = capsys.readouterr()
    assert (leaving.value.code, printed.out) == (2, "")
    assert printed.err.count("\n") == 1
    assert message in printed.err


def test_a_run_file_is_not_written_over(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = run_file(folder, ranks=4, length=2048, received=4096).rename(folder / "run.html")
    before = path.read_bytes()
    with pytest.raises(SystemExit) as leaving:
        app.main(["comm", *SWEEP, str(path), "-o", "run.html"])
    assert leaving.value.code == 2
    assert "is a run file to be read" in capsys.readouterr().err
    assert path.read_bytes() == before
