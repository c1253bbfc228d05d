"""Baselines: saved whole and slim or not at all; `latest` is the newest of the same machine."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from compared import duet_of
from sample_runs import ENVIRONMENT, make_case, make_run, measured, unmeasured, write_run

from longbench_cli.app import main
from longbench_cli.errors import UsageError
from longbench_cli.record.baselines import machine_of, resolve_side, save_baseline
from longbench_cli.record.journal import Run, load_run
from longbench_cli.record.schema import Duet
from longbench_cli.record.slim import took_turns

H100 = {"gpus": [{"name": "NVIDIA H100", "driver": "580.1", "memory_bytes": 1}] * 2, "affinity": 16}


def a_run(name: str, day: int = 2, **environment: Any) -> Run:
    points = [measured(make_case(length=n), 1e6, session=k) for n in (1024, 2048) for k in range(8)]
    return make_run(
        points, f"{name}.jsonl", created=f"2025-01-{day:02}T03:04:05Z", environment=ENVIRONMENT | environment
    )


def refusal(*runs: Run, baselines: Path) -> str:
    before = sorted(baselines.rglob("*"))
    with pytest.raises(UsageError) as caught:
        save_baseline(runs, baselines)
    assert sorted(baselines.rglob("*")) == before  # nothing half written
    return str(caught.value)


def test_latest_is_the_newest_of_that_machine(tmp_path: Path) -> None:
    base = tmp_path / "baselines"
    old, new, gpu = a_run("old", 3), a_run("new", 20), a_run("gpu", 25, **H100)
    for run in (new, old, gpu):
        save_baseline([run], base)
    assert [run.header.run_id for run in resolve_side("latest", base, [a_run("mine")])] == ["run-new"]
    assert [run.header.run_id for run in resolve_side("latest", base, [a_run("mine", **H100)])] == ["run-gpu"]
    torch = {"packages": {"torch": "9.9"}, "hostname": "elsewhere"}  # software is for the comparison to judge
    assert [run.header.run_id for run in resolve_side("latest", base, [a_run("mine", **torch)])] == ["run-new"]
    with pytest.raises(UsageError) as caught:
        resolve_side("latest", base, [a_run("mine", cpu="Z80", affinity=1)])
    words = str(caught.value)
    assert "no baseline of Z80 (1 cores), only of Example CPU at 2.10 GHz (2 cores); 2 x NVIDIA H100" in words
    with pytest.raises(UsageError, match="holds no baseline: save one with"):
        resolve_side("latest", tmp_path / "none", [new])
    with pytest.raises(UsageError, match="of which machine"):
        resolve_side("latest", base, None)


def test_runs_saved_together_are_one_baseline(tmp_path: Path) -> None:
    duet = Duet(id="x", side="base", label="main", identical=False)
    base = save_baseline([a_run("one", 2).__class__(Path("a"), a_run("one", 2).header.model_copy(update={"duet": duet}),
                          list(a_run("one").points)), a_run("two", 3)], tmp_path / "baselines")  # fmt: skip
    found = resolve_side("latest", tmp_path / "baselines", [a_run("mine")])
    assert [run.header.run_id for run in found] == ["run-one", "run-two"]
    assert [run.header.duet for run in found] == [None, None]
    assert [took_turns(run.header) for run in found] == [True, False]
    assert resolve_side(str(base), tmp_path, None) == found
    assert [len(run.points) for run in found] == [16, 16]


def test_a_side_is_a_file_or_a_folder(tmp_path: Path) -> None:
    path = write_run(a_run("one"), tmp_path)
    assert [run.path for run in resolve_side(str(path), tmp_path, None)] == [path]
    write_run(a_run("two"), tmp_path)
    (tmp_path / "notes.txt").touch()
    (tmp_path / "inner").mkdir()
    write_run(a_run("three"), tmp_path / "inner")
    assert [run.path.name for run in resolve_side(str(tmp_path), tmp_path, None)] == ["one.jsonl", "two.jsonl"]
    (tmp_path / "bare" / "kept").mkdir(parents=True)
    with pytest.raises(UsageError, match=r"bare: holds no run file .* such as .*kept"):
        resolve_side(str(tmp_path / "bare"), tmp_path, None)
    with pytest.raises(UsageError, match="no such run file"):
        resolve_side("nothing.jsonl", tmp_path, None)


def test_what_is_no_baseline_is_refused_whole(tmp_path: Path) -> None:
    base = tmp_path / "baselines"
    good = a_run("good")
    empty = make_run([unmeasured(make_case(), "oom", "too big")], "empty.jsonl")
    assert "empty.jsonl: has no measured point" in refusal(good, empty, baselines=base)
    injected = Duet(id="x", side="candidate", label="mine", identical=True, injected=0.05)
    slowed = Run(Path("slow.jsonl"), a_run("slow").header.model_copy(update={"duet": injected}), good.points)
    assert "a slowdown was put into it" in refusal(slowed, baselines=base)
    assert "given twice" in refusal(good, good, baselines=base)
    assert "several: good.jsonl: Example CPU" in refusal(good, a_run("gpu", **H100), baselines=base)
    folder = save_baseline([good], base)
    assert f"is a baseline already: {folder}" in refusal(good, baselines=base)
    assert "is there already" in refusal(a_run("same-time"), baselines=base)
    (tmp_path / "file").touch()
    assert "file: cannot be written: File exists: choose another" in refusal(good, baselines=tmp_path / "file")


def test_machines_in_words() -> None:
    assert machine_of({}, on_cpu=True) == "unknown processor (? cores)"
    assert machine_of(ENVIRONMENT | H100, on_cpu=True) == "2 x NVIDIA H100, Example CPU at 2.10 GHz (16 cores)"
    assert machine_of(ENVIRONMENT | H100, on_cpu=False) == "2 x NVIDIA H100, Example CPU at 2.10 GHz (2 cores)"
    assert machine_of({"gpus": "damaged", "cpu": None}, on_cpu=True) == "unknown processor (? cores)"


def test_how_many_processors_a_gpu_run_may_use_is_no_part_of_its_machine(tmp_path: Path) -> None:
    def on_gpu(name: str, affinity: int) -> Run:
        points = [measured(make_case(device="cuda"), 1e6)]
        environment = ENVIRONMENT | H100 | {"affinity": affinity}
        return make_run(points, f"{name}.jsonl", created="2025-01-02T03:04:05Z", environment=environment)

    save_baseline([on_gpu("one", 16), on_gpu("two", 8)], tmp_path)
    assert len(resolve_side("latest", tmp_path, [on_gpu("mine", 4)])) == 2
    save_baseline([a_run("cpu", 3, affinity=4)], tmp_path)
    with pytest.raises(UsageError, match=r"has no baseline of Example CPU at 2.10 GHz \(2 cores\)"):
        resolve_side("latest", tmp_path, [a_run("mine", affinity=2)])


def test_the_command_saves_and_warns(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    run = a_run("one")
    few = make_run([measured(make_case(length=4096), 1e6)], "few.jsonl")
    words = [str(write_run(each, tmp_path)) for each in (run, few)]
    with pytest.raises(SystemExit) as leaving:
        main(["baseline", "save", *words])
    said = capsys.readouterr()
    assert not leaving.value.code
    assert "1 of 3 points have fewer than 8 sessions" in said.err
    (folder,) = (tmp_path / "longbench-baselines").iterdir()
    assert said.out.startswith(f"saved longbench-baselines/{folder.name}; keep it with: git add ")
    files = sorted(folder.iterdir())
    assert [len(load_run(path).points) for path in files] == [16, 1]
    assert json.loads(files[0].read_text().splitlines()[0])["run_id"] == "run-one"
    with pytest.raises(SystemExit) as leaving:
        main(["baseline", "save", *words])
    assert leaving.value.code == 2
    assert "is a baseline already" in capsys.readouterr().err


def test_the_two_sides_of_a_gate_are_no_baseline(tmp_path: Path) -> None:
    sides = duet_of([0.0] * 6)
    with pytest.raises(UsageError, match="the two sides of a duet"):
        save_baseline(sides, tmp_path / "baselines")
