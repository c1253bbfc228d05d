"""What fuzzing and reading found, one by one: each ended in a traceback, a hang or a page that could not be drawn."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import pytest
from damaged_runs import BASE
from hostile_runs import write_lines
from targets import check_report, check_run_file

from longbench_cli.analyse.scaling import fit_power_law
from longbench_cli.errors import UsageError
from longbench_cli.present.export import to_csv, to_json
from longbench_cli.record.journal import is_started
from longbench_cli.record.loading import load_run
from longbench_cli.sweep.options import resolve


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("seq = " + "9" * 900 + "0" * 90, "too large a number"),
        ("seq = 0x" + "f" * 900, "too large a number"),
        ("seq = " + "[" * 990, "not valid TOML"),
        ("\n".join("x = [" if not line else "[" * 900 for line in range(8)), "not valid TOML"),
        ("max_time = inf", "finite"),
        ("budget = nan", "finite"),
        ("timeout = 1e300", "1000000000"),
        ("seed = 99999999999999999999", "less than or equal"),
        ("threads = 1000000", "4096"),
        ("chunk = 9999999999999999999999", "less than or equal"),
        ("depth = 10001", "10000"),
        ('"a\\nb\\u001b[2J" = 1', "a b\\x1b[2J"),
        ("description = 1979-05-27", "expected a string"),
        ("chunk = 1979-05-27", "expected one number of tokens"),
        ("budget = [1]", "expected a time"),
        ("seq = [[1]]", "expected a string or a whole number"),
        ("seq = [" + ",\n".join(["'1:9999:+1'", "'20001:29999:+1'"]) + "]", "more than 10,000 values"),
        ("a" + ".a" * 600 + " = 1", "a line of"),
        ("#\n" * 10_000, "longer than"),
    ],
)
def test_a_profile_is_refused_in_one_line(text: str, words: str, tmp_path: Path) -> None:
    path = tmp_path / "p.toml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(UsageError) as caught:
        resolve({"profile": str(path)})
    assert words in str(caught.value)
    assert len(str(caught.value)) < 900
    assert "\n" not in str(caught.value)


def test_more_digits_than_python_writes_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "p.toml"
    path.write_text("seq = [\n" + "'8k',\n" + "0x" + "f" * 990 + "]", encoding="utf-8")
    with pytest.raises(UsageError, match="too large"):
        resolve({"profile": str(path)})
    with pytest.raises(UsageError, match="--seed"):
        resolve({"seed": 1 << 20_000})


def changed(line: int, *way: Any, to: Any) -> list[Any]:
    lines = copy.deepcopy(BASE)
    owner: Any = lines[line]
    for step in way[:-1]:
        owner = owner[step]
    owner[way[-1]] = to
    return lines


def content(lines: list[Any], **raw: str) -> bytes:
    text = "".join(f"{json.dumps(line)}\n" for line in lines)
    for name, value in raw.items():
        text = text.replace(f'"{name}"', value)
    return text.encode()


@pytest.mark.parametrize(
    ("line", "way", "to", "loads"),
    [
        (1, ("latency", "median_ns"), -1.0, False),
        (1, ("latency", "median_ns"), 5e-324, False),
        (1, ("latency", "median_ns"), 1e300, False),
        (1, ("latency", "median_ns"), 0.0, True),
        (1, ("latency", "ci95_ns"), [2.0, 1.0], False),
        (1, ("latency", "ci95_ns"), [1.0, 0.0], False),
        (1, ("latency", "ci95_ns"), [-1.0, 1.0], False),
        (1, ("memory", "peak_bytes"), -1, False),
        (1, ("memory", "peak_bytes"), 10**400, False),
        (1, ("cost", "flops"), 10**400, False),
        (1, ("cost", "flops"), 10**200, True),
        (1, ("case", "seq_len"), 10**400, False),
        (1, ("case", "seq_len"), 2**50, True),
        (1, ("session",), 10**400, False),
        (1, ("verification", "tolerance"), 0.0, True),
        (7, ("details", "blocks"), 10**400, True),
        (7, ("details", "parameters"), 10**400, True),
        (7, ("details", "depth"), -1, True),
        (0, ("settings", "precision"), 10**400, True),
        (0, ("environment", "memory_bytes"), 10**400, True),
        (0, ("schema",), 10**4000, False),
        (0, ("argv",), ["longbench", "run", "--seed", "[" * 10_000], True),
        (0, ("argv",), ["longbench", "run", "--seed", "x"], True),
    ],
)
def test_a_value_out_of_all_bounds(line: int, way: tuple[Any, ...], to: Any, loads: bool) -> None:
    data = content(changed(line, *way, to=to))
    assert check_run_file(data) is loads
    if loads and line:
        assert check_report(data)


@pytest.mark.parametrize(
    ("way", "raw", "loads"),
    [
        (("environment", "x"), '"\\ud800"', False),
        (("environment", "x"), "[" * 500 + "]" * 500, False),
        (("environment", "x"), "[" * 100_000 + "]" * 100_000, False),
        (("environment", "x"), "9" * 5000, False),
        (("environment", "x"), "1e999", True),
        (("environment", "x_bytes"), "9" * 4000, True),
    ],
)
def test_a_header_that_json_allows_and_python_does_not(way: tuple[str, ...], raw: str, loads: bool) -> None:
    assert check_run_file(content(changed(0, *way, to="@raw@"), **{"@raw@": raw})) is loads


@pytest.mark.parametrize("raw", ["NaN", "Infinity", "1e999", "-1e999"])
def test_no_number_is_none(raw: str) -> None:
    for way in (("latency", "median_ns"), ("latency", "noise"), ("telemetry", "steal_share")):
        assert not check_run_file(content(changed(1, *way, to="@raw@"), **{"@raw@": raw}))
    assert check_run_file(content(changed(1, "case", "options", to={"depth": "@raw@"}), **{"@raw@": raw}))


def test_a_first_line_deeper_than_python_goes_is_a_file_to_leave_alone(tmp_path: Path) -> None:
    path = tmp_path / "run.jsonl"
    path.write_bytes(b'{"record":"run","x":' + b"[" * 100_000)
    assert not is_started(path)  # cut off in its first line
    path.write_bytes(b'{"record":"run","x":' + b"[" * 100_000 + b"\n")
    assert is_started(path)


def test_lengths_that_floats_cannot_tell_apart_have_no_exponent() -> None:
    assert fit_power_law([2**50 - 2, 2**50 - 1, 2**50], [1.0, 2.0, 3.0]) is None
    assert fit_power_law([1000, 1001, 1002], [1e-3, 1e6, 1e18]) is None
    assert fit_power_law([1000, 2000, 4000], [1.0, 2.0, 4.0]) is not None


def test_json_has_no_word_for_what_is_no_number_and_csv_no_formula(tmp_path: Path) -> None:
    lines = changed(1, "case", "impl", to="=HYPERLINK(1)")
    lines[1]["details"] = {"x": float("nan")}
    run = load_run(write_lines(tmp_path / "run.jsonl", lines))
    assert json.loads(to_json([run]))["runs"][0]["points"][0]["details"] == {"x": None}
    assert ",'=HYPERLINK(1)," in to_csv([run])
    assert ",=HYPERLINK(1)," not in to_csv([run])
