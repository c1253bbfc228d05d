"""A folder of runs kept over time, in git or in a CI system's cache: what is put there, and what is read back."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from longbench_cli.errors import UsageError
from longbench_cli.record.loading import Run, load_run
from longbench_cli.record.schema import RunHeader, dump_line
from longbench_cli.record.slim import bare, slim, slim_header
from longbench_cli.sweep.axes import shown

_COMMIT = re.compile(r"[0-9a-fA-F]{7,64}")
_PLAIN_NAME = re.compile(r"[A-Za-z0-9_-]{1,64}")


@dataclass(frozen=True, slots=True)
class Entry:
    """A run as it is kept: ``path`` in the folder, ``content`` of the file; ``known`` if it is there already."""

    path: Path
    content: str
    known: bool


def new_entries(folder: Path, runs: Sequence[Run], commit: str | None = None) -> list[Entry]:
    """What adding ``runs`` to ``folder`` comes to; nothing is written here.

    A run is kept slim (:mod:`longbench_cli.record.slim`), in a file named by the time it was made and its identity.

    Args:
        commit: what was measured, if the runs do not say so themselves: it replaces what they say.

    Raises:
        UsageError: ``commit`` is none; a run holds no point, has no date, or is not fit for a trend; a run of the
            same identity is there already with other points or of another commit.
    """
    if commit is not None and not _COMMIT.fullmatch(commit):
        raise UsageError(f"--commit {shown(commit)}: no hash of a commit: give 7 to 64 hexadecimal digits")
    entries: list[Entry] = []
    added: dict[Path, Run] = {}
    for given in runs:
        if (why := unfit(given.header)) is not None:
            raise UsageError(f"{given.path}: {why}: add a run that is what was built")
        if not given.points:
            raise UsageError(f"{given.path}: holds no point: finish it with `longbench run --resume {given.path}`")
        header = slim_header(_of_commit(given.header, commit))
        run = Run(given.path, header, [slim(point) for point in given.points])
        path = folder / _name(run)
        before = added.get(path) or (load_run(path) if path.exists() else None)
        if before is not None and _identity(before) != _identity(run):
            raise UsageError(
                f"{given.path}: is in the history already, with other points or of another commit: "
                f"remove {path} to add it again"
            )
        content = "".join(f"{dump_line(line)}\n" for line in (run.header, *run.points))
        entries.append(Entry(path, content, known=before is not None))
        added[path] = run
    return entries


def read_history(places: Sequence[Path]) -> tuple[list[Run], list[str]]:
    """The runs of files and folders (their ``*.jsonl``, not those of folders in them), oldest first; and warnings.

    Of a point there is what a trend needs (:func:`longbench_cli.record.slim.bare`), so that many runs are in memory
    at once. A run that is there twice counts once; one that is not fit for a trend is left out. Both are told.

    Raises:
        UsageError: a folder holds no run file; a file is not a run, or its run has no date.
    """
    runs: dict[str, Run] = {}
    warnings: list[str] = []
    for path in dict.fromkeys(path for place in places for path in _files(place)):
        run = load_run(path)
        warnings += run.warnings
        moment_of(run)
        if (why := unfit(run.header)) is not None:
            warnings.append(f"{path}: {why}: left out")
        elif run.header.run_id in runs:
            warnings.append(f"{path}: the same run as {runs[run.header.run_id].path}: left out")
        else:
            run.points = [bare(point) for point in run.points]
            runs[run.header.run_id] = run
    return sorted(runs.values(), key=lambda run: (moment_of(run), run.header.run_id)), warnings


def unfit(header: RunHeader) -> str | None:
    """Why a run does not belong in a trend; None if it does."""
    if header.duet is None:
        return None
    if header.duet.side == "base":
        return "is the base side of a duet, older code measured again"
    return "a slowdown was put into it, to test the gate" if header.duet.injected is not None else None


def moment_of(run: Run) -> datetime:
    """When the run was made, UTC.

    Raises:
        UsageError: its header does not say.
    """
    try:
        moment = datetime.fromisoformat(run.header.created)
        return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).astimezone(UTC)
    except (ValueError, OverflowError):
        raise UsageError(
            f"{run.path}: line 1: created: {shown(run.header.created)} is no date: repair the header"
        ) from None


def commit_of(header: RunHeader) -> str | None:
    """The commit that a run recorded."""
    git = header.environment.get("git")
    commit = git.get("commit") if isinstance(git, dict) else None
    return commit if isinstance(commit, str) and commit else None


def _of_commit(header: RunHeader, commit: str | None) -> RunHeader:
    if commit is None or commit == commit_of(header):
        return header
    git = {"commit": commit.lower(), "dirty": None}
    return header.model_copy(update={"environment": {**header.environment, "git": git}})


def _name(run: Run) -> str:
    identity = run.header.run_id
    if not _PLAIN_NAME.fullmatch(identity):  # a file may say anything
        identity = hashlib.sha256(identity.encode()).hexdigest()[:32]
    return f"{moment_of(run):%Y%m%dT%H%M%SZ}-{identity}.jsonl"


def _identity(run: Run) -> tuple[str, str | None, list[tuple[str, int, str]]]:
    return run.header.run_id, commit_of(run.header), [(one.key, one.session, one.status) for one in run.points]


def _files(place: Path) -> list[Path]:
    if not place.is_dir():
        return [place]
    found = sorted(path for path in place.glob("*.jsonl") if path.is_file())
    if not found:
        raise UsageError(f"{place}: holds no run file (*.jsonl): add a run with `longbench history add`")
    return found
