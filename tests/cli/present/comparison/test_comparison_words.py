"""What every output of a comparison says: names, numbers, what to do, everything behind a verdict."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from verdicts import CONFIRMED, SLOWER, comparison, of_every_kind, paired, side_info, stored

from longbench_cli.analyse.comparison.types import MemoryChange, Side
from longbench_cli.errors import UsageError
from longbench_cli.present.comparison.explained import explain
from longbench_cli.present.comparison.labels import labels_of
from longbench_cli.present.comparison.markdown import to_markdown
from longbench_cli.present.comparison.pairs import confirmations_of, far_off
from longbench_cli.present.comparison.summary import advice, facts_of, headline
from longbench_cli.present.comparison.terminal import to_terminal
from longbench_cli.present.comparison.words import change, memory_words

POINT = paired()
WILD = (0.001, -0.002, 0.003, 0.0, 2.1, -0.001)


def test_a_name_has_what_varies_and_nothing_else() -> None:
    points = [paired(length=8192), paired(length=16384), paired(impl="vanilla", case={"pass_": "bwd"})]
    assert list(labels_of(points).values()) == ["dilated fwd 8k", "dilated fwd 16k", "vanilla bwd 8k"]


def test_a_name_says_what_else_differs() -> None:
    schedule = {"schedule": "lm", "segments": None, "dilations": None}
    points = [
        paired(case={"causal": True}),
        paired(case={"backend": "flex"}),
        paired(case={"options": schedule, "world_size": 2}),
    ]
    assert list(labels_of(points).values()) == [
        "dilated sdpa-flash fwd 8k schedule=geometric causal 1 rank",
        "dilated flex fwd 8k schedule=geometric full 1 rank",
        "dilated sdpa-flash fwd 8k schedule=lm full 2 ranks",
    ]


def test_two_keys_of_one_case_have_two_names() -> None:
    auto, named = replace(paired(), key="dilated/auto/..."), paired()
    names = labels_of([auto, named])
    assert len(set(names.values())) == 2
    assert "dilated/auto/..." in names["dilated/auto/..."]


@pytest.mark.parametrize(
    ("ratio", "shown"),
    [(1.021, "+2.1%"), (0.9, "-10.0%"), (1.0, "+0.0%"), (0.99996, "+0.0%"), (3.5, "+250%"), (math.inf, "unknown")],
)
def test_a_ratio_is_a_signed_change(ratio: float, shown: str) -> None:
    assert change(ratio) == shown


@given(st.floats(0.01, 100), st.floats(0.01, 100))
def test_changes_read_in_the_order_of_their_ratios(one: float, other: float) -> None:
    first, second = (float(change(ratio).rstrip("%")) for ratio in sorted((one, other)))
    assert first <= second


def test_memory_is_shown_where_it_changed() -> None:
    assert memory_words(MemoryChange(64 << 20, 88 << 20, "regression")) == "+37.5% (+24.0 MiB)"
    assert memory_words(MemoryChange(64 << 20, 32 << 20, "improvement")) == "-50.0% (-32.0 MiB)"
    assert memory_words(MemoryChange(64 << 20, (64 << 20) + 1000, "ok")) == ""


def test_the_headline_counts_the_worst_first() -> None:
    assert headline(of_every_kind()).startswith("1 incorrect, 3 regressions, 1 not-comparable, 1 inconclusive")
    assert headline(of_every_kind()).endswith("of 9 points")
    assert headline(comparison(paired(), paired(length=16384))) == "2 points, all ok"


def test_the_facts_say_what_was_compared_and_how() -> None:
    facts = dict(facts_of(comparison(paired(), paired(length=16384, values=SLOWER * 2, confirmation=CONFIRMED))))
    assert "main · commit 0f1e2d3c4" in facts["base"]
    assert "longbench 0.1.0" in facts["base"]
    assert "commit fedcba987" in facts["candidate"]
    assert facts["machine"] == "Example CPU at 2.10 GHz, 2 cores"
    assert facts["mode"] == "paired, 6 to 18 pairs a point"
    elsewhere = side_info("mine", environment={"cpu": "Another", "git": {"commit": "abc", "dirty": True}}, commit="abc")
    facts = dict(facts_of(stored(paired(), candidate=elsewhere)))
    assert facts["machine"] == "Example CPU at 2.10 GHz, 2 cores against Another"
    assert "commit abc with uncommitted changes" in facts["candidate"]
    assert facts["mode"].startswith("stored runs, 6 against 6 sessions a point: weaker")


def test_what_to_do_is_said_once_for_each_kind() -> None:
    said = advice(of_every_kind())
    assert len(said) == 2
    assert "--max-time" in said[0]
    assert "quieter machine" in said[0]
    assert "far off" not in said[0].lower()
    assert "--allow threads" in said[1]
    assert advice(comparison(paired())) == []
    (line,) = advice(comparison(paired("inconclusive", WILD)))
    assert line.endswith("Far off the others: pair 5 of dilated fwd 8k.")
    (line,) = advice(stored(paired("inconclusive")))
    assert "--sessions" in line
    (line,) = advice(comparison(paired("inconclusive", wants=6)))
    assert line.startswith("Not final: 1 point")


def test_what_was_allowed_to_differ_is_said_once() -> None:
    torch = "allowed to differ: torch: base 2.13.0, candidate 2.14.0"
    clocks = "allowed to differ: clocks: base {}, candidate 9"
    points = [paired(length=1024 * n, steps=(torch, clocks.format(n), "6 pairs")) for n in range(1, 9)]
    found = comparison(*points)
    facts = dict(facts_of(found))
    assert facts["allowed to differ"] == (
        "torch (2.13.0, 2.14.0); clocks (1, 9), (2, 9), (3, 9), (4, 9), (5, 9) and 3 more"
    )
    for text in (to_terminal(found, plain=True), explain(found, "1k")):
        assert "\nallowed to differ  torch (2.13.0, 2.14.0); clocks" in text
    assert "- allowed to differ: torch (2.13.0, 2.14.0)" in to_markdown(found)
    assert "allowed to differ" not in dict(facts_of(comparison(paired())))


def test_a_pair_far_off_the_others_is_marked() -> None:
    text = explain(comparison(paired("inconclusive", WILD)), "8k")
    (marked,) = [line for line in text.splitlines() if line.endswith("far off the others")]
    assert marked.split()[0] == "5"
    assert "far off" not in explain(comparison(paired("regression", SLOWER, CONFIRMED)), "8k")


@given(st.lists(st.floats(-0.02, 0.02), min_size=6, max_size=18))
def test_no_pair_within_the_least_spread_is_far(values: list[float]) -> None:
    assert far_off(replace(POINT, values=tuple(values))) == []


def test_pairs_that_did_not_confirm_were_run_to_confirm() -> None:
    suspected = (*SLOWER, *(-d for d in CONFIRMED))
    assert confirmations_of(paired("inconclusive", suspected)) == [range(6, 12)]
    assert confirmations_of(paired("regression", SLOWER, CONFIRMED)) == [range(6, 12)]
    assert confirmations_of(paired("ok")) == confirmations_of(paired("ok", (0.001, -0.001) * 6)) == []


def test_many_notes_are_folded() -> None:
    point = paired()
    noted = replace(point, base=replace(point.base, notes=tuple(f"session {number}: noisy" for number in range(9))))
    lines = [line for line in explain(comparison(noted), "8k").splitlines() if "note" in line]
    assert len(lines) == 5
    assert lines[-1] == "... and 5 more notes on the base"


@pytest.mark.parametrize("name", ["dilated fwd 8k", "dilated 8k", "8K", "/n8192/b1/h8/kv8/d64/bfloat16/full/w1/cpu"])
def test_a_point_is_found_by_key_name_or_words(name: str) -> None:
    points = comparison(paired("regression", SLOWER, CONFIRMED), paired(length=131072), paired(length=1024))
    assert "regression: dilated fwd 8k" in explain(points, name).splitlines()


def test_explain_has_everything_behind_a_verdict() -> None:
    noted = paired("regression", SLOWER, CONFIRMED)
    noted = replace(noted, candidate=replace(noted.candidate, notes=("session 3: throttled",)))
    text = explain(comparison(noted, identical=True), noted.key)
    assert text.startswith("A/A: both sides are the same code")
    for said in (
        "the reason of regression", noted.key, "sdpa-flash", "64.0 MiB", "3.0%: 3% on one device",
        "+5.8% to +6.6%", "1.2%", "1. 6 pairs", "note on the candidate: session 3: throttled",
    ):  # fmt: skip
        assert said in text
    rows = [line.split() for line in text.splitlines() if line.strip()[:1].isdigit() and " ms " in line]
    assert len(rows) == 12
    assert [row[5] for row in rows[:6]] == [change(math.exp(d)) for d in SLOWER]
    assert [row[-2:] == ["to", "confirm"] for row in rows] == [False] * 6 + [True] * 6


def test_explain_pairs_no_processes_that_do_not_pair_off() -> None:
    point = paired("inconclusive")
    lost = replace(point, candidate=Side("ok", None, "sdpa-flash", point.candidate.medians_ns[1:]))
    text = explain(comparison(lost), lost.key)
    assert not [line for line in text.splitlines() if line.split()[:1] == ["pair"]]
    assert text.count(" ms") >= 11  # every process of both sides is there all the same


@pytest.mark.parametrize("name", ["ring", "", "fwd 8"])
def test_a_point_that_is_none_or_several_is_refused_with_names(name: str) -> None:
    points = comparison(paired(), paired(impl="vanilla"), *(paired(length=1024 * n) for n in (80, 81, 82, 83, 84, 85)))
    with pytest.raises(UsageError) as refused:
        explain(points, name)
    assert "dilated fwd 8" in str(refused.value)
    assert str(refused.value).startswith(f"--explain {name}:")
