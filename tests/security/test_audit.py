"""`make audit` fails for a known vulnerability, and only for one: without a service it says so and lets work go on."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]

# In place of pip-audit, in the shapes that it was seen to answer in.
STAND_IN = """
import sys
sys.stdout.write({out!r})
sys.stderr.write({err!r})
sys.exit({code})
"""
FOUND: dict[str, Any] = {"id": "PYSEC-2026-1", "fix_versions": ["2.0", "1.9.1"], "aliases": [], "description": "bad"}
CLEAN: dict[str, Any] = {"name": "numpy", "version": "2.4.6", "vulns": []}
SKIPPED: dict[str, Any] = {"name": "torch", "skip_reason": "Dependency not found on PyPI and could not be audited"}


def audit(folder: Path, out: str, err: str = "", code: int = 0) -> subprocess.CompletedProcess[str]:
    package = folder / "pip_audit"
    package.mkdir()
    (package / "__init__.py").touch()
    (package / "__main__.py").write_text(STAND_IN.format(out=out, err=err, code=code), encoding="utf-8")
    return subprocess.run(
        [sys.executable, str(ROOT / ".ci" / "audit.py")],
        env={**os.environ, "PYTHONPATH": str(folder)}, capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip


def answer(*packages: dict[str, Any]) -> str:
    return json.dumps({"dependencies": list(packages), "fixes": []})


def test_a_known_vulnerability_fails_and_names_the_remedy(tmp_path: Path) -> None:
    wrong = {"name": "jinja2", "version": "1.0", "vulns": [FOUND]}
    done = audit(tmp_path, answer(CLEAN, SKIPPED, wrong), "Found 1 known vulnerability", 1)
    assert done.returncode == 1
    assert done.stdout == "audit: jinja2 1.0: PYSEC-2026-1: fixed in 2.0, 1.9.1\n"


@pytest.mark.parametrize(
    ("out", "err", "code", "said"),
    [
        (answer(CLEAN, CLEAN), "", 0, "no known vulnerability in 2 packages"),
        (answer(CLEAN, SKIPPED), "", 0, "in 1 packages; not known to the service: torch"),
        (answer(SKIPPED, SKIPPED), "No known vulnerabilities found", 0, "not audited: the service knows none of the 2"),
        ("", "Traceback ...\nConnectionError: Max retries exceeded", 1, "not audited: ConnectionError: Max retries"),
        ("", "", 1, "not audited: pip-audit said nothing"),
    ],
)
def test_without_a_finding_it_says_in_one_line_what_is_known(
    out: str, err: str, code: int, said: str, tmp_path: Path
) -> None:
    done = audit(tmp_path, out, err, code)
    assert done.returncode == 0
    assert len(done.stdout.splitlines()) == 1
    assert said in done.stdout


def test_lint_audits() -> None:
    done = subprocess.run(
        ["make", "-n", "lint", f"PYTHON={sys.executable}"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert ".ci/audit.py" in done.stdout
    assert "ruff check" in done.stdout
