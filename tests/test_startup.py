"""Asking for help or a version must not import torch, pandas or plotly: that is what keeps it fast."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
HEAVY = {"torch", "pandas", "plotly", "scipy", "ruptures"}

AFTER = """
import atexit, json, os, sys
atexit.register(lambda: os.write(2, json.dumps(sorted(name.partition(".")[0] for name in sys.modules)).encode()))
"""


def modules_after(code: str) -> set[str]:
    done = subprocess.run([sys.executable, "-c", AFTER + code], cwd=ROOT, capture_output=True, text=True, check=True)
    return set(json.loads(done.stderr))


def test_importing_the_packages_is_light() -> None:
    assert not HEAVY & modules_after("import longbench_cli, attention_impls, longbench_cli.app")


@pytest.mark.parametrize(
    "words",
    [
        "--help",
        "--version",
        "run --help",
        "report --help",
        "pattern --help",
        "comm --help",
        "compare --help",
        "list --help",
        "doctor --help",
        "history --help",
        "history show --help",
        "list profiles",
    ],
)
def test_help_is_light(words: str) -> None:
    loaded = modules_after(f"from longbench_cli.app import main; main({words.split()!r})")
    assert not HEAVY & loaded
    assert "longbench_cli" in loaded


def test_the_top_help_needs_no_pydantic() -> None:
    assert "pydantic" not in modules_after("from longbench_cli.app import main; main(['--help'])")
