"""A comparison in each form that a person or a CI system reads; nothing in it can break out of that form."""

from __future__ import annotations

import json
import math
import re
import xml.etree.ElementTree as ET
from dataclasses import replace
from html.parser import HTMLParser

import pytest
from verdicts import CONFIRMED, SLOWER, comparison, effect_of, of_every_kind, paired, side_info, stored

from longbench_cli.analyse.comparison.types import KINDS, Comparison, Side
from longbench_cli.present.comparison.annotations import MOST, to_annotations
from longbench_cli.present.comparison.explained import explain
from longbench_cli.present.comparison.junit import to_junit
from longbench_cli.present.comparison.markdown import MOST_EXPLAINED, to_markdown
from longbench_cli.present.comparison.page import render_comparison
from longbench_cli.present.comparison.structured import to_json
from longbench_cli.present.comparison.terminal import to_terminal

EVIL = "\x1b[31m|`</pre></details><script>alert(1)</script>\n::error::pwned\r\n\x00\ufffe]]>&%0A,:*_[x](y)\u2028"


def hostile() -> Comparison:
    """The same text wherever a file could have brought one in."""
    point = paired("regression", SLOWER, impl=f"mine{EVIL}", reason=EVIL, steps=(EVIL,))
    point = replace(point, key=EVIL, candidate=replace(point.candidate, reason=EVIL, backend=EVIL, notes=(EVIL,)))
    side = side_info(EVIL, version=EVIL, commit=EVIL, created=EVIL, environment={"cpu": EVIL, EVIL: EVIL})
    return comparison(point, paired(), base=side, candidate=side, warnings=(EVIL,))


def rows_of(markdown: str) -> list[list[str]]:
    return [re.split(r"(?<!\\)\|", line)[1:-1] for line in markdown.splitlines() if line.startswith("| ")]


def test_the_terminal_shows_every_point_and_why_it_is_not_ok() -> None:
    text = to_terminal(of_every_kind(), plain=True)
    row = next(line for line in text.splitlines() if "dilated fwd 8k" in line)
    assert row.split() == [
        "regression", "dilated", "fwd", "8k", "+6.2%", "12.52", "ms", "13.27", "ms", "+5.8%", "to", "+6.6%", "3.0%",
        "1.2%",
    ]  # fmt: skip
    assert "regression: vanilla fwd 64k: the candidate: out of memory" in text
    assert "+37.5% (+24.0 MiB)" in text
    assert "--allow threads" in text
    assert text.splitlines()[0].startswith("base       main · commit 0f1e2d3c4")
    assert text.splitlines()[-1].startswith("1 incorrect, 3 regressions")


@pytest.mark.parametrize("changes", [{"identical": True}, {"identical": True, "injected": 0.05}])
def test_a_test_of_the_gate_itself_is_marked_in_every_form(changes: dict[str, object]) -> None:
    found = comparison(paired("regression", SLOWER), **changes)
    mark = "INJECTED" if "injected" in changes else "A/A"
    assert to_terminal(found, plain=True).startswith(f"{mark}: ")
    assert to_markdown(found).startswith(f"### longbench {mark}: ")
    assert "> [!WARNING]" in to_markdown(found)
    page = render_comparison(found)
    assert f'class="warnings alarm" role="note">{mark}: ' in page
    assert ("<h1>injected slowdown found in 1 of 1 point</h1>" in page) == (mark == "INJECTED")
    assert f'<testsuite name="longbench {mark}"' in to_junit(found, inconclusive_fails=False)
    assert to_annotations(found, inconclusive_fails=False).startswith(f"::error title=longbench {mark}%3A regression")
    assert explain(found, "dilated").startswith(f"{mark}: ")
    assert json.loads(to_json(found))["injected"] == changes.get("injected")


def test_how_much_of_an_injected_slowdown_was_found_is_said_in_every_form() -> None:
    slower, quiet, gone = paired("regression", SLOWER), paired(length=1024), paired("regression", length=512)
    bigger = paired("regression", length=2048, metric="memory")  # its time is as it was
    found = comparison(slower, quiet, bigger, replace(gone, base=Side("oom", "too much")), injected=0.05)
    said = "injected slowdown found in 1 of 3 points; missed: dilated fwd 1k, dilated fwd 2k"
    assert to_terminal(found, plain=True).splitlines()[-1] == said
    assert said in to_markdown(found).splitlines()[0]
    assert said in to_junit(found, inconclusive_fails=False)
    told = json.loads(to_json(found))
    assert (told["injected_found"], told["injected_points"]) == (1, 3)
    real = json.loads(to_json(comparison(slower)))
    assert (real["injected_found"], real["injected_points"]) == (None, None)


def test_points_that_one_thing_makes_unlike_are_one_line() -> None:
    many = [paired("not-comparable", SLOWER, length=1024 * n, reason="torch: base 2, candidate 3") for n in range(1, 7)]
    found = comparison(*many, paired("not-comparable", length=512, reason="cut off"), paired("regression", SLOWER))
    text = to_terminal(found, plain=True)
    assert text.count("torch: base 2, candidate 3") == 1
    assert "not-comparable: 6 points: torch: base 2, candidate 3" in text
    assert "not-comparable: dilated fwd 512: cut off" in text
    rows = [line for line in text.splitlines() if line.startswith("not-comparable ")]
    assert len(rows) == 7
    assert not [row for row in rows if "+6.2%" in row]  # the difference, not the code, may have made it
    lines = to_annotations(found, inconclusive_fails=False).splitlines()
    assert len(lines) == 3
    assert lines[1] == "::error title=longbench%3A not-comparable%3A 6 points::torch: base 2, candidate 3"


def test_markdown_of_a_failure_of_every_point_names_them_all_and_stays_small() -> None:
    steps = tuple(f"step {number}: {'d = +5.00% ' * 12}" for number in range(5))
    point = paired("regression", SLOWER, CONFIRMED, steps=steps)
    noted = replace(point.candidate, notes=tuple(f"session {number}: noisy" for number in range(300)))
    many = [
        paired("regression", SLOWER, CONFIRMED, length=1024 * n, steps=steps, candidate=noted) for n in range(1, 61)
    ]
    text = to_markdown(comparison(*many))
    assert len(text.encode()) < 200_000
    assert text.count("<pre>") == MOST_EXPLAINED
    assert "Not explained here: dilated fwd 41k, dilated fwd 42k" in text


def test_markdown_folds_away_what_is_ok() -> None:
    text = to_markdown(of_every_kind())
    shown, _, folded = text.partition("<details>")
    assert [row[0].strip() for row in rows_of(shown)[2:]] == [
        "incorrect", "regression", "regression", "regression", "not-comparable", "inconclusive", "improvement", "new",
    ]  # fmt: skip
    assert "<summary>1 point ok</summary>" in folded
    assert [row[1].strip() for row in rows_of(folded)[2:]] == ["vanilla fwd 1k"]
    assert "--allow threads" in shown
    assert text.count("<pre>") == 8


def test_markdown_of_a_good_gate_is_short() -> None:
    shown = to_markdown(comparison(paired(), paired(length=16384))).partition("<details>")[0]
    assert shown.startswith("### longbench: 2 points, all ok\n")
    assert not rows_of(shown)


def test_json_has_every_number_and_the_exit_code() -> None:
    found = json.loads(to_json(of_every_kind(), inconclusive_fails=True))
    assert (found["schema"], found["mode"], found["exit_code"]) == (1, "paired", 5)
    assert list(found["kinds"]) == list(KINDS)
    assert found["kinds"]["regression"] == 3
    assert found["base"]["commit"].startswith("0f1e2d3c4")
    assert found["base"]["environment"]["cores"] == 2
    slower = found["points"][0]
    assert (slower["label"], slower["kind"], slower["metric"]) == ("dilated fwd 8k", "regression", "time")
    assert slower["values"] == list(SLOWER)
    assert len(slower["confirmation"]) == 6
    assert slower["case"]["pass"] == "fwd"
    assert slower["effect"]["ratio"] == pytest.approx(1.062, abs=1e-3)
    assert slower["memory"]["base_bytes"] == 64 << 20
    assert found["points"][2]["candidate"]["status"] == "oom"


@pytest.mark.parametrize(("fails", "code"), [(False, 0), (True, 3)])
def test_what_is_inconclusive_fails_only_if_it_is_to(fails: bool, code: int) -> None:
    found = comparison(paired("inconclusive"), paired(length=16384))
    assert json.loads(to_json(found, inconclusive_fails=fails))["exit_code"] == code
    suite = ET.fromstring(to_junit(found, inconclusive_fails=fails))
    assert (suite.get("failures"), suite.get("skipped")) == (("1", "0") if fails else ("0", "1"))
    level = "error" if fails else "warning"
    assert to_annotations(found, inconclusive_fails=fails).startswith(f"::{level} title=")


def test_json_knows_no_infinity() -> None:
    endless = replace(effect_of(SLOWER), interval=(0.0, math.inf), upper=math.inf)
    found = json.loads(to_json(comparison(paired(effect=endless, detectable=math.nan))), parse_constant=pytest.fail)
    assert found["points"][0]["effect"]["interval"] == [0.0, None]
    assert found["points"][0]["detectable"] is None


def test_junit_has_a_test_a_point() -> None:
    suites = ET.fromstring(to_junit(of_every_kind(), inconclusive_fails=False))
    cases = {case.get("name"): case for case in suites.iter("testcase")}
    assert suites.attrib == {
        "name": "longbench", "tests": "9", "failures": "5", "errors": "0", "skipped": "2"
    }  # fmt: skip
    failure = cases["dilated fwd 8k"].find("failure")
    assert failure is not None
    assert failure.get("message") == "regression: 6.2% slower, confirmed by 6 fresh pairs"
    assert "to confirm" in cases["dilated fwd 8k"].findtext("system-out", "")
    assert cases["dilated fwd 1k"].find("skipped") is not None  # new: there is nothing to compare with
    passed = [name for name, case in cases.items() if case.find("failure") is None and case.find("skipped") is None]
    assert passed == ["dilated fwd 2k", "vanilla fwd 1k"]


def test_annotations_are_of_three_levels_worst_first() -> None:
    lines = to_annotations(of_every_kind(), inconclusive_fails=False).splitlines()
    assert [line.split(" ")[0] for line in lines] == ["::error"] * 5 + ["::warning", "::notice"]
    assert lines[1] == (
        "::error title=longbench%3A regression%3A dilated fwd 8k::6.2%25 slower, confirmed by 6 fresh pairs"
    )
    assert to_annotations(comparison(paired()), inconclusive_fails=True) == ""


def test_more_annotations_than_are_shown_are_counted() -> None:
    many = [paired("regression", SLOWER, length=1024 * n) for n in range(1, MOST + 6)]
    lines = to_annotations(comparison(*many), inconclusive_fails=False).splitlines()
    assert len(lines) == MOST
    assert "and 6 more points" in lines[-1]


def test_nothing_of_a_file_reaches_a_terminal_as_more_than_text() -> None:
    found = hostile()
    for text in (to_terminal(found, plain=True), explain(found, "mine"), to_markdown(found), to_json(found)):
        assert not [line for line in text.split("\n") if not line.isprintable()]


def test_nothing_of_a_file_is_markup_in_markdown() -> None:
    text = to_markdown(hostile())
    assert len({len(row) for row in rows_of(text.partition("<details>")[0])}) == 1
    assert "<script" not in text.replace("\\<script", "")
    assert text.count("<details>") == text.count("</details>") == 2
    assert text.count("<pre>") == text.count("</pre>") == 1


def test_nothing_of_a_file_breaks_xml_or_is_a_command() -> None:
    suites = ET.fromstring(to_junit(hostile(), inconclusive_fails=False))
    (failure,) = suites.iter("failure")
    assert "<script>alert(1)</script>" in (failure.text or "")
    (line,) = to_annotations(hostile(), inconclusive_fails=False).splitlines()
    assert line.startswith("::error title=longbench%3A")
    title = line.removeprefix("::error title=").partition("::")[0]
    assert not set(title) & {":", ",", "\r"}
    assert "%250A" in line  # as it was written, not a line end


class _Tags(HTMLParser):
    def __init__(self, text: str) -> None:
        super().__init__()
        self.scripts = 0
        self.text = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.scripts += tag == "script"

    def handle_data(self, data: str) -> None:
        self.text += data


def test_the_page_shows_what_is_not_ok_and_all_points() -> None:
    page = render_comparison(of_every_kind())
    tags = _Tags(page)
    assert tags.scripts == 3  # its data, plotly, its own
    assert _Tags(render_comparison(hostile())).scripts == 3
    assert page.count("Everything behind it") == 8
    assert page.count('class="figure"') == 5  # of the points that both sides measured
    assert "Open marks on a shaded ground" in page
    assert "Open marks on a shaded ground" not in render_comparison(stored(paired("regression", SLOWER)))


def test_a_narrow_terminal_loses_no_digit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    monkeypatch.setenv("COLUMNS", "60")
    text = to_terminal(of_every_kind(), plain=False)
    row = next(line for line in text.splitlines() if "regression" in line)
    for shown in ("12.52 ms", "13.27 ms", "+6.2%", "+5.8% to +6.6%", "3.0%"):
        assert shown in row
