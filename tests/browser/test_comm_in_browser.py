"""The page of ``longbench comm`` in a real browser: it draws, toggles a line, sorts, filters and offers its data."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from chromium import dump, title, without_policy

from longbench_cli.analyse.comm import exchange_of, grouped
from longbench_cli.present.comm_page import render_comm
from longbench_cli.present.comm_view import CommView
from longbench_cli.sweep.options import resolve
from longbench_cli.sweep.plan import cases_of

pytestmark = pytest.mark.browser

PROBE = """
(async () => {
  const frame = () => new Promise((done) => setTimeout(done, 20));
  const lines = (name) => document.querySelectorAll(`#figure-${name} .scatterlayer .trace path.js-line`).length;
  const answers = {};
  for (let tries = 0; tries < 200 && !document.querySelector("#figure-1-P .scatterlayer"); tries++) await frame();
  await frame();
  answers.lines = ["0-N", "0-P", "1-N", "1-P"].map(lines);
  answers.ticks = [...document.querySelectorAll("#figure-0-P .xtick text")].map((tick) => tick.textContent);
  document.querySelector('[data-series="0"]').click();
  await frame();
  answers.without = ["0-N", "0-P"].map(lines);
  const most = [...document.querySelectorAll("#points th")].find((th) => th.textContent === "a rank, most");
  most.querySelector("button").click();
  const rows = [...document.querySelectorAll("#points tbody tr")];
  const orders = rows.map((row) => row.cells[most.cellIndex].dataset.order);
  answers.sorted = orders.filter((order) => order !== undefined).map(Number);
  const filter = document.getElementById("filter");
  filter.value = "ulysses 16";
  filter.dispatchEvent(new Event("input"));
  answers.left = document.querySelectorAll("#points tbody tr:not([hidden])").length;
  const link = document.querySelector("a.download");
  answers.variants = JSON.parse(await (await fetch(link.href)).text()).variants.length;
  document.title = JSON.stringify(answers);
})();
"""


def test_the_page_works(tmp_path: Path) -> None:
    options = {"impl": "dilated,vanilla", "parallel": "ulysses", "seq": "8k,64k,512k", "gpus": "2,4,16", "heads": "8"}
    cases = cases_of(resolve({**options, "device": "cpu"}))
    groups = grouped([exchange_of(case, impl) for case, impl in cases], weak=False)
    html = without_policy(render_comm(CommView(tuple(groups)), "longbench comm"))
    html = html.replace("</body>", f"<script>{PROBE}</script></body>")
    answers = json.loads(title(dump(html, tmp_path)))
    # of 512k tokens the longest segment is 512k, of 64k it is 32k, so that 2 ranks exchange nothing of it
    assert answers["lines"] == [3, 3, 2, 3]  # 8 heads cannot be shared by 16 ranks
    assert answers["ticks"] == ["2", "4", "16"]
    assert answers["without"] == [2, 3]
    assert answers["sorted"] == sorted(answers["sorted"])
    assert answers["left"] == 3
    assert answers["variants"] == 2
