"""Names of curves: as short as they can be while no two are alike."""

from __future__ import annotations

from pathlib import Path

import pytest
from sample_runs import make_case, make_run, measured, realistic_points, sweep_points

from longbench_cli.present.findings import finding
from longbench_cli.present.series import build_series, title_of


def labels(*runs: object) -> list[str]:
    return [one.label for one in build_series(runs)]


def test_implementation_and_pass_are_enough_for_a_plain_sweep() -> None:
    assert labels(make_run(sweep_points())) == ["dilated fwd", "dilated bwd", "vanilla fwd", "vanilla bwd"]


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"backend": "math"}, ["vanilla fwd sdpa-flash", "vanilla fwd math"]),
        ({"causal": True}, ["vanilla fwd full", "vanilla fwd causal"]),
        ({"dtype": "float32"}, ["vanilla fwd bfloat16", "vanilla fwd float32"]),
        ({"heads": 16, "kv_heads": 8}, ["vanilla fwd 8 heads", "vanilla fwd 16 heads"]),
        ({"kv_heads": 2}, ["vanilla fwd 8 kv heads", "vanilla fwd 2 kv heads"]),
        ({"head_dim": 128}, ["vanilla fwd head dim 64", "vanilla fwd head dim 128"]),
        ({"batch": 4}, ["vanilla fwd batch 1", "vanilla fwd batch 4"]),
        ({"world_size": 8}, ["vanilla fwd 1 rank", "vanilla fwd 8 ranks"]),
        ({"device": "cuda"}, ["vanilla fwd cpu", "vanilla fwd cuda"]),
        ({"options": {"window": 64}}, ["vanilla fwd", "vanilla fwd window=64"]),
    ],
)
def test_whatever_varies_is_in_the_name(changes: dict[str, object], expected: list[str]) -> None:
    points = [measured(make_case(length=n), 1e6) for n in (1024, 2048)]
    points += [measured(make_case(length=n, **changes), 1e6) for n in (1024, 2048)]
    assert labels(make_run(points)) == expected


def test_of_many_options_only_those_that_differ_are_in_the_name() -> None:
    sizes = [{"depth": depth, "vocab": 256, "attention": "vanilla"} for depth in (2, 4)]
    points = [measured(make_case("transformer", kind="model", options=size), 1e6) for size in sizes]
    assert labels(make_run(points)) == ["transformer fwd depth=2", "transformer fwd depth=4"]


def test_streamed_is_always_said() -> None:
    points = [measured(make_case(length=n), 1e6, execution="streamed") for n in (1024, 2048)]
    assert labels(make_run(points)) == ["vanilla fwd streamed"]


def test_runs_are_named_only_if_a_curve_is_in_more_than_one() -> None:
    one = make_run([measured(make_case("dilated"), 1e6)], "monday.jsonl")
    other = make_run([measured(make_case("vanilla"), 1e6)], "tuesday.jsonl")
    assert labels(one, other) == ["dilated fwd", "vanilla fwd"]
    again = make_run([measured(make_case("vanilla"), 1e6)], "friday.jsonl")
    assert labels(other, again) == ["vanilla fwd [tuesday]", "vanilla fwd [friday]"]


def test_copies_of_a_run_in_two_folders_are_told_apart() -> None:
    points = [measured(make_case(), 1e6)]
    names = labels(make_run(points, Path("a/run.jsonl")), make_run(points, Path("b/run.jsonl")))
    assert len(set(names)) == 2


def test_passes_share_a_colour_and_differ_in_dash() -> None:
    series = build_series([make_run(sweep_points())])
    assert series[0].color == series[1].color != series[2].color
    assert series[0].dash != series[1].dash


def test_findings_answer_the_question() -> None:
    dilated, vanilla, _, late, wrong = build_series([make_run(realistic_points())])
    assert dilated.fit is not None
    assert vanilla.fit is not None
    assert dilated.fit.exponent == pytest.approx(1, abs=0.02)
    assert vanilla.fit.exponent == pytest.approx(2, abs=0.02)
    assert finding(dilated) == "dilated fwd: time ~ N^1.00 (0.99–1.01) over 32k–256k; 26× faster than vanilla at 64k"
    assert "oom at 64k, pruned at 128k–256k" in finding(late)
    assert finding(wrong) == "mine.kernels:fast fwd: no exponent: 0 points measured, 3 needed; incorrect at 1k–4k"


def test_a_slower_or_equal_curve_is_not_called_faster() -> None:
    def against(dilated_ns: float) -> str:
        points = [measured(make_case("dilated"), dilated_ns, noise=0.004)]
        points += [measured(make_case("vanilla"), 1e6, noise=0.004)]
        return finding(build_series([make_run(points)])[0])

    assert "slower than vanilla at 8k" in against(3e6)
    assert "no faster or slower than vanilla at 8k beyond the noise" in against(1e6)


def test_the_work_of_full_attention_is_linear_where_the_tokens_are_constant() -> None:
    points = [measured(make_case(length=1024 << step, batch=64 >> step), 1e6 * 2**step) for step in range(7)]
    (series,) = build_series([make_run(points)])
    assert series.work == pytest.approx(1)
    assert series.fit is not None
    assert series.fit.exponent == pytest.approx(1, abs=0.05)


def test_title_says_what_and_how_long() -> None:
    assert title_of(build_series([make_run(sweep_points())])) == "dilated and vanilla attention, 1k–64k tokens"
    assert title_of([]) == "no point"


@pytest.mark.parametrize(
    ("impls", "title"),
    [
        (("longnet",), "longnet model, 8k tokens"),
        (("longnet", "transformer", "hierarchical"), "longnet, transformer and hierarchical models, 8k tokens"),
        (("longnet", "dilated", "vanilla"), "dilated and vanilla attention, longnet model, 8k tokens"),
    ],
)
def test_a_title_does_not_call_a_model_an_attention(impls: tuple[str, ...], title: str) -> None:
    kinds = {"dilated": "op", "vanilla": "op"}
    points = [measured(make_case(impl, kind=kinds.get(impl, "model")), 1e6) for impl in impls]
    assert title_of(build_series([make_run(points)])) == title


def test_a_model_is_said_to_be_compared_with_full_attention() -> None:
    """Beside it stands, perhaps, the transformer with another attention."""
    options = {"longnet": {}, "transformer": {"attention": "vanilla"}}
    points = [
        measured(make_case(impl, kind="model", options=own), 1e6 if impl == "longnet" else 3e6)
        for impl, own in options.items()
    ]
    assert finding(build_series([make_run(points)])[0]).endswith(
        "3.0× faster than transformer with full attention at 8k"
    )
