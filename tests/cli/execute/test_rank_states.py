"""Where ranks are: what they write is what is read, whoever writes first, and who is behind is named."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from attention_impls.distributed.traffic import KINDS
from longbench_cli.execute.states import (
    NOWHERE,
    RankState,
    StateWriter,
    at_odds,
    behind,
    last_of,
    read_states,
    whereabouts,
)

STAGES = st.lists(st.text(max_size=60), max_size=3)


def test_nobody_has_written_yet(tmp_path: Path) -> None:
    assert read_states(tmp_path, 2) == [RankState(0), RankState(1)]
    assert RankState(0).stage == NOWHERE


@given(ranks=st.permutations(range(5)), stages=st.lists(STAGES, min_size=5, max_size=5), calls=st.data())
def test_each_rank_has_a_slot_of_its_own(
    tmp_path_factory: pytest.TempPathFactory, ranks: list[int], stages: list[list[str]], calls: st.DataObject
) -> None:
    folder = tmp_path_factory.mktemp("states")
    wanted = {}
    for rank in ranks:
        writer = StateWriter(folder, rank)
        count = calls.draw(st.integers(0, 2**40))
        for name in stages[rank]:
            writer.stage(name)
        writer.calls(count)
        wanted[rank] = (count, len(stages[rank]))
    states = read_states(folder, 5)
    assert {state.rank: state.progress for state in states} == wanted


def test_the_stage_is_read_and_a_long_one_is_cut(tmp_path: Path) -> None:
    writer = StateWriter(tmp_path, 1)
    writer.stage("preparing for what takes so long that its name is cut")
    writer.stage("verifying")
    writer.calls(17)
    assert read_states(tmp_path, 3)[1] == RankState(1, "verifying", 17, 2)


@pytest.mark.parametrize(
    ("states", "clause"),
    [
        ([RankState(0), RankState(1)], None),
        (
            [RankState(0, "verifying", 18, 3), RankState(1, "verifying", 18, 3), RankState(2, "verifying", 17, 3)],
            "rank 2 of 3 is behind: in verifying after 17 collectives, the others after 18",
        ),
        (
            [RankState(0, "timing", 9, 4), RankState(1, "verifying", 2, 3), RankState(2, "timing", 7, 4)],
            "rank 1 of 3 is behind: in verifying after 2 collectives, the others after 7 to 9",
        ),
        (
            [RankState(0, "verifying", 5, 3), RankState(1, "preparing", 5, 2), RankState(2)],
            "rank 2 of 3 is behind: in starting after 0 collectives, the others after 5",
        ),
        (
            [RankState(0, "verifying", 0, 3), RankState(1, "preparing", 0, 2), RankState(2, "preparing", 0, 2)],
            "ranks 1, 2 of 3 are behind: in preparing, the others in verifying",
        ),
    ],
)
def test_who_is_behind(states: list[RankState], clause: str | None) -> None:
    assert behind(states) == clause
    if clause:
        assert f"{last_of(states).rank}" in clause


def test_where_all_are_if_none_is_behind() -> None:
    states = [RankState(0, "verifying", 18, 3), RankState(1, "verifying", 18, 3)]
    assert whereabouts(states) == "all 2 ranks are in verifying after 18 collectives"
    states.append(RankState(2, "verifying", 17, 3))
    assert whereabouts(states) == behind(states)


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_collective_fits_in_a_slot(tmp_path: Path, kind: str) -> None:
    writer = StateWriter(tmp_path, 0)
    writer.stage("timing")
    writer.calls(18, kind)
    assert read_states(tmp_path, 1) == [RankState(0, "timing", 18, 1, kind)]
    writer.calls(20)
    assert read_states(tmp_path, 1) == [RankState(0, "timing", 20, 1)]


def test_a_rank_that_makes_another_collective_than_the_rest_is_named() -> None:
    gathers = [RankState(rank, "verifying", 18, 3, "all_gather") for rank in (0, 1, 3)]
    states = sorted([*gathers, RankState(2, "verifying", 18, 3, "all_reduce")], key=lambda state: state.rank)
    assert whereabouts(states) == (
        "the ranks disagree at collective 18: rank 2 of 4 is in all_reduce, the others in all_gather"
    )
    states[2] = RankState(2, "verifying", 18, 3)  # it has no part in that collective
    assert at_odds(states) is None
    states[2] = RankState(2, "verifying", 19, 3, "all_reduce")  # and is further than the others
    assert at_odds(states) is None
