"""Run files for the fuzzer: bytes near a real file's, and real files whose values are odd, one here and one there."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator, Sequence
from typing import Any

from damaged_bytes import near
from hypothesis import strategies as st
from model_values import filled

from longbench_cli.record.schema import MeasuredPoint, RunHeader, UnmeasuredPoint

_ARGV = ["longbench", "run", "--impl", "vanilla,dilated", "--seq", "1k:4k", "--device", "cpu", "--seed", "3"]


def _lines() -> list[dict[str, Any]]:
    """A header, a curve of each kind with every field of every record filled, and points that failed."""
    lines = [filled(RunHeader, "text", argv=_ARGV, settings={"precision": 0.01, "n_bytes": 7}, profile=None)]
    for impl, kind in (("vanilla", "op"), ("dilated", "op"), ("longnet", "model")):
        for step in range(3):
            length, time = 1024 << step, 1000.0 * 3**step
            case = {"impl": impl, "kind": kind, "seq_len": length, "options": {"depth": 2, "attention": "vanilla"}}
            times = {"iterations_ns": [int(time)] * 6, "median_ns": time, "ci95_ns": [0.9 * time, 1.1 * time]}
            details = {"blocks": 4, "depth": 2, "dim": 64, "parameters": 10**6}
            point = filled(
                MeasuredPoint, "text", key=f"{impl}{length}", session=0, case=case, latency=times, details=details
            )
            lines.append(point)
    lines.append(lines[1] | {"session": 1})
    for ranks in (2, 4):  # with one of those above strong and weak curves over ranks
        case = {"impl": "dilated", "kind": "op", "seq_len": 1024 * ranks, "world_size": ranks, "options": {}}
        lines.append(filled(MeasuredPoint, "text", key=f"w{ranks}", session=0, case=case))
        shorter = case | {"seq_len": 2048}
        lines.append(filled(MeasuredPoint, "text", key=f"strong{ranks}", session=0, case=shorter))
    failed = {"impl": "vanilla", "kind": "op", "backend": "auto", "seq_len": 8192}
    lines.append(filled(UnmeasuredPoint, "text", key="failed", case=failed))
    lines.append(filled(UnmeasuredPoint, "text", key="failed", status="crashed", session=1, case=failed))
    return lines


BASE = _lines()
_RAWS = (
    "NaN", "-Infinity", "1e999", "-1e999", "9" * 4000, "9" * 5000, "[" * 150 + "]" * 150, "[" * 999 + "]" * 999,
    '"\\ud800"', "5e-324", "1e308", "-0.0", "1" + "0" * 300, "{" + '"a":{' * 150 + "}" * 151,
)  # fmt: skip
"""JSON that json.dumps does not write."""

_ODD = [
    None, True, False, 0, 1, -1, 2**31, 2**53 + 1, 2**63, 2**64, 10**18, 10**19, 10**200, 10**400, 0.0, 0.5, -1.5, 1e-9,
    1e18, 1e150, 1e-150, 1e300, "", "x", "a\nb", "\x1b[2J", "\u202e", "ok", "oom", "auto", "dilated", "NaN", "1",
    "=1+1",
    "x" * 3000, [], [[]], {}, {"": None}, {"a": {"a": [{"a": 1}]}}, [1.0, 2.0], [2.0, 1.0], [0, 0], [0, 10**18], [""],
    ["longbench", "run"], ["longbench", "run", "--impl", "a:b"], ["longbench", "run", "--profile", "x.toml"],
    ["longbench", "run", "--seq", "8k", "--seed", "[" * 9], ["longbench", "run", "--heads", "1b", "--seq", "1b"],
    ["longbench", "run", "--profile", "quick"], ["longbench", "run", "--stream", "--max-time", "NaN"],
]  # fmt: skip


def _file(lines: Sequence[Any]) -> bytes:
    text = "".join(f"{json.dumps(line)}\n" for line in lines)
    for name, raw in enumerate(_RAWS):
        text = text.replace(f'"@raw{name}@"', raw)
    return text.encode()


SEEDS = [b"", _file(BASE[:1]), _file([BASE[0], BASE[1], BASE[-1]]), _file(BASE)]


def bytes_of_files() -> st.SearchStrategy[bytes]:
    """Bytes near those of :data:`SEEDS`, and any."""
    return near(SEEDS) | near(SEEDS) | st.binary(max_size=100)


def files_of_odd_values() -> st.SearchStrategy[bytes]:
    """A whole run file in which up to 3 values are odd, gone, or under another name."""
    places = list(_places(BASE))
    value = (
        st.sampled_from(_ODD)
        | st.sampled_from([f"@raw{name}@" for name in range(len(_RAWS))])
        | st.integers()
        | st.floats()
    )
    edit = st.tuples(st.sampled_from(places), st.sampled_from(["set", "set", "set", "set", "drop", "add"]), value)
    return st.lists(edit, max_size=3).map(lambda edits: _file(_changed(edits)))


def _places(value: Any, here: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    if here:
        yield here
    items: Any = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for name, item in items:
        yield from _places(item, (*here, name))


def _changed(edits: Sequence[tuple[tuple[Any, ...], str, Any]]) -> list[Any]:
    lines: list[Any] = copy.deepcopy(BASE)
    for (*way, last), how, value in edits:
        owner: Any = lines
        try:
            for step in way:
                owner = owner[step]
            if how == "drop":
                del owner[last]
            elif how == "add" and isinstance(owner, dict):
                owner[f"{last}x"] = value
            else:
                owner[last] = value
        except (KeyError, IndexError, TypeError):  # an earlier edit took it away
            continue
    return lines
