"""What an interpreter would run, asked of the interpreter itself; each way it cannot answer is one line."""

from __future__ import annotations

import json
import os
import select
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from longbench_cli import __version__
from longbench_cli.errors import UsageError
from longbench_cli.execute.ask import Answer, ask
from longbench_cli.execute.interpreter import Interpreter, current, installed, probe
from longbench_cli.execute.protocol import DUET_PROTOCOL

ROOT = Path(__file__).resolve().parents[3]
HERE = Interpreter(Path(sys.executable), Path("/"), "base")


def told(**changes: Any) -> str:
    content = {"protocol": DUET_PROTOCOL, "version": "7.0", "python": "3.12.1", "location": "/there", "impls": {}}
    return json.dumps({"longbench_side": {**content, "environment": {"cpu": "Z80"}, **changes}})


def refusal(answer: Answer | OSError, python: Path | str = sys.executable) -> str:
    def fake(words: Sequence[str], cwd: Path, seconds: float) -> Answer:
        if isinstance(answer, OSError):
            raise answer
        return answer

    with pytest.raises(UsageError) as caught:
        probe(Interpreter(Path(python), Path("/"), "base"), ["mine:fast"], run=fake)
    return str(caught.value)


def test_the_answer_is_found_among_other_words() -> None:
    words = f"loading...\n\n{told()}\nbye\n"
    found = probe(HERE, [], run=lambda *_: Answer(1, words, "Exception ignored in atexit"))
    assert (found.version, found.python_version, found.location) == ("7.0", "3.12.1", "/there")
    assert found.environment == {"cpu": "Z80"}


@pytest.mark.parametrize(
    ("stderr", "expected"),
    [
        ("ModuleNotFoundError: No module named 'longbench_cli'", "has no longbench: install it there"),
        ("/bin/python: No module named longbench_cli.record.side", "too old for a duet: upgrade it there"),
        ("/bin/python: No module named 'longbench_cli.record'", "too old for a duet: upgrade it there"),
        ("Traceback (most recent call last):\nImportError: libcudart.so.12", "does not import: ImportError: libcudart"),
        ("bash: syntax error\n", "did not answer (bash: syntax error): is it a Python interpreter?"),
        ("", "did not answer (it said nothing)"),
    ],
)
def test_no_answer_says_why_and_what_to_do(stderr: str, expected: str) -> None:
    words = refusal(Answer(1, "", stderr))
    assert words.startswith("base: ")
    assert expected in words


def test_other_refusals() -> None:
    newer = refusal(Answer(0, json.dumps({"longbench_side": {"protocol": DUET_PROTOCOL + 1, "version": "9.9"}}), ""))
    assert f"its longbench 9.9 speaks duet {DUET_PROTOCOL + 1}, this one {DUET_PROTOCOL}: install the same" in newer
    assert "nothing at mine:fast" in refusal(Answer(0, told(impls={"mine:fast": "nothing at mine:fast"}), ""))
    assert "did not answer within 300 s" in refusal(Answer(None, "", ""))
    assert "cannot be started: Exec format error" in refusal(OSError(8, "Exec format error"))
    assert "no such interpreter" in refusal(Answer(0, told(), ""), "/no/such/python")
    assert "is not executable" in refusal(Answer(0, told(), ""), __file__)


def test_an_installed_side_sees_neither_this_folder_nor_pythonpath(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "sides_only_here.py").write_text("print('found')\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    mine = current()
    assert ask(mine.command("sides_only_here"), mine.cwd, 60).stdout == "found\n"
    link = tmp_path / "python"
    link.symlink_to(sys.executable)
    with installed("./python") as side:
        answer = ask(side.command("sides_only_here"), side.cwd, 60)
        assert answer.last_line.endswith("No module named sides_only_here")
        assert side.python == link  # a virtual environment's is a link, and means something else when resolved
        assert side.label == "./python"
    assert not side.cwd.exists()
    with pytest.raises(UsageError, match="no such interpreter on PATH"), installed("no-such-python"):
        pass


def test_this_interpreter_tells_what_it_finds_here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    noisy = "import atexit\nprint('hello')\natexit.register(print, 'bye')\ndef fast(q, k, v, *, causal): ...\n"
    (tmp_path / "my_kernels.py").write_text(noisy)
    (tmp_path / "my_script.py").write_text("raise SystemExit('usage: my_script')\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    found = probe(current(), ["dilated", "my_kernels:fast"])
    assert found.version == __version__
    assert found.environment["python"] == found.python_version
    assert found.interpreter.cwd == tmp_path
    with pytest.raises(UsageError, match="my_script:f' does not import: it ends the process"):
        probe(current(), ["my_script:f"])


def test_a_program_that_never_answers_is_ended(tmp_path: Path) -> None:
    assert ask(("sleep", "600"), tmp_path, 0.05).code is None


def test_what_a_program_leaves_behind_ends_with_it(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "alive")
    reader = os.open(tmp_path / "alive", os.O_RDONLY | os.O_NONBLOCK)
    program = "import os, time\nfile = open('alive', 'w')\nif os.fork() == 0: time.sleep(600)\nprint('done')"
    try:
        answer = ask((sys.executable, "-S", "-c", program), tmp_path, 60)
        assert (answer.code, answer.stdout) == (0, "done\n")
        poll = select.poll()
        poll.register(reader, select.POLLHUP)
        assert poll.poll(60_000)  # nobody has it open any more
    finally:
        os.close(reader)
