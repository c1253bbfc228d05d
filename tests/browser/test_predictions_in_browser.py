"""The page of predictions, drawn by a real browser."""

from __future__ import annotations

from pathlib import Path

import pytest
from chromium import dump
from sample_runs import make_case, make_run, measured

from attention_impls.api import get_implementation
from longbench_cli.analyse.prediction.families import families_of
from longbench_cli.analyse.prediction.forecast import FamilyModel
from longbench_cli.present.predict_page import render_predictions
from longbench_cli.present.predict_view import Section
from longbench_cli.sweep.hardware import load_hardware

pytestmark = pytest.mark.browser


def test_measured_and_predicted_are_drawn_and_text_stays_text(tmp_path: Path) -> None:
    points = [measured(make_case("vanilla", n), 1e-3 * n**2) for n in (4096, 8192, 16384)]
    (family,) = families_of([make_run(points, "<b>run<b>.jsonl")])
    model = FamilyModel(family, get_implementation("vanilla"), load_hardware("cpu"), 1 << 40, None)
    forecasts = tuple(model.forecast(make_case("vanilla", n, options={"parallel": None})) for n in (1 << 16, 1 << 20))
    document = dump(render_predictions([Section("<i>title<i>", family, (), forecasts, None)]), tmp_path)
    assert "&lt;i&gt;title&lt;i&gt;" in document
    assert "<b>run" not in document
    assert document.count('class="trace scatter') == 3  # measured, the interval's band, predicted
    assert "predicted time" in document
