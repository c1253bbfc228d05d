"""Every option of a sweep: its name, type and default, and how a value of it is read."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Mapping
from typing import Annotated, Any, Literal, cast, get_args

from pydantic import BeforeValidator, ConfigDict, Field, ValidationError, ValidationInfo

from longbench_cli.errors import UsageError
from longbench_cli.sweep.axes import (
    MAX_NUMBER,
    MAX_VALUES,
    parse_booleans,
    parse_choices,
    parse_duration,
    parse_lengths,
    parse_words,
    shown,
)
from longbench_cli.sweep.case import PASSES, SHORT_DTYPES, Dtype, Pass
from longbench_cli.sweep.settings import LONGEST_TIME, Settings

Where = Callable[[str], str]
"""Says where an option was given: its name to ``--kv-heads``, or to ``quick.toml: kv_heads``."""

Scaling = Literal["strong", "weak"]

IMPL_OPTIONS = (
    "parallel", "schedule", "segments", "dilations", "offsets", "mixing_gradient",
    "pattern", "stride", "columns", "match_flops", "window",
    "preset", "depth", "ff_mult", "vocab", "feed_forward", "qk_norm", "parallel_block", "attention",
    "block_width", "states", "compressed_memory", "bptt", "levels",
)  # fmt: skip
"""Options that an implementation takes, or not."""

MAX_DEPTH = 10_000
"""Most layers of a model: a plan names each."""

MAX_RANKS = 2**14
"""Most ranks of a point: a plan says of each what it exchanges."""

LIST_OPTIONS = frozenset({"segments", "dilations", "levels"})
"""Those whose commas make one value, not several to sweep."""


def _axis(parse: Callable[[str, str], list[Any]]) -> BeforeValidator:
    """Read an axis: a string of the grammar, one value, or (TOML) a list of such."""

    def read(value: Any, info: ValidationInfo) -> Any:
        if value is None:
            return None
        where = cast("Where", info.context)(option_name(str(info.field_name)))
        items = value if isinstance(value, (list, tuple)) else [value]
        if not items:
            raise UsageError(f"{where} is empty: give at least one value, or leave it out")
        found: list[Any] = []
        for item in items:
            if not isinstance(item, (str, int)):
                raise UsageError(f"{where} {shown(item)}: expected a string or a whole number, or a list of them")
            if isinstance(item, int) and abs(item) > MAX_NUMBER:  # some have more digits than Python writes out
                raise UsageError(f"{where} {shown(item)}: too large a number")
            text = str(item).lower() if isinstance(item, bool) else str(item)
            found += parse(text, where)
            if len(found) > MAX_VALUES:
                raise UsageError(f"{where}: more than {MAX_VALUES:,} values; give fewer")
        return list(dict.fromkeys(found))

    return BeforeValidator(read)


def _tokens(value: Any, info: ValidationInfo) -> Any:
    """Read one number of tokens: ``1m``, or a whole number."""
    if value is None or (isinstance(value, int) and not isinstance(value, bool)):
        return value
    where = cast("Where", info.context)(option_name(str(info.field_name)))
    found = parse_lengths(value, where) if isinstance(value, str) else []
    if len(found) != 1:
        raise UsageError(f"{where} {shown(value)}: expected one number of tokens, e.g. 1m")
    return found[0]


def _seconds(value: Any, info: ValidationInfo) -> Any:
    """Read a time: ``20m``, or a number of seconds."""
    if value is None or (isinstance(value, int | float) and not isinstance(value, bool)):
        return value
    where = cast("Where", info.context)(option_name(str(info.field_name)))
    if not isinstance(value, str):
        raise UsageError(f"{where} {shown(value)}: expected a time such as 90s, 20m or 1.5h")
    return parse_duration(value, where)


def _dtypes(text: str, where: str) -> list[Dtype]:
    long_names: dict[str, Dtype] = {**SHORT_DTYPES, **{name: name for name in SHORT_DTYPES.values()}}
    return [long_names[word] for word in parse_choices(text, long_names, where)]


def _passes(text: str, where: str) -> list[str]:
    return parse_choices(text, PASSES, where)


def _scaling(value: Any, info: ValidationInfo) -> Any:
    where = cast("Where", info.context)(option_name(str(info.field_name)))
    if not isinstance(value, str):
        raise UsageError(f"{where} {shown(value)}: expected strong or weak")
    found = parse_choices(value, get_args(Scaling), where)
    if len(found) != 1:
        raise UsageError(f"{where} {shown(value)}: expected one of strong and weak; a sweep has one of them")
    return found[0]


def _devices(text: str, where: str) -> list[str]:
    return parse_choices(text, ("auto", "cpu", "cuda"), where)


Lengths = Annotated[list[int], _axis(parse_lengths)]
Ranks = Annotated[list[Annotated[int, Field(le=MAX_RANKS)]], _axis(parse_lengths)]
Depths = Annotated[list[Annotated[int, Field(le=MAX_DEPTH)]], _axis(parse_lengths)]
Words = Annotated[list[str], _axis(parse_words)]
Booleans = Annotated[list[bool], _axis(parse_booleans)]


class SweepOptions(Settings):
    """Every option of a sweep by its name in a profile, with its default; settings included.

    An option that belongs to an implementation is None until it is given: the implementation knows
    its own default.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)

    impl: Words = Field(default=["dilated"])
    backend: Words = Field(default=["auto"])
    seq: Lengths = Field(default=[2**13, 2**14, 2**15, 2**16])
    batch: Lengths = Field(default=[1])
    tokens: Lengths | None = None
    heads: Lengths = Field(default=[8])
    kv_heads: Lengths | None = None
    head_dim: Lengths = Field(default=[64])
    dtype: Annotated[list[Dtype], _axis(_dtypes)] = Field(default=["bfloat16"])
    causal: Booleans = Field(default=[False])
    pass_: Annotated[list[Pass], _axis(_passes)] = Field(default=["fwd"], alias="pass")
    gpus: Ranks = Field(default=[1])
    scaling: Annotated[Scaling, BeforeValidator(_scaling)] = Field(default="strong")
    device: Annotated[list[str], _axis(_devices)] = Field(default=["auto"])
    parallel: Words | None = None
    schedule: Words | None = None
    segments: Lengths | None = None
    dilations: Lengths | None = None
    offsets: Words | None = None
    mixing_gradient: Words | None = None
    pattern: Words | None = None
    stride: Lengths | None = None
    columns: Lengths | None = None
    match_flops: Words | None = None
    window: Lengths | None = None
    preset: Words | None = None
    depth: Depths | None = None
    ff_mult: Lengths | None = None
    vocab: Lengths | None = None
    feed_forward: Words | None = None
    qk_norm: Booleans | None = None
    parallel_block: Booleans | None = None
    attention: Words | None = None
    block_width: Lengths | None = None
    states: Lengths | None = None
    compressed_memory: Lengths | None = None
    bptt: Lengths | None = None
    levels: Words | None = None
    chunk: Annotated[int | None, BeforeValidator(_tokens)] = Field(default=None, ge=1, le=MAX_NUMBER)
    budget: Annotated[float | None, BeforeValidator(_seconds)] = Field(default=None, gt=0, le=LONGEST_TIME)


_LONGEST_NAME = 60


def option_name(field: str) -> str:
    """``pass_``, a field or an argument of Python, is the option ``pass``."""
    return field.rstrip("_")


OPTION_NAMES = tuple(option_name(field) for field in SweepOptions.model_fields)


def read_options(values: Mapping[str, Any], where: Where) -> SweepOptions:
    """The options that ``values`` gives (``model_fields_set``) over the defaults.

    Raises:
        UsageError: an unknown name, a wrong type, or a value that does not parse.
    """
    for name in values:
        if name not in OPTION_NAMES:
            close = difflib.get_close_matches(name, OPTION_NAMES, n=1, cutoff=0.7)
            hint = f"did you mean {close[0]}?" if close else f"the options are {', '.join(OPTION_NAMES)}"
            raise UsageError(f"{where(name[:_LONGEST_NAME])}: no such option; {hint}")
    try:
        return SweepOptions.model_validate(dict(values), context=where)
    except ValidationError as error:
        first = error.errors()[0]
        message = first["msg"][:1].lower() + first["msg"][1:]
        raise UsageError(f"{where(str(first['loc'][0]))} {shown(first['input'])}: {message}") from error
