"""A duet with light stand-ins that speak a worker's language: who plays, with whom, and who lives on."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest
from processes import SEND

from longbench_cli.execute.duet import Pair, Piece
from longbench_cli.execute.interpreter import Interpreter

STAND_IN = (
    SEND
    + """
def log(word):
    with open(LOG, "a") as file:
        file.write(f"{os.path.basename(os.getcwd())} {os.getpid()} {word}\\n")
def wait():
    send(type="waiting")
    if not sys.stdin.readline():
        sys.exit(1)
def turns(count):
    for _ in range(count):
        wait()
        log(f"turn {request['point']}")
for line in sys.stdin:
    request = json.loads(line)
    log(f"asked {request['point']}")
    exec(request["body"])
log("left")
"""
)

OK = "turns(3); ok(backend=request['point'])"


class Side(Interpreter):
    """Its processes are stand-ins."""

    def command(self, module: str, *words: str) -> tuple[str, ...]:
        code = STAND_IN.replace("LOG", repr(str(self.cwd.parent / "log")))
        return (str(self.python), "-c", code, module, *words)


@pytest.fixture
def sides(tmp_path: Path) -> tuple[Interpreter, Interpreter]:
    for name in ("base", "candidate"):
        (tmp_path / name).mkdir()
    return Side(Path(sys.executable), tmp_path / "base", "base"), Side(
        Path(sys.executable), tmp_path / "candidate", "candidate"
    )


def piece(point: str, base: str = OK, candidate: str = OK, **more: Any) -> Piece:
    return Piece(({"point": point, "body": base}, {"point": point, "body": candidate}), timeout_s=60.0, **more)


def lines(tmp_path: Path) -> list[tuple[str, str, str]]:
    """Side, process and what it did, in order."""
    found = [line.split(" ", 2) for line in (tmp_path / "log").read_text().splitlines()]
    return [(side, pid, word) for side, pid, word in found]


def test_one_process_of_each_side_goes_through_all_points_in_turns(
    sides: tuple[Interpreter, Interpreter], tmp_path: Path
) -> None:
    with Pair(sides, flipped=False) as pair:
        outcomes = [pair.play(piece(point)) for point in "pq"]
    assert [[one.status for one in both] for both in outcomes] == [["ok", "ok"]] * 2
    assert [one.result["backend"] for both in outcomes for one in both if one.result] == ["p", "p", "q", "q"]
    said = lines(tmp_path)
    assert len({(side, pid) for side, pid, _ in said}) == 2  # each in its own folder, one process for both points
    for point in "pq":
        order = [side for side, _, word in said if word == f"turn {point}"]
        assert order == ["base", "candidate", "candidate", "base", "base", "candidate"]


def test_the_candidate_begins_where_the_pair_is_flipped(sides: tuple[Interpreter, Interpreter], tmp_path: Path) -> None:
    with Pair(sides, flipped=True) as pair:
        base, candidate = pair.play(piece("p", "ok(backend='b')", "turns(1); ok(backend='c')"))
    assert base.result is not None
    assert candidate.result is not None
    assert (base.result["backend"], candidate.result["backend"]) == ("b", "c")
    assert lines(tmp_path)[0][0] == "candidate"


def test_a_side_that_fails_leaves_and_a_fresh_process_plays_the_next_point(
    sides: tuple[Interpreter, Interpreter], tmp_path: Path
) -> None:
    with Pair(sides, flipped=False) as pair:
        base, candidate = pair.play(piece("p", OK, "turns(1); os._exit(3)"))
        again = pair.play(piece("q"))
    assert (base.status, candidate.status) == ("ok", "crashed")
    assert [one.status for one in again] == ["ok", "ok"]
    pids = {(side, word): pid for side, pid, word in lines(tmp_path)}
    assert pids["base", "asked p"] == pids["base", "asked q"]
    assert pids["candidate", "asked p"] != pids["candidate", "asked q"]


def test_what_does_not_fit_together_is_measured_one_after_the_other_each_in_a_process_of_its_own(
    sides: tuple[Interpreter, Interpreter], tmp_path: Path
) -> None:
    with Pair(sides, flipped=False) as pair:
        pair.play(piece("p"))
        alone = pair.play(piece("q", together=False))
    assert [one.status for one in alone] == ["ok", "ok"]
    said = lines(tmp_path)
    assert [side for side, _, word in said if word == "turn q"] == ["base"] * 3 + ["candidate"] * 3
    pids = {(side, word): pid for side, pid, word in said}
    assert pids["base", "asked p"] != pids["base", "asked q"]


def test_a_side_can_be_asked_something_alone_and_plays_on_in_the_same_process(
    sides: tuple[Interpreter, Interpreter], tmp_path: Path
) -> None:
    with Pair(sides, flipped=False) as pair:
        answer = pair.ask(0, {"point": "which", "body": "ok(backend='x')"}, 60.0)
        pair.play(piece("p"))
    assert answer.result is not None
    assert answer.result["backend"] == "x"
    assert len({pid for side, pid, _ in lines(tmp_path) if side == "base"}) == 1
