"""The base from a git ref: its own code runs, whatever the candidate has installed, and nothing of it stays."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest
from tiny_repository import editable_install, git, make_repository

from longbench_cli.errors import UsageError
from longbench_cli.execute import checkout as module
from longbench_cli.execute import layered
from longbench_cli.execute.ask import Answer, ask
from longbench_cli.execute.checkout import checkout
from longbench_cli.execute.interpreter import Interpreter, probe
from longbench_cli.execute.layered import project_of, site_folders

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture
def candidate(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder for a repository; what is in its ``src`` or itself seems to be installed editable here."""
    repository = tmp_path / "repository"

    def folders() -> list[str]:
        packages = repository / "src" if (repository / "src").is_dir() else repository
        site = tmp_path / "site"
        return [str(site if site.is_dir() else editable_install(site, packages)), *site_folders()]

    monkeypatch.setattr(module, "site_folders", folders)
    monkeypatch.delenv("PYTHONPATH", raising=False)
    return repository


def said(interpreter: Interpreter) -> str:
    answer = ask(interpreter.command("tinyattn"), interpreter.cwd, 60)
    return answer.stdout.strip() or answer.last_line


def refusal(ref: str, here: Path, install: str | None = None) -> str:
    with pytest.raises(UsageError) as caught, checkout(ref, here, install=install):
        pass
    return str(caught.value)


def test_src_layout_runs_the_base_and_leaves_nothing(candidate: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make_repository(candidate, "src")
    monkeypatch.setenv("PYTHONPATH", f"{candidate / 'src'}:{ROOT}")  # the candidate's sources, and longbench
    commit = git(candidate, "rev-parse", "HEAD")
    with checkout("main", candidate, install=None) as base:
        assert said(base) == "base"
        assert base.label == f"main ({commit[:7]})"
        found = probe(base, ["tiny", "tinyattn:attend"])  # by entry point and by path
        assert found.environment["git"] == {"commit": commit, "dirty": False}
        assert found.environment["packages"]["torch"] is not None  # inherited
    assert not base.cwd.exists()
    assert not base.python.exists()
    assert len(git(candidate, "worktree", "list").splitlines()) == 1
    assert "candidate" in (candidate / "src" / "tinyattn" / "__init__.py").read_text()
    assert git(candidate, "status", "--porcelain") == "M src/tinyattn/__init__.py"


def test_flat_layout_runs_what_was_installed_and_from_the_same_folder(candidate: Path) -> None:
    make_repository(candidate)
    (candidate / "bench").mkdir()
    (candidate / "bench" / "kernels.py").write_text("def fast(q, k, v, *, causal):\n    return v\n")
    git(candidate, "add", "bench")
    git(candidate, "commit", "--quiet", "--message", "bench")
    for where in (candidate, candidate / "bench"):
        with checkout(git(candidate, "rev-parse", "HEAD"), where, install="{python} -c 0") as bare:
            assert bare.cwd.name == where.name.replace("repository", "tree")
            assert bare.label == git(candidate, "rev-parse", "HEAD")[:7]
    with checkout("HEAD", candidate / "bench", install=None) as base:
        assert said(base) == "base"
        assert (base.cwd / "kernels.py").is_file()
        answer = ask((*base.command("inspect"), "tinyattn", "--details"), base.cwd, 60)
        assert "site-packages" in answer.stdout  # a compiled package would not work from its sources


def test_a_repository_without_a_package_runs_where_it_is(candidate: Path) -> None:
    make_repository(candidate, pyproject="[tool.ruff]\nline-length = 120\n")
    with checkout("HEAD", candidate, install=None) as base:
        assert said(base) == "base"


def test_the_worktree_goes_too_when_the_gate_is_interrupted(candidate: Path) -> None:
    make_repository(candidate, pyproject=None)
    with pytest.raises(KeyboardInterrupt), checkout("HEAD", candidate, install=None) as base:  # noqa: PT012
        assert base.cwd.exists()
        raise KeyboardInterrupt
    assert not base.cwd.exists()
    assert len(git(candidate, "worktree", "list").splitlines()) == 1


PIP = """\
  error: subprocess-exited-with-error
  × Preparing metadata (pyproject.toml) did not run successfully.
      Traceback (most recent call last):
        File "backend/wheel.py", line 11, in version
      {telling}
      [end of output]
note: This error originates from a subprocess, and is likely not a problem with pip.
error: metadata-generation-failed
"""


@pytest.mark.parametrize(
    "telling",
    ["ValueError: Field `project.version` is missing", "setuptools.errors.CompileError: command 'g++' failed"],
)
def test_what_does_not_build_is_one_telling_line(
    candidate: Path, telling: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fake(words: Sequence[str], cwd: Path, seconds: float) -> Answer:
        return Answer(1, "Processing", PIP.format(telling=telling)) if "pip" in words else ask(words, cwd, seconds)

    make_repository(candidate)
    monkeypatch.setattr(layered, "ask", fake)
    assert f"does not build: {telling}: choose another ref" in refusal("main", candidate)
    assert len(git(candidate, "worktree", "list").splitlines()) == 1


def test_the_users_own_command_is_told_when_it_fails(candidate: Path) -> None:
    make_repository(candidate, pyproject=None)
    words = refusal("main", candidate, "git -C {worktree} no-such-command")
    assert words.startswith("--base-install git -C {worktree} no-such-command: failed: ")
    assert "no-such-command' is not a git command" in words
    assert "cannot be started: No such file" in refusal("main", candidate, "no-such-program {python}")
    assert "is empty" in refusal("main", candidate, " ")
    assert "No closing quotation" in refusal("main", candidate, "'{python}")


def test_what_is_no_commit_is_one_line(candidate: Path, tmp_path: Path) -> None:
    make_repository(candidate, pyproject=None)
    assert refusal("nowhere", candidate).startswith(f"--base-ref nowhere: no such commit in {candidate}: git fetch")
    assert "no such commit" in refusal("--all", candidate)
    git(candidate, "update-ref", "refs/remotes/origin/other", "HEAD")
    assert "did you mean origin/other?" in refusal("other", candidate)
    assert "is not in a git repository" in refusal("main", tmp_path)


def test_git_of_a_hook_is_not_misled(candidate: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make_repository(candidate, pyproject=None)
    monkeypatch.setenv("GIT_DIR", str(tmp_path / "elsewhere"))
    monkeypatch.setattr(module, "site_folders", list)
    with checkout("main", candidate, install=None) as base:
        assert said(base) == "base"


def test_the_nearest_folder_that_pip_can_install(tmp_path: Path) -> None:
    part = tmp_path / "packages" / "one" / "bench"
    part.mkdir(parents=True)
    assert project_of(part, tmp_path) is None
    (tmp_path / "setup.py").touch()
    (part / "pyproject.toml").write_text("[tool.black]\n")
    assert project_of(part, tmp_path) == tmp_path
    (tmp_path / "packages" / "one" / "pyproject.toml").write_text("[project]\n")
    assert project_of(part, tmp_path) == tmp_path / "packages" / "one"
