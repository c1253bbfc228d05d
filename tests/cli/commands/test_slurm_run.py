"""``longbench run --launcher slurm``: what is planned, submitted and printed; nothing is measured here."""

from __future__ import annotations

import json
import shlex
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from longbench_cli.commands.slurm import submit_run
from longbench_cli.commands.where_options import by_slurm
from longbench_cli.errors import UsageError
from longbench_cli.sweep.options import resolve
from longbench_cli.sweep.plan import make_plan

ASKED: dict[str, object] = {"impl": "dilated", "seq": "1k", "gpus": "1,2,4", "device": "cuda", "schedule": None}


class Executor:
    """A cluster that takes everything."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.told: dict[str, Any] = {}
        self.submitted: tuple[Any, ...] = ()

    def update_parameters(self, **parameters: Any) -> None:
        self.told |= parameters

    def submit(self, _function: Callable[..., Any], *arguments: Any) -> Any:
        self.submitted = arguments
        return SimpleNamespace(job_id="4242", paths=SimpleNamespace(stdout=self.folder / "4242_0_log.out"))


def submitted(path: Path, **more: Any) -> Executor:
    made: list[Executor] = []

    def make(folder: Path) -> Executor:
        made.append(Executor(folder))
        return made[0]

    given = {"resume": False, "nodes": 2, "slurm": ["time=10", "account=me"], "quiet": False, "as_json": False} | more
    asked = given.pop("asked", ASKED)
    submit_run(make_plan(resolve(dict(asked))), asked, path, executor_of=make, **given)
    return made[0]


def test_the_same_command_is_submitted_and_told_where_to_look(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "two nodes.jsonl"
    executor = submitted(path)
    words, per_node = executor.submitted
    assert shlex.join(words) == f"run --impl dilated --seq 1k --gpus 1,2,4 --device cuda -o {shlex.quote(str(path))}"
    assert per_node == 2
    assert executor.folder == tmp_path / "two nodes.slurm"
    assert (executor.told["nodes"], executor.told["ntasks_per_node"], executor.told["gpus_per_node"]) == (2, 1, 2)
    assert executor.told["additional_parameters"].items() >= {"time": "10", "account": "me"}.items()
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == f"job 4242 is submitted; it prints to {executor.folder / '4242_0_log.out'}"
    assert lines[1] == f"run file: {path}"
    assert lines[2] == f"see it with: longbench report {shlex.quote(str(path))}"


def test_what_a_script_reads(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "run.jsonl"
    submitted(path, as_json=True)
    assert json.loads(capsys.readouterr().out)["job"] == "4242"
    submitted(path, quiet=True)
    assert capsys.readouterr().out == f"{path}\n"


def test_a_resume_is_submitted_as_one(tmp_path: Path) -> None:
    path = tmp_path / "run.jsonl"
    path.write_text("")
    words, _ = submitted(path, resume=True).submitted
    assert words[-2:] == ("--resume", str(path))
    with pytest.raises(UsageError, match="exists already"):
        submitted(path)


def test_on_processors_no_gpu_is_asked_for(tmp_path: Path) -> None:
    executor = submitted(tmp_path / "run.jsonl", asked=ASKED | {"device": "cpu"})
    assert "gpus_per_node" not in executor.told


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ({"nodes": 3}, r"--nodes 3: 4 ranks \(--gpus\) cannot be spread evenly over 3 nodes"),
        ({"slurm": ["partition=gpu"]}, "--slurm time=02:00:00"),
        ({"slurm": ["=5"]}, "expected KEY=VALUE"),
        ({"slurm": ["a b=5"]}, "expected KEY=VALUE"),
    ],
)
def test_what_cannot_be_submitted_is_refused_in_one_line(tmp_path: Path, more: dict[str, Any], words: str) -> None:
    with pytest.raises(UsageError, match=words):
        submitted(tmp_path / "run.jsonl", **more)


def test_options_of_slurm_are_for_slurm() -> None:
    assert by_slurm("slurm", 2, ["time=5"])
    assert not by_slurm(None, None, None)
    assert not by_slurm("local", None, None)
    with pytest.raises(UsageError, match="options of --launcher slurm"):
        by_slurm(None, 2, None)
    with pytest.raises(UsageError, match="--launcher 'lsf': expected local or slurm"):
        by_slurm("lsf", None, None)
