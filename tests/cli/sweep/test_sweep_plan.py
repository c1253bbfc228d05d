import subprocess
import sys
from pathlib import Path

import pytest

from attention_impls.pattern import FullPattern, attention_cost
from longbench_cli.errors import UsageError
from longbench_cli.sweep.options import resolve
from longbench_cli.sweep.plan import Plan, make_plan


def plan(**cli: object) -> Plan:
    return make_plan(resolve({"device": "cpu", **cli}))


def test_the_users_own_line_plans_18_points_on_8_gpus() -> None:
    points = make_plan(resolve({"impl": "dilated", "seq": "8k:1b", "gpus": "8"})).points
    assert [point.case.seq_len for point in points] == [2**n for n in range(13, 31)]
    assert {(point.case.world_size, point.case.device) for point in points} == {(8, "cuda")}


def test_short_sequences_first_and_implementations_take_turns() -> None:
    order = [
        (p.case.seq_len, p.case.pass_, p.case.impl)
        for p in plan(impl="vanilla,dilated", seq="4k,1k", pass_="fwd,bwd").points
    ]
    assert order == [
        (n, pass_, impl) for n in (1024, 4096) for pass_ in ("fwd", "bwd") for impl in ("vanilla", "dilated")
    ]


def test_every_axis_multiplies_and_no_point_comes_twice() -> None:
    points = plan(
        impl="vanilla,dilated", seq="1k", heads="4,8", kv_heads="2,4", head_dim="32,64", dtype="fp32,bf16",
        causal="both", pass_="fwd,fwd+bwd", gpus="1,2", batch="1,2", schedule="lm,geometric", backend="auto,math",
    ).points  # fmt: skip
    assert len({point.key for point in points}) == len(points)
    vanilla = [point for point in points if point.case.impl == "vanilla"]
    assert len(vanilla) == 2**9  # nine axes of two; a schedule is no axis of it
    assert len(points) - len(vanilla) == 2**10


def test_tokens_set_the_batch_of_each_length() -> None:
    assert [(p.case.seq_len, p.case.batch) for p in plan(seq="8k:32k", tokens="64k").points] == [
        (8192, 8), (16384, 4), (32768, 2),
    ]  # fmt: skip


def test_kv_heads_follow_heads_unless_given() -> None:
    assert [(p.case.heads, p.case.kv_heads) for p in plan(seq="1k", heads="4,8").points] == [(4, 4), (8, 8)]
    assert [(p.case.heads, p.case.kv_heads) for p in plan(seq="1k", heads="4,8", kv_heads="2").points] == [
        (4, 2), (8, 2),
    ]  # fmt: skip


def test_options_reach_the_implementations_that_take_them() -> None:
    by_impl = {p.case.impl: p for p in plan(impl="vanilla,dilated", seq="8k", offsets="grouped").points}
    assert by_impl["vanilla"].case.options == {"parallel": None}
    assert by_impl["dilated"].case.options == {
        "schedule": "geometric", "segments": None, "dilations": None, "offsets": "grouped", "mixing_gradient": "exact",
    }  # fmt: skip
    assert by_impl["dilated"].details == {"segments": [2048, 8192], "dilations": [1, 4], "coverage": [1, 0.25]}


def test_explicit_segments_stand_in_for_the_schedule() -> None:
    [point] = plan(seq="8k", segments="2k,8k", dilations="1,2").points
    assert point.case.options["schedule"] is None
    assert point.details == {"segments": [2048, 8192], "dilations": [1, 2], "coverage": [1, 0.5]}
    assert "segments=2048,8192" in point.key


def test_a_back_end_goes_only_to_implementations_that_run_on_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "my_kernel.py").write_text("def attend(q, k, v, *, causal):\n    return q\n", encoding="utf-8")
    monkeypatch.syspath_prepend(str(tmp_path))
    both = plan(impl="vanilla,my_kernel:attend", seq="1k", backend="math,auto").points
    assert [(p.case.impl, p.case.backend) for p in both] == [
        ("vanilla", "math"), ("my_kernel:attend", "none"), ("vanilla", "auto"),
    ]  # fmt: skip
    with pytest.raises(UsageError, match="--backend"):
        plan(impl="my_kernel:attend", backend="math")


def test_what_a_users_pattern_raises_is_one_line_with_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "odd_kernel.py").write_text(
        "def attend(q, k, v, *, causal):\n    return q\n"
        "def pattern(shape, options):\n    raise KeyError('no\\nluck')\n"
        "attend.pattern = pattern\n",
        encoding="utf-8",
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.raises(UsageError, match="odd_kernel:attend: KeyError") as caught:
        plan(impl="odd_kernel:attend")
    assert "\n" not in str(caught.value)


def test_costs_are_the_patterns() -> None:
    [point] = plan(impl="vanilla", seq="4k", causal="true", pass_="fwd+bwd", dtype="fp32").points
    assert point.cost == attention_cost(FullPattern(point.case.shape), "fwd+bwd", 4)


def test_planning_needs_no_torch_and_a_backend_stays_auto() -> None:
    code = (
        "import sys\n"
        "from longbench_cli.sweep.options import resolve\n"
        "from longbench_cli.sweep.plan import make_plan\n"
        "plan = make_plan(resolve({'impl': 'dilated,vanilla', 'seq': '8k:1b', 'pass': 'fwd,bwd', 'device': 'cpu'}))\n"
        "assert len(plan.points) == 72 and {p.case.backend for p in plan.points} == {'auto'}\n"
        "assert 'torch' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_the_runtime_figure_keeps_a_thousand_million_tokens_in_every_batch() -> None:
    figure = make_plan(resolve({"profile": "paper-runtime"}))
    assert {p.case.batch * p.case.seq_len for p in figure.points} == {2**30}
    assert {p.case.device for p in figure.points} == {"cuda"}
    assert figure.settings.min_iterations == figure.settings.max_iterations == 10
    last = figure.points[-1]
    assert last.details == {"segments": [2048, 2**30], "dilations": [1, 2**19], "coverage": [1, 2**-19]}


def test_the_ci_profile_has_6_points_of_0_2_to_60_ms_on_2_cores() -> None:
    points = plan(profile="ci", threads=2).points
    assert len(points) == 6
    assert all(0.2e-3 <= point.predicted_seconds <= 60e-3 for point in points)


def test_the_quick_profile_is_short_on_2_cores() -> None:
    quick = plan(profile="quick", threads=2)
    assert {(p.case.impl, p.case.pass_) for p in quick.points} == {
        (impl, pass_) for impl in ("vanilla", "dilated") for pass_ in ("fwd", "bwd")
    }
    # A process and its torch, a verification, and the sampling of each point, as predicted.
    assert sum(3 + 2 * p.predicted_seconds + max(1, 3 * p.predicted_seconds) for p in quick.points) < 240
