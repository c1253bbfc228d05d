"""Who takes part in a gate: stored runs, or two interpreters, by the options that were given."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from longbench_cli.errors import UsageError
from longbench_cli.execute.checkout import checkout
from longbench_cli.execute.interpreter import Interpreter, current, installed
from longbench_cli.sweep.axes import parse_share

MOST_INJECTED = 10.0
"""1000%: beyond it is a slip of the pen."""

_HOW = (
    "--base RUN --candidate RUN compares stored runs; --base-ref REF or --base-python PYTHON measures both sides now; "
    "--aa and --inject 5% try the gate itself"
)


@dataclass(frozen=True, slots=True)
class Asked:
    """The sides as asked for; exactly one way of giving the base is taken.

    Attributes:
        slowdown: what is put into the candidate, as a share; None for nothing.
    """

    base: str | None
    candidate: str | None
    base_ref: str | None
    base_install: str | None
    base_python: str | None
    candidate_python: str | None
    slowdown: float | None

    @classmethod
    def of(
        cls,
        *,
        base: str | None,
        candidate: str | None,
        base_ref: str | None,
        base_install: str | None,
        base_python: str | None,
        candidate_python: str | None,
        aa: bool,
        inject: str | None,
    ) -> Self:
        """Raises UsageError unless the options say one thing."""
        if candidate is not None and base is None:
            raise UsageError("--base: missing: stored runs are compared with --base RUN --candidate RUN")
        ways = {"--base": base, "--base-ref": base_ref, "--base-python": base_python, "--inject": inject}
        given = [flag for flag, value in ways.items() if value is not None] + (["--aa"] if aa else [])
        if len(given) != 1:
            if given:
                raise UsageError(f"{' and '.join(given)} exclude each other: leave all but one of them out")
            raise UsageError(f"no base was given: {_HOW}")
        if base is not None and candidate is None:
            raise UsageError("--candidate: missing: stored runs are compared with --base RUN --candidate RUN")
        if base is not None and candidate_python is not None:
            raise UsageError("--candidate-python: measures, and --base is a stored run: give --candidate RUN")
        if base_ref is not None and base_ref.startswith("-"):
            raise UsageError(f"--base-ref {base_ref}: no ref begins with a dash: give a branch, a tag or a commit")
        if base_install is not None and base_ref is None:
            raise UsageError("--base-install: installs the worktree of --base-ref REF: give that too")
        slowdown = None if inject is None else parse_share(inject, "--inject", MOST_INJECTED)
        return cls(base, candidate, base_ref, base_install, base_python, candidate_python, slowdown)

    @property
    def stored(self) -> bool:
        return self.base is not None

    @property
    def identical(self) -> bool:
        """Whether both sides are the same code by intention."""
        return self.base_ref is None and self.base_python is None

    def players(self, alive: ExitStack) -> tuple[Interpreter, Interpreter]:
        """The interpreters of base and candidate, which last as long as ``alive``.

        Raises:
            UsageError: there is none such, or the ref does not build.
        """
        candidate = (
            current() if self.candidate_python is None else alive.enter_context(installed(self.candidate_python))
        )
        if self.base_ref is not None:
            return alive.enter_context(checkout(self.base_ref, Path.cwd(), install=self.base_install)), candidate
        if self.base_python is not None:
            return alive.enter_context(installed(self.base_python)), candidate
        return candidate, candidate
