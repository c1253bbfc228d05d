"""Sweeps whose main process is killed at random moments and resumed, until so many kills are counted.

    python killed_sweeps.py FOLDER KILLS SEED

Prints the counts of :class:`Tally` as JSON. A main process is a fork of this one, so that a kill costs what a sweep
does, not what starting Python does; journal, session, isolation and worker processes are the real ones, and only the
worker's measurement is a stand-in (:mod:`light_longbench`).
"""

from __future__ import annotations

import json
import os
import random
import signal
import sys
import time
import traceback
from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Never

import light_longbench
from orphans import MARKER, ancestors, left_behind

from longbench_cli.commands.run_file import make_header
from longbench_cli.commands.run_session import measure_missing, recorded_points
from longbench_cli.errors import UsageError
from longbench_cli.present.progress import QuietDisplay
from longbench_cli.record.journal import Journal, is_started, load_run
from longbench_cli.record.loading import RecordedPoint
from longbench_cli.record.schema import RunHeader
from longbench_cli.sweep.case import Case
from longbench_cli.sweep.options import resolve
from longbench_cli.sweep.plan import Plan, make_plan

SESSIONS = 2
"""Fresh processes that each case is measured in: a record is known by its key and its session."""

ASKED = {
    "impl": "vanilla,dilated",
    "seq": "64:512",
    "heads": "1,2",
    "device": "cpu",
    "sessions": SESSIONS,
}
POINTS_TO_A_KILL = 2
"""Kills fall evenly on the time that so many points take, so on every part of one."""

Known = tuple[str, int]


@dataclass(slots=True)
class Tally:
    """What became of the points.

    Attributes:
        kills: main processes killed at work.
        busy: kills while a worker ran.
        sweeps: sweeps brought to their end between and after the kills.
        recorded: records in the run files of all sweeps.
        lost: points that had been recorded and are not in the file in the end.
        missing: points of a plan that are not in the file in the end.
        repeated: records of a point that is there already.
        again: measurements of a point that had been recorded.
        torn: lines of finished sweeps that are not whole.
        orphans: processes that outlived a main process.
    """

    kills: int = 0
    busy: int = 0
    sweeps: int = 0
    recorded: int = 0
    lost: int = 0
    missing: int = 0
    repeated: int = 0
    again: int = 0
    torn: int = 0
    orphans: int = 0


class Sweep:
    """One run file, and the main processes that write it in turn."""

    def __init__(self, folder: Path, plan: Plan, header: RunHeader, tally: Tally) -> None:
        self.path = folder / "run.jsonl"
        self._measured = folder / "measured"  # a line a worker, when it begins
        self._finished = folder / "finished"  # a line a point, when it is recorded
        self._plan, self._header, self._tally = plan, header, tally
        self._keys = {_as_text(point.case): point.key for point in plan.points}
        folder.mkdir(parents=True)

    def start(self) -> int:
        """Begin a main process; its pid."""
        pid = os.fork()
        if pid == 0:
            self._main_process()
        return pid

    def _main_process(self) -> Never:
        os.environ.update(LIGHT_LOG=str(self._measured), LIGHT_CHILD="1")
        finished = os.open(self._finished, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o666)

        def echo(record: RecordedPoint) -> None:
            os.write(finished, f"{record.key} {record.session}\n".encode())

        try:
            journal, earlier = Journal.open(self.path, self._header, resume=True)
            with journal:
                measure_missing(self._plan, journal, recorded_points(self._plan, earlier), QuietDisplay(), echo)
        except BaseException:  # its code is all that this process can hand back
            traceback.print_exc()
            os._exit(1)
        os._exit(0)

    def finish(self, marker: dict[str, str]) -> float:
        """Let a main process end by itself and check the file; returns the seconds that it took."""
        records, begun = self.records(), self.begun()
        begin = time.monotonic()
        _, status = os.waitpid(self.start(), 0)
        took = time.monotonic() - begin
        if status:
            raise RuntimeError(f"a main process that nobody killed ended with status {status}")
        self._tally.again += again(records, self.begun() - begun)
        self._tally.orphans += len(left_behind(marker, but=ancestors()))
        self.check()
        return took

    def records(self) -> list[Known]:
        """What the file holds; of a killed main process's last line, that may be nothing."""
        run = load_run(self.path) if is_started(self.path) else None
        return [(record.key, record.session) for record in run.points] if run else []

    def begun(self) -> Counter[str]:
        """How many workers have begun each point."""
        return Counter(self._keys[line] for line in _lines(self._measured))

    def check(self) -> None:
        """Count what is wrong with the file of a sweep that came to its end."""
        records = Counter(self.records())
        finished = {
            (key, int(session)) for key, _, session in (line.rpartition(" ") for line in _lines(self._finished))
        }
        wanted = {(point.key, session) for point in self._plan.points for session in range(SESSIONS)}
        tally = self._tally
        tally.sweeps += 1
        tally.recorded += records.total()
        tally.lost += len(finished - records.keys())
        tally.missing += len(wanted - records.keys())
        tally.repeated += records.total() - len(wanted & records.keys())
        tally.torn += len(load_run(self.path).warnings)


def _as_text(case: Case) -> str:
    """What a light worker logs of the case that it is asked for."""
    return json.dumps(case.model_dump(mode="json", by_alias=True), sort_keys=True)


def _lines(path: Path) -> list[str]:
    return path.read_text(encoding="utf-8").splitlines() if path.exists() else []


def again(records: list[Known], begun: Mapping[str, int]) -> int:
    """Of the workers ``begun`` in a session, those for which nothing was left to measure beside ``records``."""
    before = Counter(key for key, _ in records)
    return sum(max(0, count + before[key] - SESSIONS) for key, count in begun.items())


def kill_and_resume(folder: Path, kills: int, draw: random.Random) -> Tally:
    """Kill ``kills`` main processes; every sweep is brought to its end."""
    light_longbench.install()
    marker = {MARKER: os.environ[MARKER]}
    plan = make_plan(resolve(dict(ASKED)))
    header = make_header(plan, ASKED)
    tally = Tally()
    span = Sweep(folder / "unkilled", plan, header, tally).finish(marker) / (len(plan.points) * SESSIONS)
    sweep = Sweep(folder / "sweep-0", plan, header, tally)
    idle = 0
    while tally.kills < kills:
        records, begun = sweep.records(), sweep.begun()
        pid = sweep.start()
        time.sleep(draw.uniform(0, POINTS_TO_A_KILL * span))
        os.kill(pid, signal.SIGKILL)
        _, status = os.waitpid(pid, 0)
        tally.orphans += len(left_behind(marker, but=ancestors()))
        if not os.WIFSIGNALED(status):
            if status:
                raise RuntimeError(f"a main process that was resumed ended with status {status}")
            sweep.check()
            sweep = Sweep(folder / f"sweep-{tally.sweeps}", plan, header, tally)
            continue
        tally.kills += 1
        new, started = len(sweep.records()) - len(records), sweep.begun() - begun
        tally.busy += started.total() > new
        tally.again += again(records, started)
        idle = 0 if new else idle + 1
        if idle == 20:  # the machine is slower than it was: without this no point would ever be finished
            idle, span = 0, span * 2
    sweep.finish(marker)
    return tally


if __name__ == "__main__":
    try:
        counted = kill_and_resume(Path(sys.argv[1]), int(sys.argv[2]), random.Random(int(sys.argv[3])))
    except UsageError as error:
        sys.exit(str(error))
    sys.stdout.write(json.dumps(asdict(counted)))
