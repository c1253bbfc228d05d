"""Planning models: their own shape, their own work, and options that do not fit a model."""

from __future__ import annotations

import subprocess
import sys

import pytest

from longbench_cli.errors import UsageError
from longbench_cli.sweep.options import resolve
from longbench_cli.sweep.plan import Plan, make_plan


def plan(**cli: object) -> Plan:
    return make_plan(resolve({"device": "cpu", "seq": "4k", "threads": 2, **cli}))


def test_a_model_is_causal_whatever_the_attention_beside_it_is() -> None:
    points = plan(impl="vanilla,longnet", kv_heads="2").points
    assert [(p.case.impl, p.case.kind, p.case.causal, p.case.kv_heads) for p in points] == [
        ("vanilla", "op", False, 2),
        ("longnet", "model", True, 8),
    ]
    both = plan(impl="longnet", causal="both").points
    assert [p.case.causal for p in both] == [True]  # two cases of the sweep are one


def test_key_heads_that_no_model_has_are_refused() -> None:
    with pytest.raises(UsageError, match=r"^--kv-heads 2: this sweep's models have as many key heads as query heads"):
        plan(impl="longnet,hierarchical", kv_heads="8,2")
    assert [p.case.kv_heads for p in plan(impl="longnet,block-recurrent", kv_heads="2").points] == [8, 2]


def test_a_preset_brings_its_heads_and_its_layers() -> None:
    [point] = plan(impl="longnet", preset="125m").points
    assert (point.case.heads, point.case.head_dim) == (12, 64)
    assert point.details["depth"] == 12
    assert point.details["dim"] == 768


def test_a_preset_and_heads_exclude_each_other() -> None:
    with pytest.raises(UsageError, match=r"^--preset and --heads exclude each other: give one of them$"):
        plan(impl="longnet", preset="125m", heads="4")


def test_a_models_work_is_linear_in_its_layers_and_a_step_is_both_passes() -> None:
    [two] = plan(impl="longnet").points
    [four] = plan(impl="longnet", depth="4").points
    assert 1.9 < four.cost.flops / two.cost.flops < 2
    costs = {p.case.pass_: p.cost.flops for p in plan(impl="longnet", pass_="fwd,bwd,fwd+bwd,step").points}
    assert costs["fwd+bwd"] == costs["step"] == costs["fwd"] + costs["bwd"]
    assert 2 < costs["bwd"] / costs["fwd"] < 2.5
    seconds = {p.case.pass_: p.predicted_seconds for p in plan(impl="longnet", pass_="fwd,bwd,step").points}
    assert seconds["step"] == pytest.approx(seconds["fwd"] + seconds["bwd"])


def test_a_step_needs_parameters() -> None:
    with pytest.raises(UsageError, match=r"^--pass step: only models have parameters to optimise \(.*longnet"):
        plan(impl="vanilla,dilated", pass_="step")
    points = plan(impl="vanilla,longnet", pass_="step").points
    assert [p.case.impl for p in points] == ["vanilla", "longnet"]  # the attention's is recorded as unsupported


def test_a_model_that_is_asked_not_to_be_causal_says_that_it_is() -> None:
    with pytest.raises(UsageError, match=r"^--causal false: a language model is causal; leave it out$"):
        plan(impl="longnet", causal="false")


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"impl": "sparse", "pattern": "strded"}, "--pattern: unknown pattern 'strded'"),
        ({"impl": "sparse", "stride": "64", "match_flops": "dilated"}, "--stride and --match-flops exclude each other"),
        ({"impl": "dilated", "window": "64"}, "--window: none of this sweep's implementations takes it"),
        ({"impl": "longnet", "preset": "126m"}, "--preset: "),
        ({"impl": "longnet", "feed_forward": "relu"}, "--feed-forward: "),
        ({"impl": "hierarchical", "levels": "1:1:256,4:x:256"}, "--levels: "),
        (
            {"impl": "transformer", "attention": "vanilla", "stride": "64"},
            "--stride: it has no effect here (transformer with attention vanilla); leave it out",
        ),
        ({"impl": "sparse", "columns": "4"}, "--columns: it has no effect here (sparse with pattern strided)"),
        ({"impl": "longnet,block-recurrent", "preset": "125m"}, "--preset: block-recurrent has no presets"),
    ],
)
def test_options_that_do_not_fit_say_which_and_why(options: dict[str, object], says: str) -> None:
    with pytest.raises(UsageError) as caught:
        plan(**options)
    assert str(caught.value).startswith(says), caught.value
    assert "\n" not in str(caught.value)


def test_an_option_counts_for_the_variants_that_take_it() -> None:
    points = plan(impl="sliding-window,transformer", attention="vanilla,sliding-window,sparse", window="128").points
    found = {(p.case.impl, p.case.options.get("attention")): p.case.options["window"] for p in points}
    assert found == {
        ("sliding-window", None): 128,
        ("transformer", "vanilla"): None,
        ("transformer", "sliding-window"): 128,
        ("transformer", "sparse"): None,
    }
    points = plan(impl="sparse", pattern="strided,fixed", columns="4,16").points
    assert [(p.case.options["pattern"], p.case.options["columns"]) for p in points] == [
        ("strided", None),
        ("fixed", 4),
        ("fixed", 16),
    ]


def test_levels_are_one_value_and_widths_are_an_axis() -> None:
    [point] = plan(impl="hierarchical", levels="1:1:128,4:4:128").points
    assert point.case.options["levels"] == ["1:1:128", "4:4:128"]
    assert len(plan(impl="sliding-window", window="128,256").points) == 2


def test_every_known_implementation_is_planned_without_torch() -> None:
    code = (
        "import sys\n"
        "from attention_impls.api import implementations\n"
        "from longbench_cli.sweep.options import resolve\n"
        "from longbench_cli.sweep.plan import make_plan\n"
        "names = ','.join(implementations())\n"
        "plan = make_plan(resolve({'device': 'cpu', 'seq': '8k', 'threads': 2, 'pass': 'fwd,bwd', 'impl': names}))\n"
        "assert len(plan.points) == 2 * len(implementations()), len(plan.points)\n"
        "assert 'torch' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
