from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from longbench_cli.errors import UsageError
from longbench_cli.sweep.axes import MAX_VALUES, format_length, parse_booleans, parse_choices, parse_lengths

lengths = st.integers(1, 2**45)
small = st.integers(1, 2**30)


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ("8k", [8192]),
        ("1m", [2**20]),
        ("1B", [2**30]),
        ("1000", [1000]),
        ("8k:64k", [8192, 16384, 32768, 65536]),
        ("1K:16K:X4", [1024, 4096, 16384]),
        ("8k:32k:+8k", [8192, 16384, 24576, 32768]),
        ("8k:100000", [8192, 16384, 32768, 65536]),
        ("64k, 8k:16k ,8k", [65536, 8192, 16384]),
        ("5:5", [5]),
    ],
)
def test_what_each_form_stands_for(text: str, values: list[int]) -> None:
    assert parse_lengths(text) == values


def test_the_sweep_of_the_title_has_18_lengths() -> None:
    values = parse_lengths("8k:1b")
    assert len(values) == 18
    assert (values[0], values[-1]) == (2**13, 2**30)


@given(lengths)
def test_a_length_survives_being_written(value: int) -> None:
    assert parse_lengths(format_length(value)) == [value]


@given(st.lists(lengths, min_size=1, max_size=20, unique=True))
def test_commas_keep_the_values_and_their_order(values: list[int]) -> None:
    assert parse_lengths(",".join(map(format_length, values))) == values


@given(small, small, st.integers(2, 50))
def test_a_multiplied_range_rises_by_its_factor_as_far_as_its_end(start: int, more: int, factor: int) -> None:
    end = start + more
    values = parse_lengths(f"{start}:{end}:x{factor}")
    assert values[0] == start
    assert all(later == factor * earlier for earlier, later in pairwise(values))
    assert values[-1] <= end < values[-1] * factor


@given(small, st.integers(0, MAX_VALUES - 1), small, st.data())
def test_an_added_range_rises_by_its_step_as_far_as_its_end(
    start: int, steps: int, step: int, data: st.DataObject
) -> None:
    end = start + steps * step + data.draw(st.integers(0, step - 1))
    assert parse_lengths(f"{start}:{end}:+{step}") == list(range(start, end + 1, step))


@given(st.text(max_size=40) | st.text(alphabet="0123456789kmbKx+:,. -_", max_size=20))
def test_any_text_is_read_or_refused_in_one_line(text: str) -> None:
    refused = None
    values = []
    try:
        values = parse_lengths(text)
    except UsageError as error:
        refused = str(error)
    if refused is not None:
        assert "\n" not in refused
        assert refused.startswith("--seq ")
    else:
        assert values
        assert all(value >= 1 for value in values)
        assert len(set(values)) == len(values) <= MAX_VALUES


@pytest.mark.parametrize(
    ("text", "read", "right"),
    [
        ("8k:", "'8k:'", "START:END"),
        ("8q", "'8q'", "8k, 1m or 1b"),
        ("1.5m", "'1.5m'", "whole number"),
        ("-1", "'-1'", "whole number"),
        ("8k:1b:*2", "'8k:1b:*2'", "xFACTOR"),
        ("8k:1b:x1", "'8k:1b:x1'", "xFACTOR"),
        ("8k:1b:+0", "+0", "between 1"),
        ("64k:8k", "'64k:8k'", "smaller first"),
        ("8k,,16k", "'8k,,16k'", "single commas"),
        ("0", "'0'", "between 1"),
        ("٣", "'٣'", "whole number"),
        ("", "''", "empty"),
    ],
)
def test_a_refusal_says_what_was_read_and_what_would_be_right(text: str, read: str, right: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse_lengths(text, "--seq")
    assert read in str(caught.value)
    assert right in str(caught.value)


def test_a_range_of_a_thousand_million_values_is_refused_without_being_listed() -> None:
    with pytest.raises(UsageError, match="1,073,741,824 values"):
        parse_lengths("1:1b:+1")


def test_many_ranges_together_are_refused_too() -> None:
    with pytest.raises(UsageError, match="more than 10,000 values"):
        parse_lengths("1:6000:+1,7000:13000:+1")


def test_booleans() -> None:
    assert parse_booleans("both", "--causal") == [False, True]
    assert parse_booleans("True,both", "--causal") == [True, False]
    with pytest.raises(UsageError, match="--causal 'maybe': choose true, false or both"):
        parse_booleans("maybe", "--causal")


def test_an_unknown_word_is_met_with_the_nearest_known_one() -> None:
    with pytest.raises(UsageError, match="did you mean cuda"):
        parse_choices("cudo", ("auto", "cpu", "cuda"), "--device")
