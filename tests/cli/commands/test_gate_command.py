"""``longbench gate`` as a user runs it: real processes of two commits, and what is refused before any is started."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import pytest
from tiny_repository import git

from longbench_cli.commands.gate_output import Outputs
from longbench_cli.commands.gate_sides import Asked
from longbench_cli.errors import UsageError
from longbench_cli.record.journal import load_run

Longbench = Callable[..., subprocess.CompletedProcess[str]]

PLAIN = """
from attention_impls import vanilla_attention

def attention(q, k, v, *, causal):
    return vanilla_attention(q, k, v, causal=causal)
"""
SLOW = PLAIN.replace("    return", "    import time\n    time.sleep(0.002)\n    return")
WRONG = PLAIN.replace("causal=causal)", "causal=causal) * 1.5")
SWEEP = [
    "--impl", "mine:attention", "--seq", "64", "--heads", "1", "--head-dim", "8", "--dtype", "fp32", "--device", "cpu",
    "--threads", "1", "--max-time", "0.3", "--min-iterations", "1",
]  # fmt: skip
NOTHING: dict[str, Any] = dict.fromkeys(
    ["base", "candidate", "base_ref", "base_install", "base_python", "candidate_python", "inject"]
) | {"aa": False}


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """A repository of one commit, whose attention is a user's own."""
    folder = tmp_path / "theirs"
    folder.mkdir()
    git(folder, "init", "--quiet", "--initial-branch", "main")
    (folder / "mine.py").write_text(PLAIN)
    git(folder, "add", "--all")
    git(folder, "commit", "--quiet", "--message", "plain")
    return folder


def test_a_slower_commit_fails_and_every_output_says_so(repository: Path, longbench: Longbench) -> None:
    (repository / "mine.py").write_text(SLOW)
    git(repository, "commit", "--quiet", "--all", "--message", "slow")
    summary = repository / "summary"
    done = longbench(
        "gate", "--base-ref", "main~1", *SWEEP, "--keep", "kept", "--json", "g.json", "--junit", "g.xml", "--html",
        "g.html", "--markdown", "g.md", "--explain", "mine:attention",
        cwd=repository, env={"GITHUB_ACTIONS": "true", "GITHUB_STEP_SUMMARY": str(summary)},
    )  # fmt: skip
    assert done.returncode == 1, done.stdout + done.stderr
    told = json.loads((repository / "g.json").read_text())
    (point,) = told["points"]
    assert (told["exit_code"], point["kind"], len(point["confirmation"])) == (1, "regression", 6)
    assert point["effect"]["ratio"] > 2
    assert told["base"]["label"].startswith("main~1 (")
    suite = ET.parse(repository / "g.xml").getroot()
    assert suite.find(".//failure") is not None
    assert "regression" in (repository / "g.html").read_text()
    assert "regression" in (repository / "g.md").read_text()
    assert summary.read_text() == (repository / "g.md").read_text() + "\n"
    assert "::error" in done.stdout
    assert "pairs 1-6: d =" in done.stdout
    assert "pair 12: " in done.stderr

    files = [f"kept/{side}.jsonl" for side in ("base", "candidate")]
    assert [len(load_run(repository / file).points) for file in files] == [12, 12]
    again = longbench("gate", "--base", files[0], "--candidate", files[1], "--json", "again.json", cwd=repository)
    assert again.returncode == 1
    assert json.loads((repository / "again.json").read_text())["points"] == told["points"]
    resumed = longbench("gate", "--base-ref", "main~1", *SWEEP, "--keep", "kept", "--resume", cwd=repository)
    assert resumed.returncode == 1, resumed.stderr
    assert "pair " not in resumed.stderr
    assert git(repository, "worktree", "list").count("\n") == 0


def test_a_wrong_result_is_exit_code_5_after_one_pair(repository: Path, longbench: Longbench) -> None:
    (repository / "mine.py").write_text(WRONG)
    done = longbench("gate", "--base-ref", "main", *SWEEP, cwd=repository)
    assert done.returncode == 5, done.stdout + done.stderr
    assert "incorrect" in done.stdout
    assert "pair 2" not in done.stderr


def test_an_interrupted_gate_keeps_its_pairs_and_says_how_to_go_on(repository: Path) -> None:
    begun = subprocess.Popen(
        [sys.executable, "-m", "longbench_cli", "gate", "--aa", *SWEEP, "--keep", "kept"],
        cwd=repository,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[3])},
        stderr=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    candidate = repository / "kept" / "candidate.jsonl"
    deadline = time.monotonic() + 120
    while (not candidate.exists() or candidate.read_text().count("\n") < 2) and time.monotonic() < deadline:
        time.sleep(0.05)
    begun.send_signal(signal.SIGTERM)
    _, said = begun.communicate(timeout=60)
    assert begun.returncode == 2
    assert "with --keep kept --resume" in said
    assert len(load_run(candidate).points) >= 1


@pytest.mark.parametrize(
    ("given", "word"),
    [
        ({}, "no base was given"),
        ({"aa": True, "base_ref": "main"}, "--base-ref and --aa exclude each other: leave"),
        ({"base": "a.jsonl"}, "--candidate: missing"),
        ({"candidate": "a.jsonl", "aa": True}, "--base: missing"),
        ({"base_ref": "--oops"}, "begins with a dash"),
        ({"base": "a.jsonl", "candidate": "b.jsonl", "candidate_python": "python"}, "give --candidate RUN"),
        ({"aa": True, "base_install": "make"}, "--base-ref REF"),
        ({"inject": "5"}, "--inject '5': expected a share such as 5%"),
        ({"inject": "-5%"}, "above 0"),
        ({"inject": "5%%"}, "above 0"),
        ({"inject": "2000%"}, "at most 1000%"),
    ],
)
def test_options_must_say_one_thing(given: dict[str, Any], word: str) -> None:
    with pytest.raises(UsageError, match=r"^[^\n]+$") as refusal:
        Asked.of(**(NOTHING | given))
    assert word in str(refusal.value)


def test_a_slowdown_is_a_share() -> None:
    assert Asked.of(**(NOTHING | {"inject": "5%"})).slowdown == pytest.approx(0.05)
    assert Asked.of(**(NOTHING | {"aa": True})).identical
    assert not Asked.of(**(NOTHING | {"base_ref": "main"})).identical


def test_files_that_cannot_be_written_are_refused_before_anything_is_measured(tmp_path: Path) -> None:
    for outputs, word in (
        (Outputs(tmp_path, None, None, None), "is a folder"),
        (Outputs(tmp_path / "no" / "g.html", None, None, None), "there is no folder"),
        (Outputs(tmp_path / "g", tmp_path / "g", None, None), "two of them are the same"),
    ):
        with pytest.raises(UsageError, match=word):
            outputs.check()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--aa", "--resume"], "--keep DIR"),
        (["--aa", "--baselines", "x"], "--base latest"),
        (["--base", "a.jsonl", "--candidate", "b.jsonl", "--seq", "64"], "--seq: stored runs are compared as they are"),
        (["--base", "a.jsonl", "--candidate", "b.jsonl"], "b.jsonl: no such"),
        (["--aa", "--allow", "colour"], "--allow colour"),
        (["--aa", "--noise", "nowhere"], "nowhere"),
        (["--base-python", "no-such-python", *SWEEP[2:]], "no-such-python"),
    ],
)
def test_what_is_asked_for_wrongly_is_one_line_and_exit_code_2(
    words: list[str], said: str, longbench: Longbench
) -> None:
    done = longbench("gate", *words)
    assert done.returncode == 2, done.stdout
    assert said in done.stderr
    assert done.stderr.count("\n") == 1
