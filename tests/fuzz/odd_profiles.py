"""Profiles for the fuzzer: any bytes, bytes near a profile's, and known options with values that are odd."""

from __future__ import annotations

import json
from typing import Any

from damaged_bytes import near
from hypothesis import strategies as st

from longbench_cli.resources import data_dir
from longbench_cli.sweep.fields import OPTION_NAMES

_ODD_FILES = [
    b"",
    b"\xef\xbb\xbfseq = 1",
    b"seq = " + b"[" * 3000 + b"]" * 3000,
    b"seq = 0x" + b"f" * 900,
    b"seq = " + b"9" * 900,
    b"a" + b".a" * 400 + b" = 1",
    b"seq = ['8k', '8k', {a = 1}]\nseq = 1",
    b"[seq]\nseq = 1979-05-27T07:32:00Z",
    b"max_time = inf\nprecision = nan\nbudget = -inf",
    b'"a\\nb" = 1',
    b"description = 1979-05-27",
    b"\r\n\r\nimpl = 'x'\r\n",
    b"impl = '''\na\n\x00'''",
]
SEEDS = [*_ODD_FILES, *(path.read_bytes() for path in sorted(data_dir("profiles").glob("*.toml")))]

_NAMES = {
    "impl": ["vanilla", "dilated", "sparse", "sliding-window", "longnet", "transformer", "block-recurrent"],
    "schedule": ["geometric", "lm", "runtime"],
    "offsets": ["paper", "grouped"],
    "pattern": ["strided", "fixed"],
    "match_flops": ["dilated"],
    "preset": ["125m", "2.7b"],
    "feed_forward": ["swiglu", "gelu"],
    "attention": ["vanilla", "sparse", "sliding-window"],
    "levels": ["1:1:256", "4:4:full", "1:1:0:2:1:2:1", "16:4:2", f"1:1:{2**60}", "1:1", "0:0:0", "4:1:full:1"],
    "pass": ["fwd", "bwd", "fwd+bwd", "step"],
    "dtype": ["fp32", "bf16", "float16"],
    "device": ["cpu"],
    "backend": ["auto", "math", "none", "no-such"],
    "cache": ["cold", "hot"],
    "graphs": ["auto", "on", "off"],
    "order": ["interleaved", "sequential"],
}
_PATHS = ["json:dumps", "json:", ":x", "no_such_module_of_longbench:fn", ".json:x", "json:no.such"]
_SIZES = ["8k", "1k:4k", "1b", "1", "7", str(2**50), "1:40:+1", "2,3,5", 1, 8, 64, 4096, 2**50, 2**50 + 1, 0, -1]
_ODD = [
    True, False, 1.5, 0.0, -1.0, 1e300, float("inf"), float("-inf"), float("nan"), 10**400, [], {}, [[1]], {"a": 1},
    "", ",", "x" * 5000, "\x1b[31m", "a\nb", "\u0663", "both", "20m", "1e3", ["8k", 8192, True], [1.5],
]  # fmt: skip


def files() -> st.SearchStrategy[bytes]:
    """Any bytes, and bytes near those of :data:`SEEDS`."""
    return st.binary(max_size=200) | near(SEEDS)


def plans() -> st.SearchStrategy[str]:
    """TOML that gives some of the options: mostly such as make a plan, now and then anything."""
    return st.dictionaries(st.sampled_from(sorted(OPTION_NAMES)), st.none(), max_size=6).flatmap(
        lambda names: st.fixed_dictionaries({name: _values(name) for name in names}).map(_toml)
    )


def _values(name: str) -> st.SearchStrategy[Any]:
    usual = st.sampled_from([*_NAMES.get(name, _SIZES), *(_PATHS if name == "impl" else [])])
    several = st.lists(usual, min_size=1, max_size=3)
    return st.one_of(usual, usual, usual, several, st.sampled_from(_ODD), st.text(max_size=20), st.integers())


def _toml(values: dict[str, Any]) -> str:
    return "".join(f"{name} = {_value(value)}\n" for name, value in values.items())


def _value(value: Any) -> str:
    if isinstance(value, str):
        clean = value.encode("utf-8", "replace").decode()
        return json.dumps(clean).replace("\x7f", "\\u007f")
    if isinstance(value, list):
        return f"[{', '.join(map(_value, value))}]"
    if isinstance(value, dict):
        return f"{{{', '.join(f'{name} = {_value(item)}' for name, item in value.items())}}}"
    return json.dumps(value).replace("Infinity", "inf").replace("NaN", "nan")
