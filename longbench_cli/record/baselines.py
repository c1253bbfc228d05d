"""Baselines: runs kept in a directory, in git, to compare later runs with; and the runs that a word stands for."""

from __future__ import annotations

import os
import re
import shutil
import uuid
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from longbench_cli.errors import UsageError
from longbench_cli.record.history import moment_of
from longbench_cli.record.loading import Run, load_header, load_run
from longbench_cli.record.schema import MeasuredPoint, dump_line
from longbench_cli.record.slim import slim, slim_header

DEFAULT_BASELINES: Final = Path("longbench-baselines")
LATEST: Final = "latest"
"""Names the newest baseline of the machine that the other side was measured on."""

_PART: Final = ".part-"
_SHOWN: Final = 5


def machine_of(environment: Mapping[str, Any], *, on_cpu: bool) -> str:
    """The hardware a run was measured on, in words: its GPUs, and its processor.

    Of that, what it could use of its cores where points were measured ``on_cpu``, else all of them. Software is none
    of it: whether a baseline of another torch can be compared, the comparison says.
    """
    gpus = environment.get("gpus")
    names = [str(gpu.get("name")) for gpu in gpus if isinstance(gpu, dict)] if isinstance(gpus, list) else []
    cores = (environment.get("affinity") if on_cpu else None) or environment.get("cores") or "?"
    parts = [f"{names.count(name)} x {name}" for name in dict.fromkeys(names)]
    return ", ".join([*parts, f"{environment.get('cpu') or 'unknown processor'} ({cores} cores)"])


def save_baseline(runs: Sequence[Run], baselines: Path) -> Path:
    """Keep ``runs``, made slim, as one baseline: a new folder in ``baselines``, which is there whole or not at all.

    Raises:
        UsageError: a run has no measured point, is given twice or a baseline already, or has a slowdown in it;
            two are the sides of one duet; the runs are of several machines; the folder cannot be written.
    """
    _refuse(runs, baselines)
    newest = max(runs, key=moment_of)
    machine = machine_of(newest.header.environment, on_cpu=_on_cpu(runs))
    slug = re.sub(r"[^A-Za-z0-9]+", "-", machine).strip("-").lower()[:60].strip("-")
    folder = baselines / f"{moment_of(newest):%Y%m%dT%H%M%SZ}-{slug}"
    if folder.exists():
        raise UsageError(f"{folder}: is there already: remove it to save this machine's runs of that time again")
    try:
        baselines.mkdir(parents=True, exist_ok=True)
        part = baselines / f"{_PART}{uuid.uuid4().hex}"
        part.mkdir()
        try:
            for number, run in enumerate(sorted(runs, key=moment_of), 1):
                _write(run, part / f"{number:02}-{re.sub(r'[^A-Za-z0-9_-]', '', run.header.run_id)[:8]}.jsonl")
            part.rename(folder)
        except BaseException:
            shutil.rmtree(part, ignore_errors=True)
            raise
    except OSError as error:
        raise UsageError(f"{baselines}: cannot be written: {error.strerror}: choose another with --baselines") from None
    return folder


def resolve_side(text: str, baselines: Path, like: Sequence[Run] | None) -> list[Run]:
    """The runs of a run file, of all ``*.jsonl`` of a folder, or of ``latest``: the newest in ``baselines`` that was
    measured on the machine of the runs ``like``, those of the other side.

    Raises:
        UsageError: there is no such file, it is no run, the folder has none, or there is no baseline of that machine.
    """
    if text == LATEST:
        if not like:
            raise UsageError(f"{LATEST}: of which machine? Give a run for the other side")
        return _latest(baselines, like[0].header.environment, on_cpu=_on_cpu(like))
    place = Path(text)
    if not place.is_dir():
        return [load_run(place)]
    found = _files(place)
    if not found:
        inside = _folders(place)
        hint = f"give one of its folders, such as {inside[-1]}" if inside else "give a run file"
        raise UsageError(f"{place}: holds no run file (*.jsonl): {hint}")
    return [load_run(path) for path in found]


def _on_cpu(runs: Sequence[Run]) -> bool:
    return any(point.case.device == "cpu" for run in runs for point in run.points)


def _latest(baselines: Path, environment: Mapping[str, Any], *, on_cpu: bool) -> list[Run]:
    machine = machine_of(environment, on_cpu=on_cpu)
    saved = {folder: files for folder in _folders(baselines) if (files := _files(folder))}
    heads = {folder: [Run(path, load_header(path)) for path in files] for folder, files in saved.items()}
    machines = {folder: machine_of(runs[0].header.environment, on_cpu=on_cpu) for folder, runs in heads.items()}
    fitting = [folder for folder in saved if machines[folder] == machine]
    if fitting:
        newest = max(fitting, key=lambda folder: max(map(moment_of, heads[folder])))
        return [load_run(path) for path in saved[newest]]
    save = "save one with `longbench baseline save RUN`"
    if not saved:
        raise UsageError(f"{LATEST}: {baselines} holds no baseline: {save}, or name the directory with --baselines")
    others = list(dict.fromkeys(machines.values()))
    more = f" and {len(others) - _SHOWN} others" if len(others) > _SHOWN else ""
    raise UsageError(
        f"{LATEST}: {baselines} has no baseline of {machine}, only of {'; '.join(others[:_SHOWN])}{more}: {save}"
    )


def _refuse(runs: Sequence[Run], baselines: Path) -> None:
    kept = {load_header(path).run_id: path for folder in _folders(baselines) for path in _files(folder)}
    seen: set[str] = set()
    duets: dict[str, Run] = {}
    for run in runs:
        header = run.header
        if not any(isinstance(point, MeasuredPoint) for point in run.points):
            raise UsageError(f"{run.path}: has no measured point: a baseline must have one to compare with")
        if header.duet is not None and header.duet.injected is not None:
            raise UsageError(f"{run.path}: a slowdown was put into it (--inject): save a run that is what was built")
        if header.duet is not None and (other := duets.setdefault(header.duet.id, run)) is not run:
            raise UsageError(f"{run.path} and {other.path}: are the two sides of a duet: save the one to compare with")
        if header.run_id in kept:
            raise UsageError(f"{run.path}: is a baseline already: {kept[header.run_id]}")
        if header.run_id in seen:
            raise UsageError(f"{run.path}: the same run is given twice: give each once")
        seen.add(header.run_id)
    machines = {machine_of(run.header.environment, on_cpu=_on_cpu(runs)): run.path for run in runs}
    if len(machines) > 1:
        told = "; ".join(f"{path}: {machine}" for machine, path in machines.items())
        raise UsageError(f"a baseline is of one machine, and these runs are of several: {told}: save them one by one")


def _write(run: Run, path: Path) -> None:
    with path.open("x", encoding="utf-8") as file:
        file.writelines(f"{dump_line(line)}\n" for line in (slim_header(run.header), *map(slim, run.points)))
        file.flush()
        os.fsync(file.fileno())


def _files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.glob("*.jsonl") if path.is_file())


def _folders(baselines: Path) -> list[Path]:
    """The baselines in a directory, none if it is not there; one that is being written is not yet one."""
    if not baselines.is_dir():
        return []
    return sorted(path for path in baselines.iterdir() if path.is_dir() and not path.name.startswith(_PART))
