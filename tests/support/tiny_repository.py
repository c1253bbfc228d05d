"""A git repository with a tiny package in it, whose committed code says "base" and whose working tree "candidate"."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

PYPROJECT = """
[build-system]
requires = ["hatchling"]
build-backend = "hatchling.build"
[project]
name = "tinyattn"
version = "1"
[project.entry-points."longbench.impls"]
tiny = "tinyattn:attend"
"""
CODE = """
def attend(q, k, v, *, causal):
    \"\"\"{says}\"\"\"
    return v
"""
MAIN = "import tinyattn; print(tinyattn.attend.__doc__)\n"
"""Run by ``python -m tinyattn``: whose code it is."""

_IDENTITY = {f"GIT_{who}_{what}": "tester@example.org" for who in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")}


def git(folder: Path, *words: str) -> str:
    settings = {"GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_NOSYSTEM": "1"}
    done = subprocess.run(
        ["git", *words],
        cwd=folder,
        check=True,
        capture_output=True,
        text=True,
        env={**os.environ, **_IDENTITY, **settings},
    )
    return done.stdout.strip()


def make_repository(root: Path, packages: str = ".", pyproject: str | None = PYPROJECT) -> Path:
    """A repository at ``root`` with the package in its folder ``packages``, on a branch ``main`` of one commit."""
    package = root / packages / "tinyattn"
    package.mkdir(parents=True)
    git(root, "init", "--quiet", "--initial-branch", "main")
    if pyproject is not None:
        (root / "pyproject.toml").write_text(pyproject)
    (package / "__main__.py").write_text(MAIN)
    (package / "__init__.py").write_text(CODE.format(says="base"))
    git(root, "add", "--all")
    git(root, "commit", "--quiet", "--message", "base")
    (package / "__init__.py").write_text(CODE.format(says="candidate"))
    return root


def editable_install(site: Path, packages: Path) -> Path:
    """Site-packages in which the working tree is installed editable, in every way that is in use and at its rudest."""
    site.mkdir()
    (site / "tinyattn.pth").write_text(f"{packages}\n")
    (site / "rude.pth").write_text("import rude_finder\n")
    (site / "rude_finder.py").write_text(
        f"""
import importlib.util, sys
class Finder:
    @staticmethod
    def find_spec(name, path=None, target=None):
        if name == "tinyattn":
            folder = {str(packages / "tinyattn")!r}
            where = folder + "/__init__.py"
            return importlib.util.spec_from_file_location(name, where, submodule_search_locations=[folder])
sys.meta_path.insert(0, Finder)
sys.path.insert(0, {str(packages)!r})
"""
    )
    return site
