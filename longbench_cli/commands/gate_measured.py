"""A gate that measures: two interpreters, two run files, and pairs until all is decided."""

from __future__ import annotations

import re
import time
import uuid
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import count
from pathlib import Path
from typing import Literal

import typer

from longbench_cli.analyse.comparison.paired import compare_paired
from longbench_cli.analyse.comparison.types import Comparison
from longbench_cli.commands.compare_sides import KnownNoise
from longbench_cli.commands.gate_session import Seams, SideFile, measure_duet, pairs_of, settings_of_pair
from longbench_cli.commands.report import RUNS_FOLDER
from longbench_cli.commands.run_checks import refuse_unrunnable, visible_gpus
from longbench_cli.commands.run_file import make_header, refuse_other_plan
from longbench_cli.errors import UsageError
from longbench_cli.execute.interpreter import Interpreter, Probed, probe
from longbench_cli.present.gate_progress import GateProgress
from longbench_cli.printable import printable
from longbench_cli.record.journal import Journal, Options, Run, is_started, load_run
from longbench_cli.record.schema import Duet, RunHeader
from longbench_cli.sweep.hardware import free_bytes
from longbench_cli.sweep.plan import Plan
from longbench_cli.sweep.predict import execution_of

SIDES = ("base", "candidate")


@dataclass(frozen=True, slots=True)
class Terms:
    """How a gate measures and judges.

    Attributes:
        identical: both sides are meant to be the same code.
        slowdown: what is put into the candidate, as a share; None for nothing.
        noise: what an A/A gate found; None if it is not known.
        allow: fields in which the sides may differ.
        keep: folder of the run files; a new one if None.
        resume: whether that holds a gate to go on with.
    """

    identical: bool
    slowdown: float | None
    noise: KnownNoise | None
    allow: Collection[str]
    keep: Path | None
    resume: bool


def measure(
    plan: Plan,
    given: Mapping[str, object],
    players: tuple[Interpreter, Interpreter],
    terms: Terms,
    progress: GateProgress,
) -> Comparison:
    """Measure ``plan`` on both sides; what is measured is in ``terms.keep`` at once, whatever happens then.

    ``given`` are the options of the sweep, for the run files' headers.

    Raises:
        UsageError: a side cannot take part; the plan cannot be run here; the files cannot be written; there is no such
            gate to go on with; or it was interrupted.
    """
    plan = Plan(plan.points, settings_of_pair(plan.settings), plan.profile, plan.sources)
    refuse_unrunnable(plan, device_left_open=False, gpus_found=visible_gpus)
    _refuse_streamed(plan, terms.slowdown)
    sides = _probed(plan, players, identical=terms.identical)
    headers = _headers(plan, given, sides, terms)
    devices = {point.key: point.case.device for point in plan.points}
    noise = {} if terms.noise is None else terms.noise.of(devices, headers[1])
    folder = terms.keep if terms.keep is not None else _new_folder(plan)
    with _opened(folder, headers, resume=terms.resume) as files:

        def judge() -> Comparison:
            return compare_paired(files[0].run, files[1].run, noise=noise, allow=terms.allow)

        seams = Seams(pairs_of(players), free_bytes, time.monotonic, progress.started, progress.finished)
        progress.begin(plan, folder)
        try:
            return measure_duet(plan, files, judge, seams, terms.slowdown or 0.0)
        except KeyboardInterrupt:
            progress.close()
            raise UsageError(
                f"interrupted: what was measured is in {folder}: give the same command with --keep {folder} --resume"
            ) from None


def _probed(plan: Plan, players: tuple[Interpreter, Interpreter], *, identical: bool) -> tuple[Probed, Probed]:
    """What base and candidate would run; a note to the user where that is the same."""
    impls = sorted({point.case.impl for point in plan.points})
    base = probe(players[0], impls)
    candidate = base if players[0] is players[1] else probe(players[1], impls)
    if not identical and base.location == candidate.location and not any(":" in impl for impl in impls):
        same = f"both sides run the longbench in {base.location}"
        typer.echo(printable(f"longbench: note: {same}: only other packages can differ between them"), err=True)
    return base, candidate


def _headers(
    plan: Plan, given: Mapping[str, object], sides: tuple[Probed, Probed], terms: Terms
) -> tuple[RunHeader, RunHeader]:
    """Those of the run files of base and candidate."""
    number, ours = uuid.uuid4().hex, make_header(plan, given)

    def header(name: Literal["base", "candidate"], side: Probed, injected: float | None) -> RunHeader:
        duet = Duet(id=number, side=name, label=side.interpreter.label, identical=terms.identical, injected=injected)
        theirs = {"run_id": f"{number}-{name}", "version": side.version, "environment": side.environment, "duet": duet}
        return ours.model_copy(update=theirs)

    return header("base", sides[0], None), header("candidate", sides[1], terms.slowdown)


def _refuse_streamed(plan: Plan, slowdown: float | None) -> None:
    streamed = [
        point for point in plan.points
        if execution_of(point, plan.settings, free_bytes(point.case.device)) == "streamed"
    ]  # fmt: skip
    if slowdown and streamed:
        raise UsageError(
            f"--inject: {streamed[0].key} would be streamed, and a stream cannot be slowed: leave such lengths out"
        )


def _new_folder(plan: Plan) -> Path:
    impls = "-".join(dict.fromkeys(point.case.impl for point in plan.points))
    name = Path(plan.profile).stem if plan.profile else impls
    stem = f"{datetime.now(UTC):%Y%m%dT%H%M%SZ}-gate-{re.sub(r'[^A-Za-z0-9._-]+', '-', name)[:60]}"
    tries = (RUNS_FOLDER / f"{stem}{'' if number == 1 else f'-{number}'}" for number in count(1))
    return next(path for path in tries if not path.exists())


@contextmanager
def _opened(folder: Path, headers: Sequence[RunHeader], *, resume: bool) -> Iterator[tuple[SideFile, SideFile]]:
    """The run files of both sides, new or gone on with; one that was begun alone is, as well."""
    paths = [folder / f"{name}.jsonl" for name in SIDES]
    begun = [load_run(path) for path in paths if is_started(path)]
    if begun and not resume:
        raise UsageError(f"--keep {folder}: holds {begun[0].path.name} already: choose another, or go on with --resume")
    if resume and not begun:
        raise UsageError(f"--resume: {folder} holds no gate that was begun: leave --resume out")
    duets = {run.header.duet.id if run.header.duet else "" for run in begun}
    if len(duets) > 1 or "" in duets:
        raise UsageError(f"--resume: {folder} does not hold the two sides of one gate: start a new one")
    headers = [_of_duet(header, next(iter(duets), None)) for header in headers]
    options = Options("--keep", f"--keep {folder} --resume")
    with ExitStack() as files:
        sides = []
        for path, header in zip(paths, headers, strict=True):
            journal, earlier = Journal.open(path, header, resume=resume, options=options)
            files.enter_context(journal)
            if earlier is not None:
                _refuse_other_gate(earlier, header)
            sides.append(SideFile(journal, earlier or Run(path, header)))
        yield sides[0], sides[1]


def _of_duet(header: RunHeader, number: str | None) -> RunHeader:
    """``header`` with the number of the duet that is gone on with."""
    if number is None or header.duet is None:
        return header
    return header.model_copy(update={"duet": header.duet.model_copy(update={"id": number})})


def _refuse_other_gate(earlier: Run, header: RunHeader) -> None:
    refuse_other_plan(earlier, header)
    then, now = earlier.header, header
    alike = {
        "version": (then.version, now.version),
        "environment": (_fingerprint(then), _fingerprint(now)),
        "side": (_unnumbered(then.duet), _unnumbered(now.duet)),
    }
    differing = [name for name, (one, other) in alike.items() if one != other]
    if differing:
        raise UsageError(
            f"--resume: {earlier.path} is of another {differing[0]}: go on with the same sides, or start a new gate"
        )


def _fingerprint(header: RunHeader) -> dict[str, object]:
    """What of the environment a gate cannot go on without."""
    return {
        name: header.environment.get(name)
        for name in ("hostname", "cpu", "affinity", "gpus", "packages", "python", "git")
    }


def _unnumbered(duet: Duet | None) -> dict[str, object] | None:
    return duet.model_dump(exclude={"id"}) if duet is not None else None
