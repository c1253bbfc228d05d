"""What ``compare`` and ``gate`` are given: the runs of both sides, the noise that is known, the differences allowed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from longbench_cli.record.journal import Run


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


def load_noise(folder: Path | None) -> Mapping[str, float]:
    """By key, the noise (sd of d) of the A/A gate in ``folder``; nothing where there is no folder.

    Raises:
        UsageError: the folder does not hold both sides of one, or its sides were not the same code.
    """
    if folder is None:
        return {}
    from longbench_cli.analyse.comparison.paired import noise_of
    from longbench_cli.record.journal import load_run

    return noise_of(load_run(folder / "base.jsonl"), load_run(folder / "candidate.jsonl"))


def allowed_fields(words: Sequence[str] | None) -> frozenset[str]:
    """The fields of ``--allow``.

    Raises:
        UsageError: one of them is none; lists those there are.
    """
    from longbench_cli.analyse.comparison.comparable import check_allowed

    allow = frozenset(filter(None, (part.strip() for word in words or () for part in word.split(","))))
    check_allowed(allow)
    return allow
