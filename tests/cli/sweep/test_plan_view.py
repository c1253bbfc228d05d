import io
import json
from dataclasses import replace

from rich.console import Console

from longbench_cli.commands.plan_view import print_plan
from longbench_cli.sweep.options import resolve
from longbench_cli.sweep.plan import make_plan


def shown(*, as_json: bool = False, width: int = 200, free: int = 2**40, **cli: object) -> str:
    out = io.StringIO()
    plan = make_plan(resolve({"device": "cpu", "threads": 2, **cli}))
    console = Console(file=out, width=width, highlight=False)
    print_plan(plan, as_json=as_json, console=console, free=lambda _device: free)
    return out.getvalue()


def test_a_row_has_the_cost_the_prediction_and_why_it_is_pruned() -> None:
    text = shown(impl="vanilla", seq="4k,1m")
    [short] = [line for line in text.splitlines() if " 4k " in line]
    assert "34.4 GFLOP" in short
    assert "12 MiB" in short
    assert "201 ms" in short
    assert "per iteration" not in short
    [long] = [line for line in text.splitlines() if " 1m " in line]
    assert "per iteration > --max-point-time 60 s" in long
    assert "2 points: 1 to measure, 1 pruned" in text


def test_memory_prunes_too() -> None:
    assert "of memory > 1 MiB free" in shown(impl="vanilla", seq="4k", free=2**20)


def test_only_columns_that_differ_are_shown_and_the_rest_is_said_once() -> None:
    text = shown(impl="vanilla,dilated", seq="1k", heads="4,8")
    header = text.splitlines()[0].split()
    assert "heads" in header
    assert "dtype" not in header
    assert "dtype bfloat16" in text
    assert text.count("schedule=geometric") == 1
    assert "options" in shown(impl="dilated", seq="1k", schedule="lm,geometric").splitlines()[0]


def test_the_footer_says_where_settings_came_from() -> None:
    text = shown(profile="quick", heads="4", width=400)
    settings = next(line for line in text.splitlines() if line.startswith("settings: "))
    by_source = {part.rsplit(" from the ", 1)[-1]: part for part in settings.removeprefix("settings: ").split("; ")}
    assert "heads" in by_source["command line"]
    assert "max_time 1" in by_source["profile quick"]
    assert "heads" not in by_source["profile quick"].replace("kv_heads", "")
    assert "predicted for: CPU" in text


def test_json_is_one_object_a_line_whatever_the_width() -> None:
    lines = shown(as_json=True, width=20, impl="vanilla,dilated", seq="8k,1b", pass_="bwd").splitlines()
    points = [json.loads(line) for line in lines]
    assert [(p["case"]["impl"], p["case"]["seq_len"]) for p in points] == [
        ("vanilla", 8192), ("dilated", 8192), ("vanilla", 2**30), ("dilated", 2**30),
    ]  # fmt: skip
    assert points[0]["case"]["pass"] == "bwd"
    assert points[0]["prune_reason"] is None
    assert "--max-point-time" in points[2]["prune_reason"]
    assert points[1]["details"]["segments"] == [2048, 8192]
    assert points[0]["cost"]["flops"] == points[0]["cost"]["dense_flops"] == 10 * 8 * 8192**2 * 64


def test_a_name_with_brackets_is_printed_as_it_is() -> None:
    plan = make_plan(resolve({"device": "cpu", "seq": "1k"}))
    [point] = plan.points
    odd = replace(point, case=point.case.model_copy(update={"impl": "[red]f"}))
    out = io.StringIO()
    print_plan(replace(plan, points=(odd,)), console=Console(file=out, width=120), free=lambda _device: 2**40)
    assert "[red]f" in out.getvalue()


def test_points_that_will_be_streamed_are_marked() -> None:
    text = shown(impl="dilated,vanilla", seq="8k", free=2**26)
    assert "execution" in text.splitlines()[0]
    rows = {line.split()[0]: line for line in text.splitlines() if " 8k " in line}
    assert "streamed" in rows["dilated"]
    assert "resident" in rows["vanilla"]
    assert "execution" not in shown(impl="dilated", seq="8k")
    point = json.loads(shown(as_json=True, impl="dilated", seq="8k", stream=True))
    assert point["execution"] == "streamed"
