"""The base of a gate built from a git ref: its own checkout and its own installed code, over this environment."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from longbench_cli.execute.git import find_commit, worktree
from longbench_cli.execute.interpreter import Interpreter, own_builds
from longbench_cli.execute.layered import install_by, install_project, make_layer, project_of, site_folders


@contextmanager
def checkout(ref: str, here: Path, *, install: str | None = None) -> Iterator[Interpreter]:
    """The commit that ``ref`` names, ready to run; nothing of it is left afterwards.

    ``here`` is a folder of the repository, and the same folder of the checkout is where the interpreter runs. What of
    the repository pip can install is installed into a virtual environment whose other packages are those of this
    one. Modules are looked for first among what was installed, then in that folder, then in this environment: so the
    base's code wins over an editable install of the candidate's, and a compiled package over its own sources.
    ``install`` replaces pip: words with ``{python}`` and ``{worktree}``, run without a shell.

    Raises:
        UsageError: there is no such commit, or it does not build; one line, of what git or pip told.
    """
    here = here.resolve()
    commit = find_commit(ref, here)
    with tempfile.TemporaryDirectory(prefix="longbench-base-", ignore_cleanup_errors=True) as name:
        tree, home = Path(name).resolve() / "tree", Path(name).resolve() / "env"
        with worktree(commit, tree):
            inside = tree / here.relative_to(commit.root)
            cwd = inside if inside.is_dir() else tree
            python = make_layer(home, (cwd,), site_folders())
            project = project_of(cwd, tree)
            if install is not None:
                install_by(install, python, tree)
            elif project is not None:
                install_project(python, project, commit.label)
            yield Interpreter(python, cwd, commit.label, _variables(commit.root, tree) | own_builds(home))


def _variables(root: Path, tree: Path) -> dict[str, str | None]:
    """The current directory is not put first (see :func:`checkout`), and PYTHONPATH leads into the checkout."""
    words = os.environ.get("PYTHONPATH")
    changed = None if not words else os.pathsep.join(_moved(word, root, tree) for word in words.split(os.pathsep))
    return {"PYTHONSAFEPATH": "1", "PYTHONPATH": changed}


def _moved(folder: str, root: Path, tree: Path) -> str:
    path = Path(folder).resolve()
    return str(tree / path.relative_to(root)) if folder and path.is_relative_to(root) else folder
