"""What a gate asks of git: where a repository begins, what a ref is, and a second checkout of it for a while."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from longbench_cli.errors import UsageError
from longbench_cli.execute.ask import Answer, ask

_QUICK_S: Final = 60.0
_CHECKOUT_S: Final = 1800.0
"""Of a large repository, or one whose large files or submodules come over a network."""

_SHORT: Final = 7
_OF_ANOTHER: Final = ("GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE", "GIT_PREFIX")
"""A hook has these set, and git would then look at no other folder."""


@dataclass(frozen=True, slots=True)
class Commit:
    """A ref, looked up: ``root`` is where its repository begins, ``hash`` the commit in full."""

    root: Path
    ref: str
    hash: str

    @property
    def label(self) -> str:
        """``main (1a2b3c4)``; a commit given by its hash is that alone."""
        short = self.hash[:_SHORT]
        return short if self.hash.startswith(self.ref.lower()) else f"{self.ref} ({short})"


def find_commit(ref: str, here: Path) -> Commit:
    """The commit that ``ref`` names in the repository that the folder ``here`` is in.

    Raises:
        UsageError: there is no git, no repository or no such commit.
    """
    top = _git(here, "rev-parse", "--show-toplevel")
    if top.code != 0:
        told = "" if "not a git repository" in top.stderr else f" ({top.last_line})"
        raise UsageError(
            f"--base-ref {ref}: {here} is not in a git repository{told}: go to a checkout, or give --base-python"
        )
    root = Path(top.stdout.rstrip("\n"))
    found = _look_up(root, ref)
    if found is None:
        remote = f"origin/{ref}"
        hint = f"did you mean {remote}?" if _look_up(root, remote) else f"git fetch origin {ref}, if it is elsewhere"
        raise UsageError(f"--base-ref {ref}: no such commit in {root}: {hint} (a shallow clone may lack it)")
    return Commit(root, ref, found)


@contextmanager
def worktree(commit: Commit, path: Path) -> Iterator[None]:
    """A detached checkout of ``commit`` at ``path``, with its submodules; gone afterwards, and so is git's note of it.

    Raises:
        UsageError: git cannot make it.
    """
    try:
        _must(commit, _git(commit.root, "worktree", "add", "--detach", str(path), commit.hash, seconds=_CHECKOUT_S))
        if (path / ".gitmodules").is_file():
            _must(commit, _git(path, "submodule", "update", "--init", "--recursive", seconds=_CHECKOUT_S))
        yield
    finally:
        shutil.rmtree(path, ignore_errors=True)
        with suppress(UsageError):  # twice --force: one that was killed while it was made is locked
            if _git(commit.root, "worktree", "remove", "--force", "--force", str(path)).code != 0:
                _git(commit.root, "worktree", "prune")


def _look_up(root: Path, ref: str) -> str | None:
    if not ref or ref.startswith("-"):
        return None
    answer = _git(root, "rev-parse", "--verify", "--quiet", f"{ref}^{{commit}}")
    return answer.stdout.strip() or None if answer.code == 0 else None


def _must(commit: Commit, answer: Answer) -> None:
    if answer.code != 0:
        why = answer.last_line if answer.code is not None else f"no end in {_CHECKOUT_S:.0f} s"
        raise UsageError(f"--base-ref {commit.label}: git cannot check it out: {why}: mend that, or give --base-python")


def _git(folder: Path, *words: str, seconds: float = _QUICK_S) -> Answer:
    environ = {name: value for name, value in os.environ.items() if name not in _OF_ANOTHER}
    environ |= {"GIT_TERMINAL_PROMPT": "0", "LC_ALL": "C"}
    # Hooks are the user's own programs for the user's own checkouts: this one is nobody's to work in.
    command = ("git", "-c", "core.hooksPath=/dev/null", *words)
    try:
        return ask(command, folder, seconds, environ)
    except FileNotFoundError:
        raise UsageError("--base-ref: git is not installed: install it, or give --base-python") from None
