"""``longbench gate``: is the candidate slower than the base? With an exit code."""

from __future__ import annotations

import os
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from longbench_cli.commands import gate_options as options
from longbench_cli.commands.compare_sides import allowed_fields, compare_sides, load_noise, load_sides
from longbench_cli.commands.sweep_options import sweep_options
from longbench_cli.errors import UsageError

if TYPE_CHECKING:
    from longbench_cli.analyse.comparison.types import Comparison
    from longbench_cli.commands.gate_measured import Terms
    from longbench_cli.commands.gate_sides import Asked

NOT_OF_A_GATE = frozenset({"precision", "order", "sessions", "no_prune", "max_point_time", "budget"})
"""What a duet decides itself: it samples for a fixed time, in turns, in as many sessions as its rule wants."""


@sweep_options(but=NOT_OF_A_GATE)
def gate(
    asked: Mapping[str, object],
    *,
    base: options.Base = None,
    candidate: options.Candidate = None,
    baselines: options.Baselines = None,
    base_ref: options.BaseRef = None,
    base_install: options.BaseInstall = None,
    base_python: options.BasePython = None,
    candidate_python: options.CandidatePython = None,
    aa: options.Aa = False,
    inject: options.Inject = None,
    inconclusive: options.Inconclusive = "pass",
    allow: options.Allow = None,
    noise: options.Noise = None,
    explain: options.Explain = None,
    keep: options.Keep = None,
    resume: options.Resume = False,
    html: options.Html = None,
    junit: options.Junit = None,
    json: options.Json = None,
    markdown: options.Markdown = None,
    quiet: options.Quiet = False,
) -> None:
    """Stop performance regressions: compare a candidate with a base, and exit with 1 if it is slower.

    Measured now, base and candidate are two live processes that take turns of some 50 ms, in 6 to 18 pairs of fresh
    processes; a regression is confirmed by pairs of its own before it fails the gate (docs/statistics.md). Of stored
    runs (--base, --candidate) both sides of a gate are judged as they were then; others by 8 sessions a side or more,
    which finds less.

    Exit codes: 0 ok; 1 a regression; 2 usage, or the gate itself failed or was interrupted; 3 inconclusive, with
    --inconclusive fail; 4 not comparable; 5 a wrong result.
    """
    from longbench_cli.analyse.comparison.types import exit_code
    from longbench_cli.commands.gate_measured import Terms
    from longbench_cli.commands.gate_output import Outputs, deliver
    from longbench_cli.commands.gate_sides import Asked

    fields = allowed_fields(allow)
    known = load_noise(noise)
    given = {name: value for name, value in asked.items() if value is not None}
    sides = Asked.of(
        base=base,
        candidate=candidate,
        base_ref=base_ref,
        base_install=base_install,
        base_python=base_python,
        candidate_python=candidate_python,
        aa=aa,
        inject=inject,
    )
    outputs = Outputs(html, junit, json, markdown)
    outputs.check()
    if sides.stored:
        _refuse_beside_stored(given, keep, resume=resume)
        found = compare_sides(load_sides(str(sides.base), str(sides.candidate), baselines), known, fields)
    else:
        if baselines is not None:
            raise UsageError("--baselines: is where --base latest looks: leave it out, or give --base latest")
        if resume and keep is None:
            raise UsageError("--resume: which gate? Give the folder that it keeps its runs in with --keep DIR")
        terms = Terms(sides.identical, sides.slowdown, known, fields, keep, resume)
        found = _measured(sides, given, terms, explain, quiet=quiet)
    fails = inconclusive == "fail"
    deliver(found, outputs, explain=explain, inconclusive_fails=fails)
    raise typer.Exit(exit_code(found.points, inconclusive_fails=fails))


def _refuse_beside_stored(given: Mapping[str, object], keep: Path | None, *, resume: bool) -> None:
    names = [*given, *(["keep"] if keep is not None else []), *(["resume"] if resume else [])]
    if names:
        flag = f"--{names[0].rstrip('_').replace('_', '-')}"
        raise UsageError(
            f"{flag}: stored runs are compared as they are: leave it out, or measure now, as with --base-ref REF"
        )


def _measured(
    sides: Asked, given: Mapping[str, object], terms: Terms, explain: str | None, *, quiet: bool
) -> Comparison:
    from longbench_cli.commands.gate_measured import measure
    from longbench_cli.commands.interrupts import ended_like_ctrl_c
    from longbench_cli.execute.seat import seat_of
    from longbench_cli.present.comparison.labels import key_of, labels_of
    from longbench_cli.present.gate_progress import progress_of
    from longbench_cli.sweep.options import resolve
    from longbench_cli.sweep.plan import make_plan

    if seat_of(os.environ) is not None:
        raise UsageError("gate: starts the ranks of its points itself, on one machine: run it without torchrun")
    plan = make_plan(resolve(given))
    if explain is not None:
        key_of(labels_of(plan.points), explain)  # refused before anything is measured
    try:
        with ended_like_ctrl_c(), ExitStack() as alive:
            return measure(plan, given, sides.players(alive), terms, progress_of(plan, quiet=quiet))
    except KeyboardInterrupt:
        raise UsageError("interrupted before anything was measured: give the same command again") from None
