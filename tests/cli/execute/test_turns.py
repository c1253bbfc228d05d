"""Taking turns, with light stand-ins that speak a worker's language: who works when, and who is spared by whom."""

from __future__ import annotations

import sys
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from processes import SEND, is_gone

from longbench_cli.execute import isolate
from longbench_cli.execute.outcome import Outcome, Progress
from longbench_cli.execute.turns import Member, take_turns

STAND_IN = (
    SEND
    + """
request = json.loads(sys.stdin.readline())
assert request["turns"] is True
def log(word):
    with open(request["log"], "a") as file:
        file.write(f"{request['name']} {word}\\n")
def wait():
    send(type="waiting")
    if not sys.stdin.readline():
        log("gone")
        sys.exit(1)
def turns(count):
    for _ in range(count):
        wait()
        log("begins")
        log("ends")
log("prepared")
exec(request["body"])
"""
)


def together(
    folder: Path,
    bodies: dict[str, str],
    timeout_s: float = 600.0,
    limit_s: float = 600.0,
    on_progress: Callable[[Progress], None] = lambda _: None,
    timeouts: dict[str, float] | None = None,
) -> tuple[dict[str, Outcome], list[str]]:
    """Outcomes by name, in the order they came, and the lines that were logged."""
    ended: dict[str, Outcome] = {}

    def member(name: str, body: str) -> Member:
        request: dict[str, Any] = {"name": name, "body": body, "log": str(folder / "log")}
        timeout = (timeouts or {}).get(name, timeout_s)
        return Member(request, timeout, on_progress, lambda outcome: ended.__setitem__(name, outcome))

    take_turns(
        [member(name, body) for name, body in bodies.items()],
        limit_s=limit_s,
        command=(sys.executable, "-c", STAND_IN),
    )
    return ended, (folder / "log").read_text().splitlines()


def the_turns(lines: list[str]) -> str:
    """The names of those whose turn it was, one letter each; nobody's turn lies within another's."""
    for line, following in pairwise(lines):
        if line.endswith("begins"):
            assert following == line.replace("begins", "ends")
    return "".join(line[0] for line in lines if line.endswith("begins"))


def test_all_prepare_one_by_one_and_then_take_turns_in_an_order_that_is_reversed_each_round(tmp_path: Path) -> None:
    ended, lines = together(tmp_path, dict.fromkeys("abc", "turns(4); ok()"))
    assert lines[:3] == ["a prepared", "b prepared", "c prepared"]
    assert the_turns(lines) == "abccbaabccba"
    assert [outcome.status for outcome in ended.values()] == ["ok"] * 3


def test_one_that_is_done_early_leaves_and_the_others_go_on(tmp_path: Path) -> None:
    ended, lines = together(tmp_path, {"a": "turns(3); ok()", "b": "turns(1); ok()", "c": "ok()"})
    assert the_turns(lines) == "abaa"
    assert list(ended) == ["c", "b", "a"]
    assert {outcome.status for outcome in ended.values()} == {"ok"}


@pytest.mark.parametrize(
    ("body", "status", "word"),
    [
        ("turns(1); wait(); ctypes.string_at(0)", "crashed", "SIGSEGV"),
        ("turns(1); wait(); raise ValueError('no')", "crashed", "ValueError: no"),
        ("os._exit(3)", "crashed", "code 3"),
        ("turns(1); wait(); os.write(fd, b'what?\\n'); time.sleep(3600)", "crashed", "not understood"),
        ("send(type='waiting'); os.kill(os.getpid(), signal.SIGKILL)", "crashed", "SIGKILL"),
        ("turns(1); send(type='result', status='oom', reason='too big')", "oom", "too big"),
        ("turns(1); wait(); time.sleep(3600)", "timeout", "no result after 3 s"),
        ("turns(1); wait()\nwhile True: send(type='progress', done=1)", "timeout", "no result after 3 s"),
    ],
)
def test_what_becomes_of_one_is_its_own_affair(body: str, status: str, word: str, tmp_path: Path) -> None:
    bodies = {"a": "turns(4); ok()", "b": body, "c": "turns(4); ok()"}
    ended, lines = together(tmp_path, bodies, timeouts={"b": 3.0} if status == "timeout" else None)
    assert (ended["a"].status, ended["b"].status, ended["c"].status) == ("ok", status, "ok")
    assert word in str(ended["b"].reason)
    assert the_turns(lines).count("a") == the_turns(lines).count("c") == 4


def test_one_that_could_be_asked_again_is_told_that_nobody_will(tmp_path: Path) -> None:
    """It ends by itself, and nobody waits for it to be killed."""
    waits = "turns(1); ok(); log('asks again' if sys.stdin.readline() else 'leaves')"
    ended, lines = together(tmp_path, {"a": waits, "b": waits})
    assert [outcome.status for outcome in ended.values()] == ["ok", "ok"]
    assert sorted(line for line in lines if "leaves" in line) == ["a leaves", "b leaves"]


def test_many_words_in_a_turn_all_arrive(tmp_path: Path) -> None:
    seen: list[int] = []
    body = "turns(1); wait()\nfor n in range(20_000): send(type='progress', done=n, unit='x' * 50)\nturns(1); ok()"
    ended, _ = together(
        tmp_path, {"a": body, "b": "turns(3); ok()"}, on_progress=lambda progress: seen.append(progress.done)
    )
    assert [outcome.status for outcome in ended.values()] == ["ok", "ok"]
    assert seen == list(range(20_000))


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The time as the watchdog sees it: only a test moves it on."""
    now = [0.0]
    monkeypatch.setattr(isolate, "time", SimpleNamespace(monotonic=lambda: now[0]))
    return now


TEN_SECONDS_A_TURN = "for _ in range({}):\n    turns(1)\n    send(type='progress', done=1)\n"


def test_a_timeout_counts_only_turns_of_one_s_own(tmp_path: Path, clock: list[float]) -> None:
    def ten_seconds(_progress: Progress) -> None:
        clock[0] += 10.0

    bodies = {name: TEN_SECONDS_A_TURN.format(count) + "ok()" for name, count in (("a", 6), ("b", 6), ("c", 30))}
    ended, _ = together(tmp_path, bodies, timeout_s=100.0, on_progress=ten_seconds)
    assert [ended[name].status for name in "abc"] == ["ok", "ok", "timeout"]


def test_the_end_of_the_budget_ends_all_who_are_left(
    tmp_path: Path, clock: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    from longbench_cli.execute import turns

    monkeypatch.setattr(turns, "time", isolate.time)

    def ten_seconds(_progress: Progress) -> None:
        clock[0] += 10.0

    bodies = {"a": TEN_SECONDS_A_TURN.format(2) + "ok()", "b": TEN_SECONDS_A_TURN.format(1000) + "ok()"}
    ended, _ = together(tmp_path, bodies | {"c": bodies["b"]}, limit_s=100.0, on_progress=ten_seconds)
    assert [ended[name].status for name in "abc"] == ["ok", "pruned", "pruned"]
    assert all(str(ended[name].reason).startswith("--budget") for name in "bc")


def test_ctrl_c_ends_those_who_wait_too(tmp_path: Path) -> None:
    pids: list[int] = []

    def interrupt(progress: Progress) -> None:
        pids.append(progress.done)
        if len(pids) == 3:
            raise KeyboardInterrupt

    body = "send(type='progress', done=os.getpid()); turns(1000)"
    with pytest.raises(KeyboardInterrupt):
        together(tmp_path, dict.fromkeys("abc", body), on_progress=interrupt)
    assert len(pids) == 3
    assert all(map(is_gone, pids))


def test_one_that_cannot_be_started_is_crashed_and_the_rest_is_told_too(tmp_path: Path) -> None:
    ended: list[Outcome] = []
    member = Member({}, 10.0, lambda _: None, ended.append)
    take_turns([member, member], command=(str(tmp_path / "none"),))
    assert [outcome.status for outcome in ended] == ["crashed", "crashed"]
    assert "could not be started" in str(ended[0].reason)
