"""The HTML file: self-contained, complete, and nothing in it comes to life that was only data."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from html.parser import HTMLParser

import pytest
from sample_runs import make_case, make_run, measured, realistic_points, unmeasured

from longbench_cli.present.page import script_json
from longbench_cli.present.report import render_report
from longbench_cli.record.schema import POINT, RunHeader

EVIL = "</script><script>document.title='pwned'</script><img src=x onerror=\"document.title='pwned'\">\u2028'\"&"


class Page(HTMLParser):
    """The elements of a page, with their attributes and text."""

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.scripts: list[str] = []
        self.text = ""
        self._inside: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        self._inside.append(tag)
        if tag == "script":
            self.scripts.append("")

    def handle_endtag(self, tag: str) -> None:
        if tag in self._inside:
            while self._inside.pop() != tag:
                pass

    def handle_data(self, data: str) -> None:
        if self._inside[-1:] == ["script"]:
            self.scripts[-1] += data
        elif self._inside[-1:] != ["style"]:
            self.text += data

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.elements if name == tag]


@pytest.fixture(scope="module")
def html() -> str:
    run = make_run(realistic_points())
    run.warnings.append("today.jsonl: line 99, the last, is incomplete and was dropped")
    return render_report([run])


@pytest.fixture(scope="module")
def page(html: str) -> Page:
    return Page(html)


def test_needs_nothing_but_itself(page: Page) -> None:
    for tag, attributes in page.elements:
        for name in ("src", "href", "srcset", "action", "data", "poster"):
            assert name not in attributes, (tag, attributes)
    assert not page.all("link")
    assert not page.all("iframe")


def test_plotly_is_there_once(page: Page) -> None:
    assert sum("plotly.js v" in script[:500] for script in page.scripts) == 1
    assert len(page.scripts) == 3


def test_only_our_two_scripts_may_run(page: Page) -> None:
    (policy,) = (meta["content"] for meta in page.all("meta") if meta.get("http-equiv"))
    allowed = re.findall(r"'sha256-([^']+)'", policy or "")
    executable = page.scripts[1:]
    assert page.all("script")[0]["type"] == "application/json"
    assert allowed == [base64.b64encode(hashlib.sha256(script.encode()).digest()).decode() for script in executable]
    assert "unsafe-inline" not in re.search(r"script-src[^;]*", policy or "").group()
    assert "default-src 'none'" in (policy or "")


def test_opens_with_the_answer(page: Page) -> None:
    assert page.text.index("26× faster than vanilla at 64k") < page.text.index("Time against sequence length")
    assert "dilated, vanilla and mine.kernels:fast attention, 1k–256k tokens" in page.text


def test_shows_statuses_reasons_environment_settings_and_warnings(page: Page) -> None:
    for text in (
        "31 ok", "4 pruned", "1 oom", "3 incorrect", "needed 9.1 GiB, 7.2 GiB are free", "rows 17, 512 (head 3)",
        "packages.torch", "2.13.0", "8.00 GiB", "max_point_time", "longbench run --impl dilated,vanilla --seq 1k:64k",
        "line 99, the last, is incomplete", "Example CPU at 2.10 GHz, 2 cores",
    ):  # fmt: skip
        assert text in page.text


def test_the_key_of_every_pass_shows_its_dash() -> None:
    """A legend whose line is solid where the figure's is not says the wrong thing."""
    points = [
        measured(make_case("longnet", kind="model", pass_=pass_), 1e6) for pass_ in ("fwd", "bwd", "fwd+bwd", "step")
    ]
    lines = Page(render_report([make_run(points)])).all("line")
    assert len({line.get("stroke-dasharray") for line in lines}) == 4


def test_raw_data_is_the_record(page: Page) -> None:
    run = make_run(realistic_points())
    jsonl, csv = json.loads(page.scripts[0])["files"]
    header, *points = jsonl.splitlines()
    assert RunHeader.model_validate_json(header) == run.header
    assert [POINT.validate_json(point) for point in points] == run.points
    assert csv.startswith("run_id,")
    assert [link["download"] for link in page.all("a")] == ["today.jsonl", "points.csv"]


def test_hostile_text_stays_text_everywhere() -> None:
    case = make_case(f"m:{EVIL}", backend=EVIL, options={EVIL: [EVIL]})
    run = make_run(
        [
            measured(case, 1e6),
            unmeasured(make_case(f"m:{EVIL}", 1024, backend=EVIL), "crashed", EVIL, stderr_tail=[EVIL]),
        ],
        path=f"{EVIL.replace('/', '')}.jsonl",
        run_id=EVIL,
        created=EVIL,
        argv=[EVIL],
        version=EVIL,
        profile=EVIL,
        settings={EVIL: EVIL},
        environment={EVIL: {EVIL: [EVIL]}, "cpu": EVIL, "gpus": [{"name": EVIL}]},
    )
    run.warnings.append(EVIL)
    hostile, harmless = Page(render_report([run])), Page(render_report([make_run([measured(make_case(), 1e6)])]))
    assert len(hostile.scripts) == len(harmless.scripts)
    assert not hostile.all("img")
    assert all(not name.startswith("on") for _, attributes in hostile.elements for name in attributes)
    assert hostile.scripts[1:] == harmless.scripts[1:]
    assert EVIL.replace("\u2028", " ") in hostile.text.replace("\u2028", " ")
    figures = json.loads(hostile.scripts[0])["figures"]
    assert "<img" not in json.dumps([trace.get("hovertext") for trace in figures["runtime"]["data"]])


def test_json_in_a_script_cannot_end_the_script() -> None:
    text = script_json({"<!--": EVIL})
    assert not set("<>&\u2028\u2029") & set(text)
    assert json.loads(text) == {"<!--": EVIL}


def test_a_run_without_points_has_a_report() -> None:
    assert "holds no point yet" in Page(render_report([make_run([])])).text


def test_several_runs_have_a_section_and_a_download_each() -> None:
    points = [measured(make_case(length=1024 << step), 1e6) for step in range(3)]
    page = Page(render_report([make_run(points, "monday.jsonl"), make_run(points, "tuesday.jsonl")]))
    assert "vanilla fwd [monday]" in page.text
    assert [link["download"] for link in page.all("a")] == ["monday.jsonl", "tuesday.jsonl", "points.csv"]
