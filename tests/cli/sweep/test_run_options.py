import re
import typing
from typing import Any

import pytest
from typer.models import OptionInfo

from longbench_cli.commands import run_options
from longbench_cli.sweep.axes import format_length
from longbench_cli.sweep.fields import OPTION_NAMES, SweepOptions

# In an Annotated, typer takes the first positional argument, nominally the default, for the flag.
DECLARED: dict[str, OptionInfo] = {
    str(info.default).removeprefix("--").replace("-", "_"): info
    for alias in vars(run_options).values()
    if typing.get_origin(alias) is typing.Annotated
    for info in typing.get_args(alias)[1:]
}


def test_every_option_of_a_profile_is_one_of_the_command_line() -> None:
    assert DECLARED.keys() == {*OPTION_NAMES, "profile"}


def written(value: Any) -> str:
    if isinstance(value, list):
        return f"{written(value[0])}:{written(value[-1])}" if len(value) > 1 else written(value[0])
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, int) and value >= 1024 and value % 1024 == 0:
        return format_length(value)
    return {"bfloat16": "bf16"}.get(value, value) if isinstance(value, str) else f"{value:g}"


@pytest.mark.parametrize(
    "field", [name for name, info in SweepOptions.model_fields.items() if info.default is not None]
)
def test_the_help_states_the_true_default(field: str) -> None:
    stated = re.search(r"\(default: ([^)]*)\)", str(DECLARED[field.rstrip("_")].help))
    assert stated is not None
    assert stated[1] == written(SweepOptions.model_fields[field].default)
