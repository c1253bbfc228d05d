"""The report in a real browser: it draws, sorts and offers its data."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from chromium import dump, title, without_policy
from sample_runs import make_run, realistic_points

from longbench_cli.present.report import render_report

pytestmark = pytest.mark.browser

# What a user would do, run inside the page; the answers are left in the document for --dump-dom.
PROBE = """
(async () => {
  const frame = () => new Promise((done) => setTimeout(done, 20));
  const column = (title) => [...document.querySelectorAll("#points th")].find((th) => th.textContent === title);
  const values = (title) => {
    const index = column(title).cellIndex;
    return [...document.querySelectorAll("#points tbody tr")].map((row) => row.cells[index]?.textContent);
  };
  const lines = (name) => document.querySelectorAll(`#figure-${name} .xy .scatterlayer .trace path.js-line`).length;
  const answers = {};
  for (let tries = 0; tries < 200 && !document.querySelector("#figure-memory .scatterlayer"); tries++) await frame();
  await frame();
  answers.lines = { runtime: lines("runtime"), actual: lines("actual"), memory: lines("memory") };
  answers.marks = document.querySelectorAll("#figure-runtime .xy2 .point").length;
  answers.buttons = [...document.querySelectorAll("#figure-runtime .modebar-btn")].map((one) => one.dataset.title);
  answers.ticks = [...document.querySelectorAll("#figure-runtime .xtick text")].map((tick) => tick.textContent);

  const sort = column("N").querySelector("button");
  sort.click();
  answers.ascending = values("N");
  sort.click();
  answers.descending = values("N");
  answers.said = column("N").getAttribute("aria-sort");
  column("peak memory").querySelector("button").click();
  answers.byMemory = values("status");

  const filter = document.getElementById("filter");
  filter.value = "vanilla pruned";
  filter.dispatchEvent(new Event("input"));
  answers.filtered = document.querySelectorAll("#points tbody tr:not([hidden])").length;

  document.querySelector('[data-figure="dense"]').click();
  for (let tries = 0; tries < 200 && !document.querySelector("#figure-dense .scatterlayer"); tries++) await frame();
  answers.dense = document.querySelector("#figure-dense .ytitle").textContent;
  answers.actualHidden = document.getElementById("figure-actual").hidden;

  document.querySelector('[data-series="0"]').click();
  await frame();
  answers.linesWithout = lines("runtime");
  answers.pressed = [...document.querySelectorAll('[data-series="0"]')].map((entry) => entry.ariaPressed);

  const link = document.querySelector("a.download");
  answers.download = link.download;
  answers.raw = await (await fetch(link.href)).text();
  document.title = JSON.stringify(answers);
})();
"""


def test_a_report_works(tmp_path: Path) -> None:
    points = realistic_points()
    # The probe is a test's own script: the page's policy would rightly refuse it.
    html = without_policy(render_report([make_run(points)]))
    html = html.replace("</body>", f"<script>{PROBE}</script></body>")
    answers = json.loads(title(dump(html, tmp_path)))

    bands_and_references = 4 + 2
    assert answers["lines"] == {"runtime": 4 + bands_and_references, "actual": 4, "memory": 4}
    assert answers["marks"] == sum(point.status != "ok" for point in points)
    assert answers["ticks"] == ["1k", "2k", "4k", "8k", "16k", "32k", "64k", "128k", "256k"]

    assert answers["buttons"] == ["Download plot", "Zoom", "Pan", "Reset axes"]  # none that sends data anywhere

    lengths = [f"{1 << step}k" for step in range(9)]
    assert answers["ascending"] == sorted(answers["ascending"], key=lengths.index)
    assert answers["descending"] == sorted(answers["ascending"], key=lengths.index, reverse=True)
    assert answers["said"] == "descending"
    assert len(answers["ascending"]) == len(points)
    lost = sum(point.status != "ok" for point in points)
    assert answers["byMemory"][: len(points) - lost] == ["ok"] * (len(points) - lost)  # empty cells last

    assert answers["filtered"] == 4
    assert "dense-equivalent" in answers["dense"]
    assert answers["actualHidden"] is True
    assert answers["linesWithout"] == answers["lines"]["runtime"] - 2  # the line and its band
    assert set(answers["pressed"]) == {"false"}
    assert answers["download"] == "today.jsonl"
    assert len(answers["raw"].splitlines()) == 1 + len(points)


def test_the_policy_lets_the_page_work_in_dark_too(tmp_path: Path) -> None:
    document = dump(render_report([make_run(realistic_points())]), tmp_path, "--blink-settings=preferredColorScheme=0")
    assert document.count('class="main-svg"') >= 3
    ink = re.search(r'class="xtick".*?fill: rgb\((\d+), (\d+), (\d+)\)', document, re.DOTALL)
    assert ink is not None
    assert min(map(int, ink.groups())) > 128  # light on dark
    assert 'href="blob:' in document
