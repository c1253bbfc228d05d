"""Slurm, as far as it can be had without one: the job that is submitted, and what each node is told to run."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from longbench_cli.errors import UsageError
from longbench_cli.execute.slurm import SlurmJob, command_on_node, run_on_node, submit

SBATCH = """#!/bin/sh
cp "$1" "$(dirname "$0")/script"
echo "Submitted batch job 4242"
"""
REFUSES = """#!/bin/sh
echo "sbatch: error: invalid partition specified: nowhere" >&2
exit 1
"""


def a_job(folder: Path, **options: str | bool) -> SlurmJob:
    return SlurmJob(("run", "--seq", "8k"), 2, 8, 8, {"time": "02:00:00", **options}, folder)


@pytest.fixture
def cluster(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], Path]:
    """Puts an ``sbatch`` on the path; gives the script that it will be handed."""

    def make(sbatch: str) -> Path:
        programs = tmp_path / "bin"
        programs.mkdir()
        for name, text in {"sbatch": sbatch, "srun": "#!/bin/sh\n"}.items():
            (programs / name).write_text(text)
            (programs / name).chmod(0o755)
        monkeypatch.setenv("PATH", f"{programs}:{os.environ['PATH']}")
        return programs / "script"

    return make


def test_the_script_asks_for_what_was_asked(cluster: Callable[[str], Path], tmp_path: Path) -> None:
    script = cluster(SBATCH)
    job_id, printed = submit(a_job(tmp_path / "job", partition="gpu", exclusive=True))
    assert job_id == "4242"
    assert printed == tmp_path / "job" / "4242_0_log.out"
    asked = [line.removeprefix("#SBATCH --") for line in script.read_text().splitlines() if line.startswith("#SBATCH")]
    for option in (
        "nodes=2", "ntasks-per-node=1", "gpus-per-node=8", "time=02:00:00", "partition=gpu", "exclusive",
        "signal=TERM@60", "job-name=longbench",
    ):  # fmt: skip
        assert option in asked, asked
    assert len(asked) == len({line.partition("=")[0] for line in asked})  # nothing is asked twice
    assert any(line.startswith("srun ") for line in script.read_text().splitlines())


def test_what_is_given_goes_over_what_is_set(cluster: Callable[[str], Path], tmp_path: Path) -> None:
    script = cluster(SBATCH)
    submit(a_job(tmp_path / "job", signal="TERM@300", **{"job-name": "mine"}))
    assert "--signal=TERM@300" in script.read_text()
    assert "--job-name=mine" in script.read_text()
    for word in ("TERM@60", "job-name=longbench", "job-name=submitit"):
        assert word not in script.read_text()


def test_the_words_of_sbatch_are_passed_on(cluster: Callable[[str], Path], tmp_path: Path) -> None:
    cluster(REFUSES)
    with pytest.raises(UsageError, match="sbatch: error: invalid partition specified: nowhere"):
        submit(a_job(tmp_path / "job", partition="nowhere"))


def test_without_a_cluster_or_without_submitit_it_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(UsageError, match="are you indeed on a slurm cluster"):
        submit(a_job(tmp_path / "job"))
    monkeypatch.setitem(sys.modules, "submitit", None)
    with pytest.raises(UsageError, match=r"pip install 'longbench-cli\[slurm\]'"):
        submit(a_job(tmp_path / "job"))


def test_agents_of_all_nodes_meet_at_the_first(tmp_path: Path) -> None:
    words = ("run", "--seq", "8k")
    first, second = (command_on_node(words, 8, "4242", "node1", 2, node) for node in range(2))
    assert first[1:3] == ["-m", "torch.distributed.run"]
    for word in ("--nnodes=2", "--nproc-per-node=8", "--rdzv-endpoint=node1:24242", "--rdzv-id=4242"):
        assert word in first
        assert word in second
    assert ("--rdzv-conf=is_host=1" in first, "--rdzv-conf=is_host=0" in second) == (True, True)
    assert first[-5:] == ["-m", "longbench_cli", *words]
    alone = command_on_node(words, 1, "4242_7", "node1", 1, 0)
    assert alone == [sys.executable, "-m", "longbench_cli", *words]


def test_submitit_runs_it_on_a_node(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its local executor: the same pickle, the same call, a real process."""
    import submitit

    root = str(Path(__file__).resolve().parents[3])
    monkeypatch.setenv("PYTHONPATH", root)
    jobs: list[Any] = []
    for words in (("list", "profiles"), ("list", "nothing")):
        executor = submitit.LocalExecutor(folder=tmp_path)
        jobs.append(executor.submit(run_on_node, words, 1))
    assert jobs[0].result() is None
    assert "quick" in jobs[0].stdout()
    with pytest.raises(submitit.core.utils.FailedJobError, match="longbench: exit code 2"):
        jobs[1].result()
