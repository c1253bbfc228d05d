"""The options of ``longbench gate`` beside those of a sweep."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Annotated, Literal

import typer

_stored = partial(typer.Option, rich_help_panel="Stored runs", show_default=False)
_paired = partial(typer.Option, rich_help_panel="Measured now, side by side", show_default=False)
_verdict = partial(typer.Option, rich_help_panel="What counts")
_output = partial(typer.Option, rich_help_panel="Where it goes", show_default=False)

Base = Annotated[
    str | None,
    _stored(
        "--base", metavar="RUN|DIR|latest", help="The base: a run file, a folder of them, or latest in --baselines."
    ),
]
Candidate = Annotated[
    str | None, _stored("--candidate", metavar="RUN|DIR", help="The candidate, measured like the base.")
]
Baselines = Annotated[
    Path | None,
    _stored(
        "--baselines", metavar="DIR", help="Where `longbench baseline save` put them (default: ./longbench-baselines)."
    ),
]
BaseRef = Annotated[
    str | None,
    _paired(
        "--base-ref",
        metavar="REF",
        help="The base is this commit, branch or tag, in a worktree and an environment of its own.",
    ),
]
BaseInstall = Annotated[
    str | None,
    _paired(
        "--base-install",
        metavar="COMMAND",
        help="Installs the worktree of --base-ref: {python} and {worktree} are filled in "
        "(default: pip install --no-deps, if there is anything to install).",
    ),
]
BasePython = Annotated[
    str | None, _paired("--base-python", metavar="PYTHON", help="The base is what this interpreter has installed.")
]
CandidatePython = Annotated[
    str | None,
    _paired(
        "--candidate-python",
        metavar="PYTHON",
        help="The candidate is what this interpreter has installed (default: this one, in the current folder).",
    ),
]
Aa = Annotated[
    bool,
    _paired("--aa", help="Base and candidate are the same: the gate's own noise here, and whether it cries wolf."),
]
Inject = Annotated[
    str | None,
    _paired(
        "--inject",
        metavar="PERCENT",
        help="As --aa, with a real slowdown such as 5% put into the candidate: is it found?",
    ),
]
Inconclusive = Annotated[
    Literal["pass", "fail"],
    _verdict("--inconclusive", help="Whether a point that could not be decided fails the gate, with exit code 3."),
]
Allow = Annotated[
    list[str] | None,
    _verdict(
        "--allow",
        metavar="FIELD",
        help="Compare though this differs, e.g. torch or driver; may be repeated, or a list with commas.",
        show_default=False,
    ),
]
Noise = Annotated[
    Path | None,
    _verdict(
        "--noise",
        metavar="DIR",
        help="Folder that an --aa gate kept: no point fails for less than its noise there (sd of pairs).",
        show_default=False,
    ),
]
Explain = Annotated[
    str | None,
    _output(
        "--explain",
        metavar="POINT",
        help="Print all that is behind the verdict on this point as well: its key, or words of its name.",
    ),
]
Keep = Annotated[
    Path | None,
    _output(
        "--keep",
        metavar="DIR",
        help="Folder for base.jsonl and candidate.jsonl, the runs of a gate that measures "
        "(default: ./longbench-runs/TIME-gate).",
    ),
]
Resume = Annotated[bool, _output("--resume", help="Go on with the interrupted gate in --keep DIR.")]
Html = Annotated[
    Path | None, _output("--html", metavar="FILE", help="A page with a plot of each point that is not ok.")
]
Junit = Annotated[Path | None, _output("--junit", metavar="FILE", help="JUnit XML: a test case a point.")]
Json = Annotated[Path | None, _output("--json", metavar="FILE", help="Everything, for programs.")]
Markdown = Annotated[
    Path | None,
    _output("--markdown", metavar="FILE", help="A summary; on GitHub it goes to the job's own by itself."),
]
Quiet = Annotated[bool, _output("--quiet", "-q", help="No progress; the verdict alone.")]
