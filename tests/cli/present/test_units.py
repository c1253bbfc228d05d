"""Numbers as people read them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from longbench_cli.present.axes import bytes_axis, duration_axis, length_axis, rate_axis
from longbench_cli.present.units import (
    format_bytes,
    format_duration,
    format_fixed,
    format_interval,
    format_range,
    format_ratio,
    format_significant,
    tflops,
)


@pytest.mark.parametrize(
    ("nanoseconds", "text"),
    [
        (0, "0 ns"),
        (812, "812.0 ns"),
        (1234, "1.234 µs"),
        (1_234_567, "1.235 ms"),
        (61e9, "61.00 s"),
        (12345e9, "12345 s"),
    ],
)
def test_durations(nanoseconds: float, text: str) -> None:
    assert format_duration(nanoseconds) == text


def test_an_interval_is_in_the_unit_of_its_median() -> None:
    assert format_interval(0.99e6, 1.01e6, 1e6) == "0.9900–1.010 ms"


@pytest.mark.parametrize(
    ("number", "text"), [(0, "0 B"), (512, "512 B"), (1536 << 10, "1.50 MiB"), (3 << 40, "3.00 TiB")]
)
def test_bytes_are_powers_of_two(number: int, text: str) -> None:
    assert format_bytes(number) == text


@pytest.mark.parametrize(("ratio", "text"), [(1.037, "1.04×"), (2.345, "2.3×"), (12.4, "12×"), (123.4, "123×")])
def test_ratios(ratio: float, text: str) -> None:
    assert format_ratio(ratio) == text


def test_other_numbers() -> None:
    assert format_range([8192, 65536]) == "8k–64k"
    assert format_range([1000]) == "1000"
    assert format_fixed(-0.001, 2) == "0.00"
    assert tflops(2 * 10**12, 1e9) == 2.0


@given(st.floats(1e-9, 1e15))
def test_significant_digits_keep_the_value(value: float) -> None:
    assert float(format_significant(value)) == pytest.approx(value, rel=0.5e-2)


def test_length_ticks_are_written_as_the_command_line_takes_them() -> None:
    axis = length_axis([8192, 65536, 1 << 20, 1 << 30])
    assert axis.texts == ["8k", "64k", "1m", "1b"]


@given(st.lists(st.integers(1, 2**30), min_size=1, max_size=60))
def test_length_axis_holds_every_length_and_few_ticks(lengths: list[int]) -> None:
    axis = length_axis(lengths)
    assert axis.low < min(lengths)
    assert axis.high > max(lengths)
    assert axis.ticks[-1] == max(lengths)
    assert len(axis.ticks) <= 10


@given(st.lists(st.floats(1e-3, 1e18), min_size=1, max_size=5))
def test_value_axes_hold_every_value_and_have_some_distinct_ticks(values: list[float]) -> None:
    for make in (duration_axis, rate_axis, bytes_axis):
        axis = make(values)
        assert axis.low < min(values) <= max(values) < axis.high
        assert 2 <= len(axis.texts) == len(set(axis.texts)) <= 10, (make, axis)
        assert all(axis.low <= tick <= axis.high for tick in axis.ticks)
