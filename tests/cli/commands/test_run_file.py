"""The recorded command line asks for the same sweep again."""

from __future__ import annotations

from pathlib import Path

import pytest

from longbench_cli.commands.run_file import from_argv, make_header, to_argv
from longbench_cli.errors import UsageError
from longbench_cli.sweep.options import resolve
from longbench_cli.sweep.plan import make_plan


@pytest.mark.parametrize(
    "asked",
    [
        {},
        {"impl": "dilated", "seq": "8k:16k", "pass_": "fwd,bwd", "max_time": 2.5, "seed": 3},
        {"impl": "dilated", "seq": "8k", "stream": True, "chunk": "1m", "threads": 1},
        {"impl": "dilated", "stream": True},
    ],
)
def test_options_survive_the_record(asked: dict[str, object]) -> None:
    plan = make_plan(resolve({"device": "cpu", **asked}))
    header = make_header(plan, {"device": "cpu", **asked})
    again = from_argv(header, Path("run.jsonl"))
    assert make_plan(resolve(again)) == plan
    assert to_argv(again) == header.argv


@pytest.mark.parametrize(
    "argv", [["longbench", "gate"], ["longbench", "run", "x"], ["longbench", "run", "--seq", "1", "2"]]
)
def test_another_command_line_is_refused_in_one_line(argv: list[str]) -> None:
    plan = make_plan(resolve({"device": "cpu", "seq": "1k"}))
    header = make_header(plan, {}).model_copy(update={"argv": argv})
    with pytest.raises(UsageError, match="cannot be asked for again"):
        from_argv(header, Path("run.jsonl"))
