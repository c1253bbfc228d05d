"""The wheel works where there is no checkout, and puts nothing of a common name into site-packages."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import sysconfig
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent


def call(*words: str | Path, cwd: Path) -> str:
    env = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run(list(map(str, words)), cwd=cwd, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    pip = (sys.executable, "-m", "pip", "--disable-pip-version-check")
    call(*pip, "wheel", "--no-deps", "--no-build-isolation", "--no-index", "-w", folder, ROOT, cwd=folder)
    (built,) = folder.glob("longbench_cli-*.whl")
    return built


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An environment of its own with the wheel in it, and the dependencies of this one in reach."""
    home = tmp_path_factory.mktemp("environment")
    call(sys.executable, "-m", "venv", "--without-pip", home, cwd=home)
    (site,) = home.glob("lib/python3*/site-packages")
    assert not list(site.iterdir())
    pip = (sys.executable, "-m", "pip", "--disable-pip-version-check", "--python", home / "bin" / "python")
    call(*pip, "install", "--no-deps", "--no-index", wheel, cwd=home)
    installed = {path.name.partition("-")[0] for path in site.iterdir()}
    assert installed == {"longbench_cli", "attention_impls"}  # longbench_cli twice: its dist-info
    # A path file's folders are searched, but their own path files are not read: no editable checkout.
    (site / "dependencies.pth").write_text(f"{sysconfig.get_path('purelib')}\n{sysconfig.get_path('platlib')}\n")
    return home


def data_files(kind: str) -> set[str]:
    return {str(path.relative_to(ROOT)) for path in (ROOT / kind).rglob("*") if path.is_file()}


def test_the_wheel_carries_profiles_and_reports_inside_the_package(wheel: Path) -> None:
    names = set(zipfile.ZipFile(wheel).namelist())
    expected = data_files("profiles") | data_files("reports")
    assert expected
    assert {f"longbench_cli/{name}" for name in expected} <= names
    assert {"longbench_cli/py.typed", "attention_impls/py.typed"} <= names
    assert not [name for name in names if name.startswith(("profiles", "reports", "tests", "benchmarks", "docs"))]


def test_an_installed_longbench_runs_away_from_the_checkout(installed: Path, tmp_path: Path) -> None:
    python, longbench = installed / "bin" / "python", installed / "bin" / "longbench"
    where = call(python, "-c", "import longbench_cli; print(longbench_cli.__file__)", cwd=tmp_path)
    assert Path(where.strip()).is_relative_to(installed)
    version = call(python, "-c", "import longbench_cli; print(longbench_cli.__version__)", cwd=tmp_path).strip()
    assert call(longbench, "--version", cwd=tmp_path) == f"longbench {version}\n"
    listed = {row["name"] for row in json.loads(call(longbench, "list", "profiles", "--json", cwd=tmp_path))}
    assert listed == {path.stem for path in (ROOT / "profiles").glob("*.toml")}
    assert "quick" in listed
