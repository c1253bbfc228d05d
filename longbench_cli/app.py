"""The command line: finds a command, runs it, and turns what goes wrong into one line and an exit code.

A command's module is imported only when that command is asked for, so that ``longbench --help``
never pays for torch, pandas or plotly.
"""

from __future__ import annotations

import importlib
import os
import sys
import traceback
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any

import typer
from typer.core import TyperCommand, TyperGroup

from longbench_cli import __version__
from longbench_cli.errors import UsageError
from longbench_cli.printable import one_line

EXIT_USAGE = 2
EXIT_BROKEN_PIPE = 141
"""128 + SIGPIPE, as a shell reports a program whose reader has gone."""

DEBUG = "--debug"
HELP = (
    "How does this attention scale?\n\n"
    "Sweeps sequence length from 8k to 1b tokens, checks every result against a float64 oracle before it is timed, "
    "and draws the runtime-versus-length curves.\n\n"
    "Exit codes: 0 every point has a result, or no check failed; 1 a point crashed, timed out or was incorrect, "
    "the run was interrupted, or a check of verify failed; 2 usage.\n\n"
    "Of gate: 0 ok; 1 a regression; 2 usage or tool error; 3 inconclusive, with --inconclusive fail; 4 not comparable; "
    "5 incorrect."
)


@dataclass(frozen=True, slots=True)
class Command:
    """Where a command's function is, and the line that ``longbench --help`` shows for it."""

    module: str
    function: str
    summary: str

    def load(self, name: str) -> Any:
        single = typer.Typer(add_completion=False)
        function = getattr(importlib.import_module(self.module), self.function)
        single.command(name, help=_unwrapped(function.__doc__ or self.summary))(function)
        return typer.main.get_command(single)


@dataclass(frozen=True, slots=True)
class Group:
    """A command of several commands, each a function of the module by that name."""

    module: str
    commands: tuple[str, ...]
    summary: str

    def load(self, name: str) -> Any:
        group = typer.Typer(add_completion=False, name=name, help=self.summary)
        group.callback()(lambda: None)  # a group, even of one command
        module = importlib.import_module(self.module)
        for command in self.commands:
            function = getattr(module, command)
            group.command(command, help=_unwrapped(function.__doc__ or self.summary))(function)
        return typer.main.get_command(group)


def _unwrapped(text: str) -> str:
    """A docstring with a line a paragraph: rich breaks lines where the terminal ends, and nowhere else."""
    return "\n\n".join(" ".join(paragraph.split()) for paragraph in text.split("\n\n"))


COMMANDS: dict[str, Command | Group] = {
    "run": Command("longbench_cli.commands.run", "run", "Sweep lengths and implementations; verify, then time."),
    "verify": Command("longbench_cli.commands.verify", "verify", "Check an implementation in every way that applies."),
    "report": Command("longbench_cli.commands.report", "report", "Draw the curves of one or more run files."),
    "compare": Command("longbench_cli.commands.compare", "compare", "Two runs, point by point: faster or slower?"),
    "gate": Command("longbench_cli.commands.gate", "gate", "Is the candidate slower than the base? Exit code 1 if so."),
    "predict": Command("longbench_cli.commands.predict", "predict", "Time and memory past what was measured."),
    "pattern": Command("longbench_cli.commands.pattern", "pattern", "What an attention sees, and how far that gets."),
    "comm": Command("longbench_cli.commands.comm", "comm", "What ranks receive from each other, and how that grows."),
    "history": Group("longbench_cli.commands.history", ("add", "show"), "Runs over time, and where they changed."),
    "baseline": Group("longbench_cli.commands.baseline", ("save",), "Runs kept in git, to compare later runs with."),
    "list": Command("longbench_cli.commands.listing", "list_", "Implementations, back ends, profiles or devices."),
    "doctor": Command("longbench_cli.commands.doctor", "doctor", "What this machine can measure, and how well."),
}


class _LazyGroup(TyperGroup):
    """Knows every command's summary; replaces a summary by the command itself when it is asked for."""

    def __init__(self, **attributes: Any) -> None:
        super().__init__(**attributes)
        for name, command in COMMANDS.items():
            self.add_command(TyperCommand(name, help=command.summary))

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        if args and args[0] in COMMANDS:
            self.add_command(COMMANDS[args[0]].load(args[0]))
        return super().resolve_command(ctx, args)


app = typer.Typer(cls=_LazyGroup, add_completion=False, context_settings={"help_option_names": ["-h", "--help"]})


def _print_version(asked: bool) -> None:
    if asked:
        typer.echo(f"longbench {__version__}")
        raise typer.Exit


@app.callback(help=HELP)
def _root(
    *,
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and exit.")
    ] = False,
    debug: Annotated[  # read by main(), wherever on the line it stands
        bool, typer.Option(DEBUG, help="Show the traceback of an error. May stand anywhere on the line.")
    ] = False,
) -> None:
    """The options that stand before a command."""


def main(argv: Sequence[str] | None = None) -> None:
    """Run ``longbench`` with ``argv`` (default: the process's arguments) and exit."""
    args = list(sys.argv[1:] if argv is None else argv)
    debug = DEBUG in args
    words = [word for word in args if word != DEBUG]
    try:
        code = _run(words or ["--help"], debug=debug)
        sys.stdout.flush()
    except BrokenPipeError:  # the reader has gone, as in `longbench list impls | head -1`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = EXIT_BROKEN_PIPE
    sys.exit(code)


def _run(words: list[str], *, debug: bool) -> int:
    command = typer.main.get_command(app)
    try:
        result = command.main(words, prog_name="longbench", standalone_mode=False)
    except SystemExit as leaving:  # typer leaves with 1 when its output breaks
        if isinstance(leaving.__context__, BrokenPipeError):
            raise leaving.__context__ from None
        raise
    except Exception as error:  # the last stop: nothing passes as a traceback unasked
        if debug:
            traceback.print_exc()
        line = _one_line(error)
        typer.echo(f"longbench: {line}", err=True)
        if os.environ.get("GITHUB_ACTIONS") == "true":  # where a log is folded away, and an annotation is not
            typer.echo(f"::error title=longbench::{line.replace('%', '%25')}")
        return EXIT_USAGE
    return result if isinstance(result, int) else 0


def _one_line(error: Exception) -> str:
    if isinstance(error, UsageError):
        text = str(error)
    elif isinstance(error, typer.TyperException):
        context = getattr(error, "ctx", None)
        hint = f" (see {context.command_path} --help)" if context else ""
        text = error.format_message().rstrip(".") + hint
    elif isinstance(error, OSError) and error.strerror:
        where = f"{error.filename}: " if error.filename else ""
        text = f"{where}{error.strerror}"
    else:
        text = f"internal error: {type(error).__name__}: {error} (run with {DEBUG} for the traceback)"
    return one_line(text)
