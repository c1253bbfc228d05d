"""The worker's side of taking turns."""

from __future__ import annotations

import os
import threading
from typing import Any

import pytest

from longbench_cli.measure.gate import Gate


def test_alone_there_is_nothing_to_wait_for() -> None:
    gate = Gate()
    gate.wait()
    assert gate.waited_ns == 0


def test_it_says_that_it_waits_and_goes_on_when_it_is_its_turn() -> None:
    said: list[dict[str, Any]] = []
    times = iter([100, 350, 1000, 1001])
    reader, writer = os.pipe()
    with os.fdopen(reader, "rb") as turns, os.fdopen(writer, "wb", buffering=0) as other_end:
        gate = Gate(said.append, turns, lambda: next(times))
        passed: list[int] = []

        def work() -> None:
            for turn in range(2):
                gate.wait()
                passed.append(turn)

        thread = threading.Thread(target=work)
        thread.start()
        other_end.write(b"turn\n")
        other_end.write(b"turn\n")
        thread.join(timeout=60)
    assert passed == [0, 1]
    assert said == [{"type": "waiting"}] * 2
    assert gate.waited_ns == 251


def test_without_the_sweep_there_are_no_turns_and_the_worker_ends() -> None:
    reader, writer = os.pipe()
    os.close(writer)
    with os.fdopen(reader, "rb") as turns, pytest.raises(SystemExit):
        Gate(lambda _message: None, turns).wait()
