"""The ranks of a point on one machine, by torch's own agent, with light ranks: who fell, and with which last words.

Each launcher imports torch; so all points of this module run at once.
"""

from __future__ import annotations

import os
import socket
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from orphans import Process, left_behind, new_marker

from longbench_cli.execute.isolate import Worker, run_isolated
from longbench_cli.execute.outcome import Outcome
from longbench_cli.execute.ranks import RanksHere

ROOT = Path(__file__).resolve().parents[3]
LIGHT = (sys.executable, "-c", "from longbench_cli.execute import launch; launch.main('rank_programs')")
SIZE = 3
SLEEPS = "rank.state.stage('verifying'); rank.state.calls(18); time.sleep(3600)"
FOREVER_S = 600.0

Point = tuple[str, dict[str, str]]
"""What ranks do: those that are not named, and those that are."""

POINTS: dict[str, Point] = {
    "ok": ("", {"0": "rank.ok(env={n: os.environ[n] for n in ('MASTER_ADDR', 'MASTER_PORT', 'LOCAL_WORLD_SIZE')})"}),
    "killed": (
        "while not os.path.exists(rank.folder / 'gone'): time.sleep(0.01)\nraise ConnectionError('closed by peer')",
        {"2": "subprocess.Popen(['sleep', '3600'], start_new_session=True); print('a last word', flush=True)\n"
              "open(rank.folder / 'gone', 'w').close(); os.kill(os.getpid(), 9)"},
    ),
    "raises": (SLEEPS, {"1": "print('noise', flush=True)\nraise ZeroDivisionError('a bug of its own')"}),
    "segfaults": (SLEEPS, {"0": "ctypes.string_at(0)"}),
    "loses its guard": (
        SLEEPS, {"1": "import psutil; os.kill(psutil.Process(os.getppid()).ppid(), 9); time.sleep(3600)"},
    ),
    "out of memory": (
        SLEEPS, {"2": "rank.say(type='result', status='oom', reason='rank 2: 12 of 8 GiB'); sys.exit(3)"},
    ),
}  # fmt: skip


def request(point: Point) -> dict[str, Any]:
    return {"case": {"world_size": SIZE}, "others": point[0], "ranks": point[1]}


@pytest.fixture(scope="module")
def marker() -> dict[str, str]:
    return new_marker()


@pytest.fixture(scope="module")
def environment(marker: dict[str, str]) -> Iterator[None]:
    path = os.pathsep.join((str(ROOT), str(ROOT / "tests" / "support")))
    with pytest.MonkeyPatch.context() as patch:
        for name, value in {"PYTHONPATH": path, "OMP_NUM_THREADS": "1", **marker}.items():
            patch.setenv(name, value)
        yield


@pytest.fixture(scope="module")
def outcomes(environment: None, marker: dict[str, str]) -> dict[str, Outcome]:
    """What came of all points, run at once, while the port that torch likes best is taken."""
    found: dict[str, Outcome] = {}
    with socket.socket() as taken:
        taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        taken.bind(("", 29500))
        taken.listen()

        def run(name: str) -> None:
            found[name] = run_isolated(
                request(POINTS[name]), timeout_s=FOREVER_S, on_progress=lambda _: None, ranks=RanksHere(SIZE, LIGHT)
            )

        threads = [threading.Thread(target=run, args=(name,)) for name in POINTS]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    return found


@pytest.fixture(scope="module")
def left(outcomes: dict[str, Outcome], marker: dict[str, str]) -> list[Process]:
    return left_behind(marker, but={os.getpid()})


def test_the_result_of_rank_0_is_the_points(outcomes: dict[str, Outcome]) -> None:
    """Points at once do not meet: each agent has a store on a port of its own, though 29500 is taken."""
    outcome = outcomes["ok"]
    assert outcome.status == "ok", outcome.reason
    assert outcome.result is not None
    environment = outcome.result["env"]
    assert environment["MASTER_ADDR"] == "127.0.0.1"
    assert environment["MASTER_PORT"] != "29500"
    assert environment["LOCAL_WORLD_SIZE"] == str(SIZE)


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("killed", "rank 2 of 3: killed by SIGKILL: a last word"),
        ("raises", "rank 1 of 3: exited with code 1: ZeroDivisionError: a bug of its own"),
        ("loses its guard", "the launcher of its 3 ranks: its guard was killed, and it with the guard"),
    ],
)
def test_who_fell_is_named_with_its_last_words(outcomes: dict[str, Outcome], name: str, reason: str) -> None:
    """Not those that raise because they lost another."""
    assert (outcomes[name].status, outcomes[name].reason) == ("crashed", reason)


def test_the_tail_is_that_of_the_rank_that_fell(outcomes: dict[str, Outcome]) -> None:
    tail = outcomes["raises"].stderr_tail
    assert tail[0] == "noise"
    assert tail[-1] == "ZeroDivisionError: a bug of its own"
    assert not any("elastic" in line for line in tail)
    segfault = outcomes["segfaults"]
    assert str(segfault.reason).startswith("rank 0 of 3: killed by SIGSEGV: File ")


def test_a_result_of_any_rank_is_the_points(outcomes: dict[str, Outcome]) -> None:
    outcome = outcomes["out of memory"]
    assert (outcome.status, outcome.reason) == ("oom", "rank 2: 12 of 8 GiB")


def test_nothing_stays_behind(left: list[Process]) -> None:
    assert not left


def test_a_launcher_that_ends_without_a_word_is_named() -> None:
    command = (sys.executable, "-I", "-S", "-c", "import sys; sys.stdin.readline()")
    outcome = run_isolated(
        request(("", {})), timeout_s=FOREVER_S, on_progress=lambda _: None, ranks=RanksHere(SIZE, command)
    )
    assert (outcome.status, outcome.reason) == ("crashed", "the launcher of its 3 ranks: ended without a result")


def test_a_hang_is_a_timeout_that_names_who_is_behind(environment: None, tmp_path: Path) -> None:
    """Its clock is cut short once all are there, and rank 0 has been given its turn."""
    there = "\nopen(f'{rank.request[\"at\"]}/{rank.number}', 'w').close()\n"
    all_there = f"while len(os.listdir(rank.request['at'])) < {SIZE}: time.sleep(0.01)\n"
    reached = "rank.state.stage('verifying'); rank.state.calls({}); print('waiting for a friend', flush=True)"
    asked = {
        "case": {"world_size": SIZE},
        "at": str(tmp_path),
        "others": reached.format(18) + there + "time.sleep(3600)",
        "ranks": {
            "0": reached.format(18) + there + all_there + "rank.turns(1); time.sleep(3600)",
            "2": reached.format(17) + there + "time.sleep(3600)",
        },
    }
    ranks = RanksHere(SIZE, LIGHT)
    with Worker(asked, timeout_s=FOREVER_S, on_progress=lambda _: None, turns=True, ranks=ranks) as worker:
        assert worker.listen()
        worker.give_turn()
        worker._left_s = 0.2
        assert not worker.listen()
        outcome = worker.end()
    assert outcome.status == "timeout"
    assert outcome.reason == (
        "no result after 600 s: killed; rank 2 of 3 is behind: in verifying after 17 collectives, the others after 18: "
        "waiting for a friend"
    )
    assert outcome.stderr_tail == ["waiting for a friend"]
