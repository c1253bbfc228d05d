"""The page of a comparison in a real browser: plots stand there, the legend works them, the table sorts and filters."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from chromium import dump, title, without_policy
from verdicts import of_every_kind

from longbench_cli.present.comparison.page import render_comparison

pytestmark = pytest.mark.browser

PROBE = """
(async () => {
  const frame = () => new Promise((done) => setTimeout(done, 20));
  const places = [...document.querySelectorAll(".figure")];
  const drawn = () => places.every((place) => place.querySelector(".scatterlayer .point"));
  for (let tries = 0; tries < 200 && !drawn(); tries++) await frame();
  await frame();
  const marks = (place, where) => place.querySelectorAll(`.${where} .scatterlayer .point`).length;
  const answers = { figures: places.length };
  answers.above = marks(places[0], "xy");
  answers.below = marks(places[0], "xy2");
  answers.wide = places.every((place) => place.querySelector(".main-svg").clientWidth <= place.clientWidth);
  const heads = [...document.querySelectorAll("#points th")];
  const shown = document.querySelector(".scroll").getBoundingClientRect();
  answers.change = heads[2].textContent === "change" && heads[2].getBoundingClientRect().right <= shown.right;
  const swatches = [...places[0].parentElement.querySelectorAll(".swatch")];
  answers.legend = swatches.map((swatch) => swatch.firstElementChild.tagName);
  document.querySelector('[data-series="0"]').click();
  await frame();
  answers.without = places.map((place) => marks(place, "xy"));
  const verdict = document.querySelector("#points th");
  verdict.querySelector("button").click();
  answers.sorted = [...document.querySelectorAll("#points tbody tr")].map((row) => row.cells[0].textContent);
  const filter = document.getElementById("filter");
  filter.value = "regression dilated";
  filter.dispatchEvent(new Event("input"));
  answers.left = document.querySelectorAll("#points tbody tr:not([hidden])").length;
  const link = document.querySelector("a.download");
  answers.kinds = JSON.parse(await (await fetch(link.href)).text()).kinds;
  document.title = JSON.stringify(answers);
})();
"""


def test_the_page_works(tmp_path: Path) -> None:
    html = without_policy(render_comparison(of_every_kind()))
    html = html.replace("</body>", f"<script>{PROBE}</script></body>")
    answers = json.loads(title(dump(html, tmp_path, "--window-size=500,2400")))
    assert answers["figures"] == 5
    assert (answers["above"], answers["below"]) == (24, 12)  # 12 pairs, and the change of each
    assert answers["wide"]
    assert answers["change"]  # in sight without scrolling
    assert answers["legend"] == ["circle", "path"]  # as they are drawn
    assert answers["without"] == [12, 6, 6, 12, 6]  # the candidate alone
    assert answers["sorted"] == [
        "incorrect", "regression", "regression", "regression", "not-comparable", "inconclusive", "improvement", "new",
        "ok",
    ]  # fmt: skip
    assert answers["left"] == 2
    assert answers["kinds"]["regression"] == 3
