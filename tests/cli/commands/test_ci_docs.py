"""docs/ci.md and action.yml: every option in them exists; the action passes on what it was given, and nothing else."""

from __future__ import annotations

import os
import re
import subprocess
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tiny_repository import git, make_repository

from longbench_cli.app import COMMANDS

ROOT = Path(__file__).resolve().parents[3]
PAGE = (ROOT / "docs" / "ci.md").read_text(encoding="utf-8")
ACTION = (ROOT / "action.yml").read_text(encoding="utf-8")
SCRIPT = textwrap.dedent(ACTION.partition("      run: |\n")[2])
BLOCKS = re.findall(r"^```yaml\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
COMMAND = re.compile(rf"longbench (?P<name>{'|'.join(COMMANDS)})\b(?P<rest>(?: [^\n`|]*)?)")
_JOINED = re.compile(r"\\\n +|(?<=\S)\n +(?=--)")


def options_of(words: list[str]) -> set[str]:
    """The options of a command, or of a command of a group."""
    command: Any = COMMANDS[words[0]].load(words[0])
    if hasattr(command, "commands"):
        command = command.commands[words[1]]
    return {"--help", *(option for one in command.params for option in (*one.opts, *one.secondary_opts))}


def commands() -> Iterator[tuple[list[str], list[str]]]:
    """Every longbench command of the page, and the options that it is given."""
    for found in COMMAND.finditer(_JOINED.sub(" ", PAGE)):
        words = found["rest"].split()
        yield [found["name"], *words[:1]], [word.partition("=")[0] for word in words if re.match(r"--?[a-z]", word)]
    for args in re.findall(r"^ +args: (.*)$", PAGE, re.MULTILINE):
        yield ["gate"], re.findall(r"(?<!\S)--[a-z-]+", args)


def test_every_option_of_the_page_exists() -> None:
    seen: dict[str, set[str]] = {}
    for words, given in commands():
        assert set(given) <= options_of(words), (words, given)
        seen.setdefault(words[0], set()).update(given)
    assert {"gate", "run", "baseline", "history", "doctor"} <= seen.keys()
    assert {"--aa", "--inject", "--base-ref", "--base", "--junit", "--markdown", "--noise", "--impl"} <= seen["gate"]


def test_every_option_of_the_action_exists() -> None:
    given = set(re.findall(r"\"(--[a-z-]+)=", SCRIPT))
    assert {"--base-ref", "--profile", "--noise", "--inconclusive", "--keep", "--html", "--junit", "--json"} == given
    assert given <= options_of(["gate"])


def test_inputs_are_used_and_never_pasted_into_the_script() -> None:
    inputs = section("inputs")
    assert inputs == set(re.findall(r"\$\{\{ inputs\.([a-z-]+) \}\}", ACTION))
    assert "${{" not in SCRIPT
    assert "eval" not in SCRIPT.replace("unlike eval", "")
    given = set(re.findall(r"^        (LONGBENCH_[A-Z_]+): ", ACTION, re.MULTILINE))
    assert given == set(re.findall(r"LONGBENCH_[A-Z_]+", SCRIPT))
    assert section("outputs") == set(re.findall(r'echo "([a-z-]+)=', SCRIPT))


def section(name: str) -> set[str]:
    body = re.search(rf"^{name}:\n((?:  .*\n|\n)+)", ACTION, re.MULTILINE)
    assert body is not None
    return set(re.findall(r"^  ([a-z-]+):$", body[1], re.MULTILINE))


def test_the_page_uses_the_action_as_it_is() -> None:
    steps = re.findall(r"uses: OWNER/longbench@.*\n +with:\n((?:          .*\n)+)", PAGE)
    assert len(steps) == 2
    for step in steps:
        assert set(re.findall(r"^ +([a-z-]+):", step, re.MULTILINE)) <= section("inputs")
    assert set(re.findall(r"steps\.gate\.outputs\.([a-z-]+)", PAGE)) <= section("outputs")


@pytest.mark.parametrize("text", [ACTION, *BLOCKS])
def test_yaml_is_indented_by_pairs_of_blanks(text: str) -> None:
    """No parser of YAML is among what this project needs; tabs and odd steps are what goes wrong by hand."""
    assert "\t" not in text
    indents = [len(line) - len(line.lstrip()) for line in text.splitlines() if line.strip()]
    assert all(indent % 2 == 0 for indent in indents)


class Job:
    """A step of the action on a runner whose interpreter only notes how it was called, and ends as it is told."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.repository = make_repository(folder / "repository", pyproject=None)
        python = folder / "python"
        python.write_text('#!/bin/sh\nfor word in "$@"; do printf \'%s\\n\' "$word"; done >"$CALLED"\nexit "$CODE"\n')
        python.chmod(0o755)

    def run(self, code: int = 0, **changes: str) -> tuple[int, list[str], dict[str, str], str]:
        """Exit code of the step, words of the call, outputs, and what was printed."""
        called, output = self.folder / "called", self.folder / "output"
        called.unlink(missing_ok=True)
        output.write_text("")
        environ = {
            "PATH": os.environ["PATH"], "RUNNER_TEMP": str(self.folder), "GITHUB_OUTPUT": str(output),
            "CODE": str(code), "CALLED": str(called), "LONGBENCH_PYTHON": str(self.folder / "python"),
            "LONGBENCH_BASE_REF": "", "LONGBENCH_PROFILE": "ci", "LONGBENCH_ARGS": "", "LONGBENCH_NOISE": "",
            "LONGBENCH_INCONCLUSIVE": "pass",
        }  # fmt: skip
        shell = ("bash", "--noprofile", "--norc", "-eo", "pipefail", "-c", SCRIPT)
        done = subprocess.run(
            shell, cwd=self.repository, env=environ | changes, capture_output=True, text=True, check=False
        )
        words = called.read_text().splitlines() if called.exists() else []
        outputs = dict(line.split("=", 1) for line in output.read_text().splitlines())
        return done.returncode, words, outputs, done.stdout + done.stderr


@pytest.fixture
def job(tmp_path: Path) -> Job:
    return Job(tmp_path)


def test_the_action_gates_against_the_merge_base_and_ends_as_the_gate_does(job: Job) -> None:
    base = git(job.repository, "rev-parse", "HEAD")
    git(job.repository, "update-ref", "refs/remotes/origin/main", base)
    git(job.repository, "commit", "--quiet", "--all", "--message", "candidate")
    code, words, outputs, _ = job.run(5, LONGBENCH_BASE_REF="merge-base", GITHUB_BASE_REF="main")
    assert words[:3] == ["-m", "longbench_cli", "gate"]
    assert {f"--base-ref={base}", "--profile=ci", "--inconclusive=pass"} <= set(words)
    assert (code, outputs["exit-code"], outputs["verdict"]) == (5, "5", "incorrect")
    assert f"--html={outputs['report']}" in words
    assert Path(outputs["folder"]).is_dir()
    code, words, _, said = job.run(LONGBENCH_BASE_REF="merge-base", GITHUB_BASE_REF="nowhere")
    assert (code, words) == (2, [])
    assert "fetch-depth 0" in said
    assert job.run(LONGBENCH_BASE_REF="merge-base")[0] == 2


def test_the_action_expands_nothing(job: Job, tmp_path: Path) -> None:
    trap = f"$(touch {tmp_path}/trap)"
    args = f"--impl 'my module:f' --seq 8k:64k \"{trap}\" * $HOME\n  --aa"
    code, words, _, _ = job.run(LONGBENCH_ARGS=args, LONGBENCH_PROFILE=f"`{trap}`", LONGBENCH_BASE_REF=trap)
    assert code == 0
    assert words[-8:] == ["--impl", "my module:f", "--seq", "8k:64k", trap, "*", "$HOME", "--aa"]
    assert {f"--base-ref={trap}", f"--profile=`{trap}`"} <= set(words)
    assert not (tmp_path / "trap").exists()
    code, words, _, _ = job.run(LONGBENCH_ARGS="--impl 'unclosed")
    assert code != 0
    assert words == []


def test_noise_that_is_not_there_yet_is_no_error(job: Job, tmp_path: Path) -> None:
    _, words, _, said = job.run(LONGBENCH_NOISE=str(tmp_path))
    assert not [word for word in words if word.startswith("--noise")]
    assert "::notice::" in said
    (tmp_path / "base.jsonl").touch()
    assert f"--noise={tmp_path}" in job.run(LONGBENCH_NOISE=str(tmp_path))[1]
