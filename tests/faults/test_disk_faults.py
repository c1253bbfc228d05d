"""A disk that is full or fails while the run file is written: one clear line, nothing lost, a resume ends the sweep."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest
from fault_table import FaultTable
from orphans import left_behind, new_marker
from private_disks import FAILING, TINY, TRIGGER, on_a_private_disk, why_not

from longbench_cli.record.journal import is_started, load_run

ROOT = Path(__file__).resolve().parents[2]
LONGBENCH = (sys.executable, str(ROOT / "tests" / "support" / "light_longbench.py"))
SWEEP = ("run", "--impl", "vanilla", "--seq", "256:4k", "--device", "cpu", "--order", "sequential")
LENGTHS = [256, 512, 1024, 2048, 4096]
PAGE = 4096
ITERATIONS = "1000"  # a point's line is then longer than a page, so that a whole number of pages ends inside any


@dataclass(frozen=True)
class Broken:
    """A run on a disk that broke, and the one that went on when it was mended."""

    error: str
    keys: list[str]
    resumed_keys: list[str]
    plan: list[str]


def environment(**more: str) -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(ROOT), "LIGHT_ITERATIONS": ITERATIONS, **more}


@pytest.fixture(scope="module")
def sizes(tmp_path_factory: pytest.TempPathFactory) -> list[int]:
    """Bytes of the run file's lines where there is room."""
    path = tmp_path_factory.mktemp("whole") / "run.jsonl"
    subprocess.run([*LONGBENCH, *SWEEP, "-o", path], env=environment(), capture_output=True, check=True)
    found = [len(line) + 1 for line in path.read_bytes().splitlines()]
    assert len(found) == 1 + len(LENGTHS)
    assert min(found[1:]) > PAGE
    return found


def break_and_mend(folder: Path, before: str, after: str, **more: str) -> tuple[Broken, int]:
    """A sweep between the shell commands ``before`` and ``after``, then its resume; and how many orphans it left."""
    marker = new_marker()
    longbench = shlex.join([*LONGBENCH, *SWEEP])
    script = f"""{before}
    {longbench} -o disk/run.jsonl > /dev/null 2> error || echo $? > code
    cp disk/run.jsonl broken.jsonl || true
    {after}
    {longbench} --resume disk/run.jsonl > /dev/null
    cp disk/run.jsonl mended.jsonl
    """
    done = on_a_private_disk(script, folder, environment(**marker, **more))
    assert done.returncode == 0, done.stderr
    assert (folder / "code").read_text(encoding="utf-8") == "2\n"
    broken, mended = folder / "broken.jsonl", folder / "mended.jsonl"
    begun = load_run(broken) if is_started(broken) else None
    whole = load_run(mended)
    assert not whole.warnings
    assert not (begun and begun.warnings)
    assert mended.read_bytes().startswith(broken.read_bytes() if begun else b"")
    keys = [point.key for point in begun.points] if begun else []
    error = (folder / "error").read_text(encoding="utf-8")
    orphans = len(left_behind(marker))
    return Broken(error, keys, [point.key for point in whole.points], whole.header.plan), orphans


def check(table: FaultTable, fault: str, found: tuple[Broken, int], recorded: int, words: list[str]) -> None:
    broken, orphans = found
    lost = max(0, recorded - len(broken.keys)) + len(broken.plan) - len(set(broken.resumed_keys))
    table.count(fault, lost=lost, orphans=orphans)
    assert len(broken.error.splitlines()) == 1, broken.error
    for word in ["disk/run.jsonl: cannot be written", *words]:
        assert word in broken.error
    assert broken.keys == broken.plan[:recorded]
    assert broken.resumed_keys == broken.plan
    assert not orphans


@pytest.mark.parametrize(
    ("fault", "recorded"),
    [("disk full at the first line", None), ("disk full at the first point", 0), ("disk full at a later point", 2)],
)
def test_a_full_disk(fault: str, recorded: int | None, sizes: list[int], tmp_path: Path, table: FaultTable) -> None:
    if why := why_not(TINY.format(bytes=PAGE), tmp_path):
        pytest.skip(why)
    room = 0 if recorded is None else sum(sizes[: 1 + recorded])
    pages = max(1, -(-room // PAGE))
    before = TINY.format(bytes=pages * PAGE) + ("" if room else f"\nhead -c {PAGE} /dev/zero > disk/others")
    found = break_and_mend(tmp_path, before, "mount -o remount,size=1m disk")
    then = [] if recorded is None else ["make room", "--resume disk/run.jsonl"]
    check(table, fault, found, recorded or 0, ["No space left", *then])


def test_a_read_only_disk(tmp_path: Path, table: FaultTable) -> None:
    if why := why_not(TINY.format(bytes=PAGE), tmp_path):
        pytest.skip(why)
    found = break_and_mend(
        tmp_path, TINY.format(bytes=1 << 20) + "\nmount -o remount,ro disk", "mount -o remount,rw disk"
    )
    check(table, "disk read-only from the start", found, 0, ["Read-only", "another place with -o"])


@pytest.mark.parametrize(
    ("fault", "recorded"), [("disk read-only at the first point", 0), ("disk read-only at a later point", 2)]
)
def test_a_disk_that_becomes_read_only(fault: str, recorded: int, tmp_path: Path, table: FaultTable) -> None:
    """The kernel meets an error on the disk while a point is measured, and takes no more writes."""
    if why := why_not(f"{FAILING}test -w {TRIGGER}", tmp_path / "try"):
        pytest.skip(why)
    before = f"{FAILING}export LIGHT_WRITE={LENGTHS[recorded]}:{TRIGGER}"
    after = "unset LIGHT_WRITE\numount disk\nmount -o loop disk.img disk"
    found = break_and_mend(tmp_path, before, after)
    check(table, fault, found, recorded, ["--resume disk/run.jsonl"])
