"""A run file from a stranger, script in every field that takes text, in a real browser: nothing of it runs.

The fields are found by walking the record's models, so that those to come are tried as well.
"""

from __future__ import annotations

import json
import re
from html.parser import HTMLParser
from pathlib import Path

import pytest
from chromium import dump, title, without_policy
from hostile_runs import hostile_lines, write_lines

from longbench_cli.present.report import render_report
from longbench_cli.record.loading import load_run

pytestmark = pytest.mark.browser

DEED = "document.title='pwned';document.documentElement.setAttribute('data-pwned','1')"
EVIL = (
    f'</script><script>{DEED}</script><img src=x onerror="{DEED}"><svg onload="{DEED}"></svg>'
    f'<iframe srcdoc="<script>parent.{DEED}</script>"></iframe><a id=pwned href="javascript:{DEED}">x</a>'
    f'\'" onmouseover="{DEED}" autofocus onfocus="{DEED}" <!-- {{{{7*7}}}} ${{{DEED}}} %{{meta}} ]]> \u2028\u2029'
    '<meta http-equiv=refresh content="0;url=data:text/html,pwned"><style>*{display:none}</style></textarea></title>'
)
UNKNOWN = {"img", "iframe", "object", "embed", "base", "form", "link", "textarea", "video", "audio", "math"}
"""Elements that no report has."""

# A user points at a mark, sorts, filters and follows every link that is no download.
USE = """
(async () => {
  const frame = () => new Promise((done) => setTimeout(done, 20));
  for (let tries = 0; tries < 200 && !document.querySelector("#figure-memory .scatterlayer"); tries++) await frame();
  for (const place of document.querySelectorAll(".js-plotly-plot")) {
    for (let curve = 0; curve < place.data.length; curve++) {
      try { Plotly.Fx.hover(place, [{ curveNumber: curve, pointNumber: 0 }]); } catch (error) { /* not shown */ }
      await frame();
    }
  }
  for (const button of document.querySelectorAll("button")) { button.click(); button.focus(); }
  for (const button of document.querySelectorAll("button")) button.dispatchEvent(new MouseEvent("mouseover"));
  await frame();
  const hovers = document.querySelectorAll(".hoverlayer .hovertext").length;
  document.documentElement.setAttribute("data-used", String(hovers));
})();
"""


class Elements(HTMLParser):
    """The elements of a document that has been used, as the browser wrote them out."""

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))


@pytest.fixture(scope="module")
def html(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("hostile")
    name = "".join(char for char in EVIL if char not in "/\u2028\u2029")[:120]
    path = write_lines(folder / f"{name}.jsonl", hostile_lines(EVIL))
    with path.open("a") as file:
        file.write('{"torn":')
    run = load_run(path)
    again = load_run(write_lines(folder / "other.jsonl", hostile_lines(EVIL, run_id=f"{EVIL}2")))
    return render_report([run, again])


def test_every_field_is_hostile() -> None:
    """What the walk over the models filled, down to the newest records."""
    header, point, *_ = hostile_lines(EVIL)
    said = json.dumps([header, point])
    for name in ("verdict", "reasons", "telemetry", "missing", "throttled", "graph_refused", "details", "options"):
        assert f'"{name}"' in said
    assert point["verdict"]["reasons"] == [EVIL]
    assert point["telemetry"]["missing"] == {EVIL: EVIL}
    assert list(point["telemetry"]["gpu"]["throttled"]) == [EVIL]
    assert list(point["case"]["options"]) == [EVIL]


def test_what_it_would_do_can_be_seen(tmp_path: Path) -> None:
    document = dump(f"<!doctype html><html><head><title>x</title></head><body>{EVIL}</body></html>", tmp_path)
    assert "data-pwned" in document.partition("<head")[0]


def test_nothing_runs_even_without_the_policy(html: str, tmp_path: Path) -> None:
    page = without_policy(html).replace("</body>", f"<script>{USE}</script></body>")
    document = dump(page, tmp_path)
    assert "data-pwned" not in document.partition("<head")[0]
    assert title(document).startswith(EVIL[:60])  # as text
    used = re.search(r'data-used="(\d+)"', document)
    assert used is not None
    assert int(used[1]) > 0  # hover texts were shown
    assert document.count('class="main-svg"') >= 3  # and the figures are drawn
    for tag, attributes in Elements(re.sub(r"<script.*?</script>", "", document, flags=re.DOTALL)).found:
        assert tag not in UNKNOWN, (tag, attributes)
        assert not [name for name in attributes if name.startswith("on")], (tag, attributes)
        assert attributes.get("id") != "pwned"
        assert not str(attributes.get("href", "")).startswith("javascript"), attributes
        assert tag != "meta" or attributes.get("http-equiv") is None


def test_it_is_the_same_page_with_the_policy(html: str, tmp_path: Path) -> None:
    document = dump(html, tmp_path)
    assert title(document).startswith(EVIL[:60])
    assert document.count('class="main-svg"') >= 3
    assert 'href="blob:' in document
