"""The tables of docs/communication.md are what the commands that it names print."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

from longbench_cli import app

ROOT = Path(__file__).resolve().parents[3]
PAGE = (ROOT / "docs" / "communication.md").read_text(encoding="utf-8")
COMMAND = re.compile(r"^    (longbench comm .*--format md)$", re.MULTILINE)
SHOWN = [
    (found[1], PAGE[found.end() : re.compile(r"^(    longbench|## )", re.MULTILINE).search(PAGE, found.end()).start()])  # type: ignore[union-attr]
    for found in COMMAND.finditer(PAGE)
    if "RUN.jsonl" not in found[1]
]


def test_every_kind_of_table_is_there() -> None:
    assert len(SHOWN) == 5
    assert all(text.count("\n| ") > 4 for _, text in SHOWN)


@pytest.mark.parametrize(("command", "text"), SHOWN, ids=[command.split("--", 1)[1][:40] for command, _ in SHOWN])
def test_a_table_is_what_its_command_prints(
    command: str, text: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(ROOT)
    with pytest.raises(SystemExit) as leaving:
        app.main(shlex.split(command)[1:])
    printed = capsys.readouterr()
    assert leaving.value.code == 0, printed.err
    lines = printed.out.splitlines()
    for line in text.splitlines():
        assert not line.startswith("|") or line in lines, line


def test_every_measured_point_is_as_computed() -> None:
    (measured,) = [text for command, text in SHOWN if "run.jsonl" in command]
    rows = [line.split("|") for line in measured.splitlines() if re.match(r"\| \d", line)]
    assert len(rows) == 2 * 2 * 2 * 5  # lengths, ranks, passes; dilated and four ways of vanilla
    assert {row[-2].strip() for row in rows} == {"equal"}
