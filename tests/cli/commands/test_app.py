"""The shell around every command: exit codes, one line for what went wrong, --debug."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
import types
from collections.abc import Callable
from pathlib import Path

import pytest
import typer

from longbench_cli import __version__, app
from longbench_cli.errors import UsageError

ROOT = Path(__file__).resolve().parents[3]


class Shell:
    """Runs ``longbench boom`` in this process, with ``boom`` doing what a test says."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
        self._monkeypatch, self._capsys = monkeypatch, capsys

    def __call__(self, action: Callable[[], object], *words: str) -> tuple[int, str, str]:
        def boom() -> object:
            """Whatever the test says."""
            return action()

        module = types.ModuleType("boom_module")
        vars(module)["boom"] = boom
        self._monkeypatch.setitem(sys.modules, "boom_module", module)
        self._monkeypatch.setitem(app.COMMANDS, "boom", app.Command("boom_module", "boom", "Fails."))
        return self.main("boom", *words)

    def main(self, *words: str) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as leaving:
            app.main(words)
        printed = self._capsys.readouterr()
        assert isinstance(leaving.value.code, int)
        return leaving.value.code, printed.out, printed.err


@pytest.fixture
def shell(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Shell:
    return Shell(monkeypatch, capsys)


def fail(error: BaseException) -> Callable[[], object]:
    def action() -> object:
        raise error

    return action


@pytest.mark.parametrize("command", ["run", "verify", "pattern", "compare"])
def test_help_says_what_the_exit_codes_mean(shell: Shell, command: str) -> None:
    code, out, _ = shell.main(command, "--help")
    assert code == 0
    words = " ".join(out.split())
    assert "Exit codes: 0 " in words
    assert "2 usage" in words


def test_a_usage_error_is_one_line_and_exit_2(shell: Shell) -> None:
    assert shell(fail(UsageError("plan.toml: unknown key 'sq': did you mean 'seq'?"))) == (
        2,
        "",
        "longbench: plan.toml: unknown key 'sq': did you mean 'seq'?\n",
    )


def test_a_message_of_several_lines_is_printed_as_one(shell: Shell) -> None:
    assert shell(fail(UsageError("first\n  second")))[2] == "longbench: first second\n"


def test_an_unexpected_error_names_itself_and_the_way_to_its_traceback(shell: Shell) -> None:
    code, out, err = shell(fail(ZeroDivisionError("a share of nothing")))
    assert (code, out) == (2, "")
    assert (
        err == "longbench: internal error: ZeroDivisionError: a share of nothing (run with --debug for the traceback)\n"
    )


@pytest.mark.parametrize("error", [UsageError("bad axis"), ZeroDivisionError("nothing")])
@pytest.mark.parametrize("order", [("--debug", "boom"), ("boom", "--debug")])
def test_debug_shows_the_traceback_wherever_it_stands(shell: Shell, error: Exception, order: tuple[str, str]) -> None:
    shell(fail(error))  # registers boom
    code, _, err = shell.main(*order)
    assert code == 2
    assert "Traceback" in err
    assert "in action" in err
    assert err.splitlines()[-1].startswith("longbench: ")


def test_a_full_disk_is_named_with_its_file(shell: Shell) -> None:
    code, _, err = shell(fail(OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "runs/today.jsonl")))
    assert (code, err) == (2, f"longbench: runs/today.jsonl: {os.strerror(errno.ENOSPC)}\n")


def test_an_interrupt_exits_130(shell: Shell) -> None:
    assert shell(fail(KeyboardInterrupt()))[0] == 130


@pytest.mark.parametrize(("action", "code"), [(lambda: None, 0), (lambda: 1, 1), (fail(typer.Exit(1)), 1)])
def test_a_command_decides_its_exit_code(shell: Shell, action: Callable[[], object], code: int) -> None:
    assert shell(action) == (code, "", "")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["rum"], "No such command 'rum'. Did you mean 'run'? (see longbench --help)"),
        (["list", "impls", "--jsn"], "No such option: --jsn"),
        (["list"], "Missing argument 'WHAT'"),
    ],
)
def test_a_slip_on_the_line_is_one_line_and_exit_2(shell: Shell, words: list[str], said: str) -> None:
    code, out, err = shell.main(*words)
    assert (code, out) == (2, "")
    assert err.startswith(f"longbench: {said}")
    assert err.count("\n") == 1


def test_the_top_help_names_every_command_and_the_exit_codes(shell: Shell) -> None:
    code, out, _ = shell.main("--help")
    assert code == 0
    assert all(command in out for command in ("run", "report", "list", "doctor", "Exit codes"))
    assert shell.main() == (0, out, "")


def test_version(shell: Shell) -> None:
    assert shell.main("--version") == (0, f"longbench {__version__}\n", "")


def test_a_reader_that_went_away_is_not_an_error_to_print() -> None:
    read, write = os.pipe()
    os.close(read)
    done = subprocess.run(
        [sys.executable, "-m", "longbench_cli", "list", "profiles"],
        cwd=ROOT,
        stdout=write,
        stderr=subprocess.PIPE,
        text=True,
        check=False,
    )
    os.close(write)
    assert (done.returncode, done.stderr) == (141, "")
