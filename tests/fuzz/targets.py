"""What is fuzzed, and what may come of it: a value, or a UsageError of one line. Anything else is a finding.

Each target takes inputs of its own kind. hypothesis makes them by :attr:`Target.inputs`; atheris makes
bytes, which :attr:`Target.from_bytes` turns into one, or hypothesis does where that is None.
"""

from __future__ import annotations

import io
import json
import math
import signal
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from types import FrameType
from typing import Any, TypeVar

import damaged_runs
import odd_profiles
from hypothesis import strategies as st

from longbench_cli.commands.plan_view import print_plan
from longbench_cli.commands.run_file import default_path, resumed_options
from longbench_cli.errors import UsageError
from longbench_cli.execute.prune import Evidence
from longbench_cli.present.export import to_csv, to_json, to_markdown
from longbench_cli.present.facts import command_line, flatten, machine_of, run_facts
from longbench_cli.present.point_cells import one_line
from longbench_cli.present.points_table import points_table
from longbench_cli.present.series import NOTHING_VARIES, build_series
from longbench_cli.present.tables import fits_table
from longbench_cli.printable import LONGEST
from longbench_cli.record.journal import is_started
from longbench_cli.record.loading import Run, load_run
from longbench_cli.record.points import outcome_of
from longbench_cli.record.schema import POINT, RunHeader, dump_line
from longbench_cli.sweep.axes import (
    MAX_NUMBER,
    MAX_VALUES,
    parse_booleans,
    parse_choices,
    parse_duration,
    parse_lengths,
    parse_words,
)
from longbench_cli.sweep.options import ResolvedOptions, resolve
from longbench_cli.sweep.plan import make_plan
from longbench_cli.sweep.profile import load_profile
from longbench_cli.sweep.settings import LONGEST_TIME, Settings

CPU_SECONDS = 30.0
"""Of one input, of this process's own processor time: what takes longer hangs."""

_FREE = 8 << 30
_FOLDER = tempfile.TemporaryDirectory(prefix="longbench-fuzz-")
_T = TypeVar("_T")


class Hang(Exception):
    """An input that took more than :data:`CPU_SECONDS`."""


@dataclass(frozen=True, slots=True)
class Target:
    """One thing to fuzz.

    Attributes:
        check: takes an input; True if it came to a value, False if it was refused. Whatever it raises is a finding.
        inputs: inputs, valid ones among them.
        examples: how many of them the test suite tries.
        share: of the inputs of a long run (:mod:`atheris_run`).
        from_bytes: an input from a fuzzer's bytes; None where hypothesis makes it from them.
        seeds: bytes for a fuzzer to begin with.
    """

    name: str
    check: Callable[[Any], bool]
    inputs: st.SearchStrategy[Any]
    examples: int
    share: float
    from_bytes: Callable[[bytes], Any] | None = None
    seeds: tuple[bytes, ...] = ()


@contextmanager
def limited() -> Iterator[None]:
    """Raise :class:`Hang` in what uses up its processor time: not the clock's, which others' work moves on too."""

    def stop(_number: int, _frame: FrameType | None) -> None:
        raise Hang(f"more than {CPU_SECONDS:g} s of processor time")

    before = signal.signal(signal.SIGVTALRM, stop)
    signal.setitimer(signal.ITIMER_VIRTUAL, CPU_SECONDS)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)
        signal.signal(signal.SIGVTALRM, before)


def tried(call: Callable[..., _T], *arguments: Any) -> _T | None:
    """What ``call`` returns; None if it refused its arguments in one line."""
    try:
        return call(*arguments)
    except UsageError as refusal:
        text = str(refusal)
        assert 10 <= len(text) <= LONGEST, len(text)
        assert not set("\r\n\t\x1b\x00") & set(text), text
        return None


def check_axes(text: str) -> bool:
    """All readers of the axis grammar."""
    lengths = tried(parse_lengths, text, "--seq")
    if lengths is not None:
        assert 1 <= len(lengths) == len(set(lengths)) <= MAX_VALUES
        assert all(1 <= length <= MAX_NUMBER for length in lengths)
    words = tried(parse_words, text, "--impl")
    assert words is None or (words and all(word == word.strip() != "" for word in words))
    chosen = tried(parse_choices, text, ("auto", "cpu", "cuda"), "--device")
    assert chosen is None or set(chosen) <= {"auto", "cpu", "cuda"}
    causal = tried(parse_booleans, text, "--causal")
    assert causal is None or set(causal) <= {False, True}
    seconds = tried(parse_duration, text, "--budget")
    assert seconds is None or (math.isfinite(seconds) and seconds > 0)
    return any(value is not None for value in (lengths, chosen, causal, seconds))


def check_profile_file(content: bytes) -> bool:
    """A profile of any bytes."""
    path = Path(_FOLDER.name) / "profile.toml"
    path.write_bytes(content)
    return tried(load_profile, str(path)) is not None


def check_plan(profile: str) -> bool:
    """A profile of odd values for known options, and the plan that it makes on a CPU."""
    path = Path(_FOLDER.name) / "plan.toml"
    path.write_text(profile, encoding="utf-8")
    resolved = tried(resolve, {"profile": str(path), "device": "cpu"})
    if resolved is None:
        return False
    _check_settings(resolved)
    plan = tried(make_plan, resolved)
    if plan is None:
        return False
    evidence = Evidence()
    for point in plan.points[:50]:
        assert math.isfinite(point.predicted_seconds)
        evidence.prune_reason(point, plan.settings, _FREE)
    for line in _plan_as_json(plan):
        json.loads(line, parse_constant=_no_constant)
    name = default_path(plan, Path("runs"), datetime(2026, 1, 2, tzinfo=UTC))
    assert name.parent == Path("runs")
    return True


def _check_settings(resolved: ResolvedOptions) -> None:
    """Settings survive the run file, and every limit is a time."""
    settings = resolved.settings
    assert Settings.model_validate_json(settings.model_dump_json()) == settings
    for limit in (settings.max_time, settings.timeout, settings.max_point_time, resolved.values.budget):
        assert limit is None or 0 < limit <= LONGEST_TIME


def _plan_as_json(plan: Any) -> list[str]:
    from rich.console import Console

    out = io.StringIO()
    print_plan(plan, as_json=True, console=Console(file=out), free=lambda _device: _FREE)
    return out.getvalue().splitlines()


def check_run_file(content: bytes) -> bool:
    """A run file of any bytes: what loads is shown in every way but drawn."""
    path = Path(_FOLDER.name) / "run.jsonl"
    path.write_bytes(content)
    is_started(path)
    run = tried(load_run, path)
    if run is None:
        return False
    _check_shown(run)
    _check_resumed(run, path)
    return True


def _check_shown(run: Run) -> None:
    for line in (run.header, *run.points):
        text = dump_line(line)
        assert "\n" not in text
        (RunHeader.model_validate_json if line is run.header else POINT.validate_json)(text)
    points_table([run])
    fits_table(build_series([run]))
    to_markdown([run])
    to_csv([run, run])
    json.loads(to_json([run]), parse_constant=_no_constant)
    for values in (run.header.settings, run.header.environment):
        flatten(values)
    run_facts(run)
    machine_of(run)
    command_line(run)
    for point in run.points:
        one_line(point, NOTHING_VARIES)
        outcome_of(point)


def _check_resumed(run: Run, path: Path) -> None:
    """The options of a run file lead to no code, and to a plan or a refusal."""
    asked = tried(resumed_options, run.header, path)
    if asked is None:
        return
    assert ":" not in str(asked.get("impl", ""))
    assert not str(asked.get("profile", "")).endswith(".toml")
    resolved = tried(resolve, asked | {"device": "cpu"})
    if resolved is not None:
        tried(make_plan, resolved)


def check_report(content: bytes) -> bool:
    """A run file of any bytes: what loads is drawn as the HTML report."""
    from longbench_cli.present.report import render_report

    path = Path(_FOLDER.name) / "drawn.jsonl"
    path.write_bytes(content)
    run = tried(load_run, path)
    if run is None:
        return False
    page = render_report([run])
    assert page.startswith("<!doctype html>")
    assert page.count("<script") == 3
    return True


def _no_constant(name: str) -> None:
    raise AssertionError(f"{name} is no JSON")


def _text(data: bytes) -> str:
    return data.decode("utf-8", "surrogateescape")


_GRAMMAR = st.lists(st.sampled_from([*"0123456789kmbKMBxX+:,. -_sh", "8k", "1b", "auto", "cpu", "both", "9" * 20]))
_TEXTS = st.text(max_size=60) | _GRAMMAR.map("".join) | st.binary(max_size=40).map(_text)

TARGETS = (
    Target("axes", check_axes, _TEXTS, 1500, 0.40, _text, (b"8k:1b", b"8k:64k:+8k,1m", b"true", b"1.5h", b"cpu,cuda")),
    Target(
        "profile-file",
        check_profile_file,
        odd_profiles.files(),
        1000,
        0.20,
        bytes,
        tuple(odd_profiles.SEEDS),
    ),
    Target("plan", check_plan, odd_profiles.plans(), 400, 0.04),
    Target("run-file", check_run_file, damaged_runs.bytes_of_files(), 600, 0.32, bytes, tuple(damaged_runs.SEEDS)),
    Target("run-values", check_run_file, damaged_runs.files_of_odd_values(), 600, 0.035),
    Target("report", check_report, damaged_runs.files_of_odd_values(), 25, 0.005),
)
