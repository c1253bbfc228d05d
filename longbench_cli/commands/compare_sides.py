"""What ``compare`` and ``gate`` are given: the runs of both sides, the noise that is known, the differences allowed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from longbench_cli.errors import UsageError
from longbench_cli.printable import printable

if TYPE_CHECKING:
    from longbench_cli.analyse.comparison.types import Comparison
    from longbench_cli.record.journal import Run
    from longbench_cli.record.schema import RunHeader
    from longbench_cli.sweep.case import Device


def load_sides(base: str, candidate: str, baselines: Path | None) -> tuple[list[Run], list[Run]]:
    """The runs that ``base`` and ``candidate`` stand for; ``latest`` is looked for in ``baselines``.

    Raises:
        UsageError: one of them is no run file, folder of runs or ``latest``, or both are ``latest``.
    """
    from longbench_cli.record.baselines import DEFAULT_BASELINES, LATEST, resolve_side

    where = baselines or DEFAULT_BASELINES
    if candidate == LATEST:  # which is of the machine that the other side was measured on
        base_runs = resolve_side(base, where, None)
        return base_runs, resolve_side(candidate, where, base_runs)
    candidate_runs = resolve_side(candidate, where, None)
    return resolve_side(base, where, candidate_runs), candidate_runs


@dataclass(frozen=True, slots=True)
class KnownNoise:
    """What an A/A gate found: by key, the spread (sd) of d; and the header of its run."""

    folder: Path
    by_key: Mapping[str, float]
    header: RunHeader

    def of(self, points: Mapping[str, Device], header: RunHeader) -> Mapping[str, float]:
        """The noise of ``points`` (key to device), which a run of ``header`` measures; a warning where some have none.

        Raises:
            UsageError: it knows none of them, or was measured on another machine.
        """
        from longbench_cli.analyse.comparison.comparable import MACHINE, fingerprint

        known = [key for key in points if key in self.by_key]
        if not known:
            raise UsageError(
                f"--noise {self.folder}: has none of these points: measure it with `longbench gate --aa` and the "
                "options of this gate"
            )
        for device in dict.fromkeys(points[key] for key in known):
            then, now = (fingerprint(one, device) for one in (self.header, header))
            other = [name for name in MACHINE if name in then and then[name] != now[name]]
            if other:
                raise UsageError(
                    f"--noise {self.folder}: is of another machine ({other[0]}: {then[other[0]]} there, "
                    f"{now[other[0]]} here): measure it here with `longbench gate --aa`"
                )
        if len(known) < len(points):
            missing = next(key for key in points if key not in self.by_key)
            typer.echo(
                printable(
                    f"longbench: warning: --noise {self.folder}: knows {len(known)} of {len(points)} points, and not "
                    f"{missing}: measure it with the same options as the gate"
                ),
                err=True,
            )
        return {key: self.by_key[key] for key in known}


def load_noise(folder: Path | None) -> KnownNoise | None:
    """The noise of the A/A gate in ``folder``; None where there is no folder.

    Raises:
        UsageError: the folder does not hold both sides of one, or its sides were not the same code.
    """
    if folder is None:
        return None
    from longbench_cli.analyse.comparison.paired import noise_of
    from longbench_cli.record.journal import load_run

    if not all((folder / f"{side}.jsonl").is_file() for side in ("base", "candidate")):
        raise UsageError(
            f"--noise {folder}: no A/A gate is there: measure one with `longbench gate --aa --keep {folder}`"
        )
    base, candidate = load_run(folder / "base.jsonl"), load_run(folder / "candidate.jsonl")
    return KnownNoise(folder, noise_of(base, candidate), candidate.header)


def compare_sides(
    sides: tuple[Sequence[Run], Sequence[Run]], noise: KnownNoise | None, allow: frozenset[str]
) -> Comparison:
    """The runs of base and candidate, compared.

    Raises:
        UsageError: they cannot be, or not with this ``noise``.
    """
    from longbench_cli.analyse.comparison.compare import compare

    base, candidate = sides
    points = {point.key: point.case.device for run in candidate for point in run.points}
    known = {} if noise is None or not points else noise.of(points, candidate[0].header)
    return compare(base, candidate, noise=known, allow=allow)


def allowed_fields(words: Sequence[str] | None) -> frozenset[str]:
    """The fields of ``--allow``.

    Raises:
        UsageError: one of them is none; lists those there are.
    """
    from longbench_cli.analyse.comparison.comparable import check_allowed

    allow = frozenset(filter(None, (part.strip() for word in words or () for part in word.split(","))))
    check_allowed(allow)
    return allow
