"""The fingerprint says where a run was measured, and an odd machine never stops it."""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
from pathlib import Path

import pytest

from longbench_cli.measure.machine import Gpu
from longbench_cli.record.environment import environment


def test_it_describes_this_machine_in_json() -> None:
    found = environment()
    assert json.loads(json.dumps(found)) == found
    assert found["python"] == platform.python_version()
    assert found["affinity"] == len(os.sched_getaffinity(0))
    assert found["memory_bytes"] > 2**28
    assert found["packages"]["torch"] is not None
    assert (found["gpus"] is None) == (found["gpus_missing"] is not None)


def test_it_imports_no_framework() -> None:
    script = (
        "import sys; from longbench_cli.record.environment import environment; environment(); "
        "print([name for name in ('torch', 'triton', 'numpy') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_the_commit_and_whether_files_differ_from_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert environment()["git"] is None
    identity = ["-c", "user.name=n", "-c", "user.email=e@example.org", "-c", "commit.gpgsign=false"]
    (tmp_path / "file").write_text("one")
    for words in (["init", "-q"], ["add", "file"], [*identity, "commit", "-q", "-m", "m"]):
        subprocess.run(["git", *words], check=True, cwd=tmp_path)
    (tmp_path / "run.jsonl").write_text("{}")  # a new file is not a change of the code
    clean = environment()["git"]
    assert len(clean["commit"]) == 40
    assert clean["dirty"] is False
    (tmp_path / "file").write_text("two")
    assert environment()["git"] == {"commit": clean["commit"], "dirty": True}


def test_gpus_are_recorded_with_their_driver(monkeypatch: pytest.MonkeyPatch) -> None:
    one = Gpu(0, "Example GPU", "580.10", 80 * 2**30, 79 * 2**30, processes=None, persistence=None)
    monkeypatch.setattr("longbench_cli.record.environment.read_gpus", lambda: [one])
    found = environment()
    assert found["gpus"] == [{"name": "Example GPU", "memory_bytes": 80 * 2**30, "driver": "580.10"}]
    assert found["gpus_missing"] is None


def test_an_odd_machine_gives_nulls(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_args: object, **_options: object) -> object:
        raise PermissionError("no")

    for name in ("os.sched_getaffinity", "socket.gethostname", "subprocess.run", "psutil.virtual_memory"):
        monkeypatch.setattr(name, fail)
    monkeypatch.setitem(sys.modules, "pynvml", None)
    found = environment()
    assert [found[name] for name in ("affinity", "hostname", "git", "memory_bytes", "gpus")] == [None] * 5
    assert "pynvml" in found["gpus_missing"]
