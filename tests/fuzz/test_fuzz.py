"""Thousands of odd inputs of every kind; `make fuzz` tries a million, led by what the code does with them."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from targets import TARGETS, Target, limited


@pytest.mark.parametrize("target", TARGETS, ids=lambda target: target.name)
def test_a_value_or_one_line(target: Target) -> None:
    taken: list[bool] = []

    @settings(max_examples=target.examples, suppress_health_check=list(HealthCheck), database=None)
    @given(target.inputs)
    def holds(value: Any) -> None:
        with limited():
            taken.append(target.check(value))

    holds()
    assert any(taken)  # not all of it is nonsense
    assert not all(taken)


@pytest.mark.parametrize("target", [target for target in TARGETS if target.seeds], ids=lambda target: target.name)
def test_what_a_fuzzer_begins_with(target: Target) -> None:
    assert target.from_bytes is not None
    taken = [target.check(target.from_bytes(seed)) for seed in target.seeds]
    assert any(taken)
