"""The report's part about ranks in a real browser: figures stand there, and its own legend works them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from chromium import dump, title, without_policy
from rank_runs import scaled_points
from sample_runs import make_run

from longbench_cli.present.report import render_report

pytestmark = pytest.mark.browser

PROBE = """
(async () => {
  const frame = () => new Promise((done) => setTimeout(done, 20));
  const lines = (name) => document.querySelectorAll(`#figure-${name} .scatterlayer .trace path.js-line`).length;
  const texts = (where) => [...document.querySelectorAll(where)].map((one) => one.textContent);
  for (let tries = 0; tries < 200 && !document.querySelector("#figure-breakdown .barlayer"); tries++) await frame();
  await frame();
  const figures = ["strong-time", "strong-efficiency", "weak-time", "weak-efficiency"];
  const answers = { lines: Object.fromEntries(figures.map((name) => [name, lines(name)])) };
  answers.ranks = texts("#figure-strong-time .xtick text");
  answers.shares = texts("#figure-strong-efficiency .ytick text");
  answers.problems = texts("#figure-strong-time .textpoint text").filter(Boolean).map((text) => text.trim());
  answers.bars = document.querySelectorAll("#figure-breakdown .barlayer .point path").length;
  answers.names = texts("#figure-breakdown .ytick text");
  answers.wide = [...document.querySelectorAll("#figure-breakdown .main-svg")].every((one) =>
    one.getBoundingClientRect().right <= innerWidth);
  answers.curves = lines("runtime");

  const entry = [...document.querySelectorAll("#figure-strong-time + .legend [data-series]")]
    .find((one) => one.textContent.trim() === "vanilla fwd");
  entry.click();
  await frame();
  answers.without = Object.fromEntries(figures.map((name) => [name, lines(name)]));
  answers.curvesWithout = lines("runtime");
  const same = document.querySelectorAll(`[data-series="${entry.dataset.series}"]`);
  answers.pressed = [...same].map((one) => one.ariaPressed);

  const efficiency = [...document.querySelectorAll("#ranks-0 th")].find((one) => one.textContent === "efficiency");
  efficiency.querySelector("button").click();
  const rows = [...document.querySelectorAll("#ranks-0 tbody tr")];
  answers.sorted = rows.map((row) => row.cells[efficiency.cellIndex].textContent);
  document.querySelector("details summary").click();
  answers.everyRank = document.querySelectorAll("#every-rank tbody tr").length;
  answers.open = document.querySelector("details").open;
  document.title = JSON.stringify(answers);
})();
"""


def test_scaling_over_ranks_is_drawn_and_its_legend_works(tmp_path: Path) -> None:
    run = make_run([*scaled_points("dilated"), *scaled_points("vanilla")])
    html = without_policy(render_report([run])).replace("</body>", f"<script>{PROBE}</script></body>")
    answers = json.loads(title(dump(html, tmp_path)))

    strong, weak = 2 * 2, 2 * 2  # of 2 implementations 8k and 16k; 8k a rank on 1 and 2 ranks, 4k a rank on 2 and 4
    assert answers["lines"]["strong-time"] == 2 * strong  # a line and its ideal
    assert answers["lines"]["weak-time"] == 2 * weak
    assert answers["lines"]["strong-efficiency"] == strong
    assert answers["ranks"] == ["1", "2", "4"]
    assert {"0%", "100%"} <= set(answers["shares"])
    assert sorted(set(answers["problems"])) == ["16k", "8k"]
    assert answers["bars"] == 2 * 8  # compute and exposed of 2 implementations at 2 lengths on 2 counts
    assert answers["names"].count("dilated fwd, 8k on 4 ranks") == 1
    assert answers["wide"]

    assert answers["without"]["strong-time"] == answers["lines"]["strong-time"] / 2
    assert answers["without"]["weak-efficiency"] < answers["lines"]["weak-efficiency"]
    assert answers["curvesWithout"] == answers["curves"]  # the legend of the curves over N is another
    assert set(answers["pressed"]) == {"false"}
    assert answers["sorted"] == sorted(answers["sorted"], key=lambda text: float(text.rstrip("%")))
    assert answers["everyRank"] == 2 * 2 * (2 + 4)
    assert answers["open"]


def test_the_policy_lets_the_figures_be_drawn(tmp_path: Path) -> None:
    document = dump(render_report([make_run(scaled_points())]), tmp_path)
    for name in ("strong-time", "strong-efficiency", "weak-time", "weak-efficiency", "breakdown"):
        assert 'class="main-svg"' in document.split(f'id="figure-{name}"', 1)[1].split("</section>", 1)[0]
