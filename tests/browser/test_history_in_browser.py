"""The trend page, drawn by a real browser: what is folded is drawn when it is opened, and text stays text."""

from __future__ import annotations

from pathlib import Path

import pytest
from chromium import dump, without_policy
from compared import measured, planned, run_of

from longbench_cli.analyse.history import build_series
from longbench_cli.present.history.page import render_history
from longbench_cli.present.history.view import HistoryView

pytestmark = pytest.mark.browser

OPEN_ONE = "<script>addEventListener('load', () => { document.querySelectorAll('details')[5].open = true; })</script>"


def page() -> str:
    runs = [
        run_of(
            [
                measured(median_ns=1e6 if number < 5 else 1.2e6),
                *(measured(planned(1024 * n), median_ns=1e6) for n in range(2, 15)),
            ],
            run_id=f"<i>run<i>{number}",
            created=f"2026-11-{number:02}T00:00:00Z",
        )
        for number in range(1, 10)
    ]
    return render_history(HistoryView(build_series(runs, 0.03), runs, 0.03))


def test_what_changed_is_drawn_at_once_and_the_rest_when_it_is_opened(tmp_path: Path) -> None:
    document = dump(without_policy(page()).replace("</body>", f"{OPEN_ONE}</body>"), tmp_path)
    assert document.count("figure js-plotly-plot") == 2
    assert "+20.0%" in document
    assert "<i>run" not in document.split('id="longbench-data"')[0]
