"""No input is more than its size in work: counted in lines of Python run, which no other process can slow down."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any

import pytest
from damaged_runs import BASE
from hostile_runs import write_lines

from longbench_cli.analyse.curves import curves_of
from longbench_cli.errors import UsageError
from longbench_cli.present.facts import flatten
from longbench_cli.present.points_table import points_table
from longbench_cli.present.rank_section import rank_section
from longbench_cli.present.series import build_series
from longbench_cli.present.tables import fits_table
from longbench_cli.record.loading import load_run
from longbench_cli.sweep.axes import parse_lengths, parse_words
from longbench_cli.sweep.options import resolve
from longbench_cli.sweep.plan import make_plan
from longbench_cli.sweep.profile import MAX_BYTES, MAX_LINE, load_profile

TWICE = 2.3
"""Most times the work for twice the size: n log n is some way above 2, n^2 is 4."""

BOUND = 2_000_000
"""Lines that anything refused or planned at once may take: a second or so."""


class TooMuch(Exception):
    """The work went beyond what was allowed; nobody waits for the end of a hang."""


def work(call: Callable[..., Any], *arguments: Any, most: int = 20 * BOUND) -> int:
    """Lines of Python that ``call`` runs; a refusal is an end as good as any."""
    lines = 0

    def count(_frame: FrameType, event: str, _argument: Any) -> Any:
        nonlocal lines
        lines += event == "line"
        if lines > most:
            raise TooMuch(f"more than {most:,} lines")
        return count

    before = sys.gettrace()
    sys.settrace(count)
    try:
        call(*arguments)
    except UsageError:
        pass
    finally:
        sys.settrace(before)
    return lines


def grows(call: Callable[[Any], Any], of_size: Callable[[int], Any], size: int) -> float:
    """Work at twice ``size`` over work at ``size``; once before, for what is imported or cached."""
    small, large = of_size(size), of_size(2 * size)
    work(call, small)
    return work(call, large) / work(call, small)


@pytest.mark.parametrize(
    "of_size",
    [
        lambda n: "1:9999:+1," * n + "1",
        lambda n: ",".join(["8k"] * n),
        lambda n: ",".join(map(str, range(1, n + 1))),
        lambda n: "8" * n,
        lambda n: "8k:" * n,
        lambda n: " " * n + "8k",
    ],
)
def test_a_longer_axis_is_no_more_than_longer(of_size: Callable[[int], str]) -> None:
    assert grows(parse_lengths, of_size, 400) < TWICE
    assert grows(lambda text: parse_words(text, "--impl"), of_size, 400) < TWICE


def profile(folder: Path, text: str) -> str:
    path = folder / "profile.toml"
    path.write_text(text, encoding="utf-8")
    return str(path)


@pytest.mark.parametrize(
    "text",
    [
        "a" + ".a" * 100_000 + " = 1",
        f"[{'.'.join('a' * (MAX_LINE // 2 - 1))}]\n" + "".join(f"b{n}=1\n" for n in range(1800)),
        "seq = [" + ",\n".join(["'1:9999:+1'"] * 1000) + "]",
        "seq = [" + ",\n".join(f"'{n}:{n + 9990}:+1'" for n in range(1, 700)) + "]",
        "x = [" * 5000,
        "".join(f"a{n} = 1\n" for n in range(1500)),
        f"seq = 0x{'f' * 900}",
        "\n" * MAX_BYTES,
    ],
)
def test_no_profile_is_long_work(text: str, tmp_path: Path) -> None:
    assert work(load_profile, profile(tmp_path, text)) < 10 * BOUND


def test_a_profile_that_has_no_end_is_not_read_to_it() -> None:
    with pytest.raises(UsageError, match="longer than"):
        load_profile("/dev/zero")


@pytest.mark.parametrize(
    "asked",
    [
        {"impl": "dilated", "seq": "1b", "heads": "1b"},
        {"impl": "dilated", "seq": str(2**50), "heads": str(2**50), "causal": "true", "offsets": "grouped"},
        {"impl": "longnet", "seq": "1b", "heads": "1m", "depth": "9999"},
        {"impl": "block-recurrent", "depth": str(2**50)},
        {"impl": "block-recurrent", "seq": str(2**50), "compressed_memory": str(2**50), "block_width": "4"},
        {"impl": "hierarchical", "seq": "1b", "levels": f"1:1:full,{2**60}:1:full"},
        {"impl": "sparse", "seq": str(2**50), "match_flops": "dilated", "pattern": "strided,fixed"},
        {"impl": "vanilla", "seq": "1:9999:+1", "heads": "1:9999:+1"},
        {"impl": "sliding-window", "seq": str(2**50), "window": str(2**50), "batch": str(2**50)},
        {"impl": "dilated", "seq": "1:9999:+1", "gpus": "16k"},
        {"impl": "dilated", "seq": "1b", "gpus": "1k", "causal": "true", "heads": "64"},
        {"impl": "vanilla", "seq": str(2**50), "gpus": "1k", "parallel": "ring,zigzag,ulysses,allgather"},
        {"impl": "longnet", "seq": "1b", "batch": "16k", "gpus": "16k", "pass": "step"},
    ],
)
def test_no_size_is_too_large_to_plan_or_refuse_at_once(asked: dict[str, object]) -> None:
    assert work(lambda: make_plan(resolve({"device": "cpu", **asked}))) < BOUND


def test_a_plan_grows_as_its_segments() -> None:
    def plan(count: int) -> object:
        values = ",".join(map(str, range(1, count + 1)))
        return make_plan(
            resolve({"impl": "dilated", "seq": "8k", "device": "cpu", "segments": values, "dilations": values})
        )

    assert grows(plan, lambda n: n, 200) < TWICE


@pytest.mark.parametrize("impl", ["dilated", "vanilla"])
def test_a_plan_grows_as_its_ranks(impl: str) -> None:
    def plan(ranks: int) -> object:
        asked = {"parallel": "ring,zigzag,ulysses,allgather"} if impl == "vanilla" else {}
        return make_plan(
            resolve({"impl": impl, "seq": "1m", "heads": "1k", "device": "cpu", "gpus": str(ranks), **asked})
        )

    assert grows(plan, lambda n: n, 64) < TWICE


def other_impl(number: int) -> dict[str, Any]:
    return {"impl": f"i{number}"}


def other_options(number: int) -> dict[str, Any]:
    return {"options": {f"o{number}": number, "same": 1}}


def unresolved(number: int) -> dict[str, Any]:
    return {"backend": "auto" if number % 2 else "math", "seq_len": number + 1}


def same(_number: int) -> dict[str, Any]:
    return {}


def sessions(number: int) -> dict[str, Any]:
    return {"session": number}


def ranks(number: int) -> dict[str, Any]:
    return {"world_size": number + 1, "seq_len": 1024 * (number + 1)}


@pytest.mark.parametrize("differ", [other_impl, other_options, unresolved, same, sessions, ranks])
def test_a_longer_run_is_no_more_than_longer(differ: Callable[[int], dict[str, Any]], tmp_path: Path) -> None:
    def of_size(count: int) -> Any:
        lines: list[dict[str, Any]] = [BASE[0]]
        for number in range(count):
            change = differ(number)
            point = BASE[1] | {"session": change.pop("session", 0)}
            key = "key" if differ is sessions else f"key{number}"
            lines.append(point | {"key": key, "case": point["case"] | change})
        return load_run(write_lines(tmp_path / f"{count}.jsonl", lines))

    tables = (lambda runs: fits_table(build_series(runs)), lambda runs: rank_section(runs).tables())
    for call in (curves_of, build_series, points_table, *tables):
        assert grows(lambda run, call=call: call([run]), of_size, 150) < TWICE


def test_names_in_names_do_not_make_a_page_grow_as_their_square() -> None:
    def nested(depth: int) -> dict[str, Any]:
        values: dict[str, Any] = {f"leaf{n}": n for n in range(depth)}
        for _ in range(depth):
            values = {"n" * 50: values}
        return values

    def size(depth: int) -> int:
        return sum(len(name) + len(text) for name, text in flatten(nested(depth)))

    assert size(150) / size(75) < TWICE


def test_work_is_counted_and_stopped() -> None:
    assert work(lambda: list(range(10))) < work(lambda: [parse_words("a,b", "x") for _ in range(10)])
    with pytest.raises(TooMuch):
        work(lambda: [parse_words("a,b", "x") for _ in range(10**9)], most=1000)
