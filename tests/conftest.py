"""What every test may use: the command line as a user starts it, and honest skips."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
from hypothesis import settings

ROOT = Path(__file__).resolve().parent.parent
BROWSERS = ("chromium", "chromium-browser", "google-chrome")

# Shared machines stall for longer than any deadline: an example's time says nothing.
settings.register_profile("longbench", deadline=None, print_blob=True)
settings.load_profile("longbench")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip what this machine cannot run, and say why."""
    if any(item.get_closest_marker("gpu") for item in items):
        import torch

        if not torch.cuda.is_available():
            _skip(items, "gpu", "no NVIDIA GPU that this torch can use")
    if not any(map(shutil.which, BROWSERS)):
        _skip(items, "browser", "no Chromium on PATH")


def _skip(items: list[pytest.Item], marker: str, reason: str) -> None:
    for item in items:
        if item.get_closest_marker(marker):
            item.add_marker(pytest.mark.skip(reason=reason))


@pytest.fixture
def longbench(tmp_path: Path) -> Callable[..., subprocess.CompletedProcess[str]]:
    """``longbench(*words, cwd=..., env=...)``: the command in a process of its own, away from the checkout."""

    def call(
        *words: str, cwd: Path = tmp_path, env: Mapping[str, str] | None = None
    ) -> subprocess.CompletedProcess[str]:
        path = os.pathsep.join(filter(None, [str(ROOT), (env or {}).get("PYTHONPATH")]))
        return subprocess.run(
            [sys.executable, "-m", "longbench_cli", *words],
            cwd=cwd,
            env={**os.environ, **(env or {}), "PYTHONPATH": path},
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )

    return call
