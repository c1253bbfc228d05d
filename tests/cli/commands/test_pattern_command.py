"""``longbench pattern``: what it prints, what it draws, and what it refuses."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from longbench_cli import app

WORKED_EXAMPLE = ("--seq", "16", "--heads", "1", "--segments", "4,8,16", "--dilations", "1,2,4", "--start", "5")
UNDIRECTED = [2, 3, 2, 3, 1, 0, 1, 1, 2, 3, 3, 3, 2, 3, 3, 3]
MINE = '''
from dataclasses import dataclass

from attention_impls.api import Implementation, Model
from attention_impls.shape import AttentionShape


@dataclass
class OwnToken:
    """Each query sees itself and the first token."""

    shape: AttentionShape
    exact_mixing: bool = True

    def key_ranges(self, head, query):
        return (range(1), range(query, query + 1))

    def pairs(self):
        return 2 * self.shape.seq_len * self.shape.heads * self.shape.batch


def attention(q, k, v, *, causal):
    """Mine."""


attention.pattern = lambda shape, options: OwnToken(shape)

nothing = lambda *args: None
model = Implementation(
    name="mine", summary="a model", load=nothing, model=Model(nothing, nothing, nothing, nothing, nothing, nothing)
)
'''


@pytest.fixture
def mine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A module in the current folder."""
    (tmp_path / "patterns_of_mine.py").write_text(MINE)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    return "patterns_of_mine"


@pytest.fixture
def shown(capsys: pytest.CaptureFixture[str]) -> Callable[..., str]:
    """``shown("dilated", "--json")``: what it prints; it must exit with 0."""

    def call(*words: object) -> str:
        with pytest.raises(SystemExit) as leaving:
            app.main(["pattern", *map(str, words)])
        printed = capsys.readouterr()
        assert (leaving.value.code, printed.err) == (0, "")
        return printed.out

    return call


def read(shown: Callable[..., str], *words: object) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(shown(*words, "--json"))
    return found


def test_the_worked_example_as_json(shown: Callable[..., str]) -> None:
    found = read(shown, *WORKED_EXAMPLE, "--causal", "true", "--depth", 2)
    assert (found["impl"], found["seq_len"], found["heads"], found["causal"]) == ("dilated", 16, 1, True)
    assert (found["pairs"], found["dense_pairs"], found["density"]) == (70, 136, 70 / 136)
    assert found["flops"] == {
        "fwd": {"actual": 4 * 64 * 70, "dense": 4 * 64 * 136},
        "bwd": {"actual": 10 * 64 * 70, "dense": 10 * 64 * 136},
    }
    reach = found["reachability"]
    assert reach["undirected"]["hops"] == UNDIRECTED
    assert reach["directed"]["hops"] == [None] * 5 + [0, 1, 1] + [None] * 8
    assert reach["directed"]["tokens"] == [5, 6, 7]
    assert (reach["directed"]["reached"], reach["directed"]["possible"]) == (3, 11)
    assert (reach["undirected"]["histogram"], reach["undirected"]["longest"]) == ([1, 3, 4, 8], 3)
    assert [reach[way]["within_depth"] for way in ("directed", "undirected")] == [3, 8]
    assert reach["bound"] == {"base": 4, "ratio": 2.0, "hops": 2.0}
    assert found["picture"] is None


def test_the_text_says_which_tokens_a_causal_model_reaches(shown: Callable[..., str]) -> None:
    text = shown(*WORKED_EXAMPLE, "--causal", "true")
    assert "token 5 reaches only {5, 6, 7}, 3 of the 11 tokens from it on" in text
    assert "Undirected, which is the picture that gets published, it reaches all of the 16 tokens" in text
    assert f"undirected: {' '.join(map(str, UNDIRECTED))}" in text
    assert "an estimate that paths may exceed: log_a(N (a - 1) / w0) = 2.00 with a = 2, w0 = 4, N = 16" in text
    rows = [line.split() for line in text.splitlines()]
    assert ["pairs", "70", "136", "51.5%", "of", "N", "(N", "+", "1)", "/", "2", "a", "head"] in rows
    assert ["longest", "path", "1", "3"] in rows
    assert ["3", "0", "8"] in rows


def test_phases_that_no_head_covers_are_counted(shown: Callable[..., str]) -> None:
    options = ("--seq", "64", "--segments", "8,64", "--dilations", "2,8")
    one, three = (read(shown, *options, "--heads", heads)["coverage"] for heads in (1, 3))
    assert [branch["phases"] for branch in one["branches"]] == [[0], [0]]
    assert [branch["tokens"] for branch in one["branches"]] == [1 / 2, 1 / 8]
    assert (one["first_branch_only"], one["no_branch"]) == (3 / 8, 1 / 2)
    assert [branch["phases"] for branch in three["branches"]] == [[0, 1], [0, 1, 2]]
    assert [branch["pairs"] for branch in three["branches"]] == [1 / 2, 1 / 8]
    assert (three["first_branch_only"], three["no_branch"]) == (5 / 8, 0)
    head = read(shown, *options, "--heads", 3, "--head", 2)
    assert [branch["phases"] for branch in head["coverage"]["branches"]] == [[0], [2]]
    assert head["reachability"]["head"] == 2
    text = shown(*options, "--heads", 3, "--head", 2)
    assert "by head 2 of 3" in text
    assert "in no branch, with an output of zero: 50.0% of the tokens" in text


def test_a_sequence_that_no_segment_spans_is_said_to_fall_apart(shown: Callable[..., str]) -> None:
    """The geometric schedule at 16k: its longest segment has 8k tokens."""
    found = read(shown, "--seq", "16k")["reachability"]
    assert (found["undirected"]["reached"], found["enclosed_by"]) == (8192, 8192)
    text = shown("--seq", "16k")
    assert "No branch crosses the boundaries of the longest segments (8k tokens)" in text
    assert "No branch" not in shown("--seq", "8k")


@pytest.mark.parametrize(
    ("words", "pairs", "longest"),
    [
        (("vanilla", "--seq", 64, "--causal", "true"), 8 * 64 * 65 // 2, 1),
        (("sliding-window", "--seq", 64, "--window", 8, "--causal", "true", "--start", 0), 8 * (8 * 64 - 28), 9),
        (("sparse", "--seq", 64, "--stride", 8, "--causal", "true", "--start", 0), 8 * (8 * 64 - 28 + 224), 2),
        (
            ("sparse", "--seq", 64, "--pattern", "fixed", "--stride", 8, "--columns", 1, "--start", 0),
            8 * 64 * (8 + 7),
            2,
        ),
    ],
)
def test_any_op_is_looked_at(shown: Callable[..., str], words: tuple[object, ...], pairs: int, longest: int) -> None:
    found = read(shown, *words)
    assert found["pairs"] == pairs
    assert found["coverage"] is None
    assert found["reachability"]["bound"] is None
    assert found["reachability"]["directed"]["longest"] == longest
    assert found["reachability"]["directed"]["reached"] == found["reachability"]["directed"]["possible"]
    assert f"{words[0]}, N 64" in shown(*words)


def test_a_function_of_yours_with_a_pattern(mine: str, shown: Callable[..., str]) -> None:
    found = read(shown, f"{mine}:attention", "--seq", 20, "--heads", 2, "--start", 3)
    assert found["pairs"] == 80
    assert found["reachability"]["directed"]["tokens"] == [3]
    assert found["reachability"]["undirected"]["histogram"] == [1, 1, 18]


def test_far_hops_share_rows_and_all_are_in_the_json(shown: Callable[..., str]) -> None:
    words = ("sliding-window", "--seq", 101, "--window", 2, "--start", 0)
    assert read(shown, *words)["reachability"]["directed"]["histogram"] == [1] * 101
    rows = [line.split() for line in shown(*words).splitlines()]
    for row in (["15", "1", "1"], ["16–31", "16", "16"], ["32–63", "32", "32"], ["64–100", "37", "37"]):
        assert row in rows


@pytest.mark.parametrize("name", ["mask.svg", "mask.html"])
def test_a_picture_is_drawn_and_named(shown: Callable[..., str], tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    assert f"picture: {path}" in shown(*WORKED_EXAMPLE, "--picture", path)
    assert "dilated attention, N = 16" in path.read_text(encoding="utf-8")
    path.unlink()
    assert read(shown, *WORKED_EXAMPLE, "--picture", path)["picture"] == str(path)
    assert path.exists()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("nonsense",), "unknown implementation 'nonsense': choose from"),
        (("patterns_of_mine:model",), "is a model"),
        (("patterns_of_mine:attention", "--seq", "4m"), "has no query_ranges(head, key)"),
        (("--seq", "8k,16k"), "--seq 8k,16k: pattern looks at one case: give one value"),
        (("--causal", "both"), "--causal both: pattern looks at one case: give one value"),
        (("--seq", "huge"), "--seq 'huge': expected a whole number"),
        (("--seq", "1b"), "more than the 16,777,216 that can be searched"),
        (("--heads", "8", "--kv-heads", "3"), "--kv-heads 3"),
        (("--segments", "2048"), "segments and dilations go together"),
        (("--segments", "2048", "--dilations", "1", "--schedule", "lm"), "exclude each other"),
        (("vanilla", "--schedule", "lm"), "--schedule: none of this sweep's implementations takes it"),
        (("--head", "8"), "--head 8: there are 8 heads, 0 to 7"),
        (("--start", "64k"), "--start 64k: expected one token, 0 to 65535"),
        (("--start", "-1"), "--start '-1': expected a whole number"),
        (("--depth", "-1"), "--depth"),
        (("--picture", "mask.pdf"), "--picture mask.pdf: the name must end in .svg, .png or .html"),
        (("--seq", "16", "--picture", "no/such/folder/mask.svg"), "cannot write"),
    ],
)
def test_what_cannot_be_shown_is_refused_in_one_line(
    mine: str, words: tuple[str, ...], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as leaving:
        app.main(["pattern", *words])
    printed = capsys.readouterr()
    assert (leaving.value.code, printed.out) == (2, "")
    assert printed.err.count("\n") == 1
    assert message in printed.err
