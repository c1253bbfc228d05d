"""Reads a run file back. A torn last line is dropped with a warning; anything else malformed is an error."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO, TypeVar

from pydantic import ValidationError
from pydantic_core import from_json

from longbench_cli.errors import UsageError
from longbench_cli.execute.budget import BUDGET
from longbench_cli.record.schema import POINT, SCHEMA, MeasuredPoint, RunHeader, UnmeasuredPoint
from longbench_cli.sweep.axes import shown

T = TypeVar("T")
RecordedPoint = MeasuredPoint | UnmeasuredPoint
_LONGEST_KEY, _DEEPEST = 60, 8
_UNION_TAGS = ("measured", "unmeasured")  # pydantic's own steps in a location, not keys of the file


@dataclass(slots=True)
class Run:
    """One run file, read.

    Attributes:
        path: where it was read from.
        header: its first line.
        points: its points, in the order they were recorded; where one was put off and then measured,
            the measured one.
        warnings: one line each, for the user.
        valid_bytes: length of the file without a torn last line.
    """

    path: Path
    header: RunHeader
    points: list[RecordedPoint] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    valid_bytes: int = 0


def load_run(path: str | Path) -> Run:
    """Read a run file.

    Raises:
        UsageError: it is missing, unreadable, empty, not a run of longbench, written by a newer
            longbench, or malformed anywhere but in a torn last line.
    """
    return _opened(Path(path), _read)


def load_header(path: str | Path) -> RunHeader:
    """The first line of a run file; the points are not looked at.

    Raises:
        UsageError: as :func:`load_run`.
    """
    return _opened(Path(path), _first_line)[0]


def _opened(path: Path, read: Callable[[Path, BinaryIO], T]) -> T:
    try:
        with path.open("rb") as file:
            return read(path, file)
    except FileNotFoundError:
        raise UsageError(f"{path}: no such run file: give one that `longbench run` wrote") from None
    except IsADirectoryError:
        raise UsageError(f"{path}: is a folder: give a run file inside it") from None
    except OSError as error:
        raise UsageError(f"{path}: cannot be read: {error.strerror}: check the path and its permissions") from None


def put_off(point: RecordedPoint) -> bool:
    """Whether there was no time for a point: a resumed run measures it, and its later line then stands."""
    return isinstance(point, UnmeasuredPoint) and point.status == "pruned" and point.reason.startswith(BUDGET)


def short_reason(error: ValidationError) -> str:
    """The first thing pydantic found wrong, as ``key: what``."""
    first = error.errors(include_url=False, include_context=False, include_input=False)[0]
    where = ".".join(str(part)[:_LONGEST_KEY] for part in first["loc"][:_DEEPEST] if part not in _UNION_TAGS)
    if first["type"] == "json_invalid":
        return "not valid JSON" + first["msg"].removeprefix("Invalid JSON").replace(" at line 1", " at")
    if first["type"] in ("model_type", "model_attributes_type", "dict_type") and not where:
        return "not a JSON object"
    message = first["msg"][:1].lower() + first["msg"][1:]
    return f"{where}: {message}" if where else message


def _first_line(path: Path, file: BinaryIO) -> tuple[RunHeader, int]:
    """The header, and the length of its line."""
    start = file.peek(64)[:64] if hasattr(file, "peek") else b""
    if start and not start.lstrip().startswith(b"{"):
        raise _foreign(path, "it does not begin with a JSON object")
    first = file.readline()
    if not first:
        raise UsageError(f"{path}: is empty, not a run file: start it with `longbench run --resume {path}`")
    return _header(path, first), len(first)


def _read(path: Path, file: BinaryIO) -> Run:
    header, size = _first_line(path, file)
    run = Run(path, header, valid_bytes=size)
    torn: str | None = None
    for number, line in enumerate(file, 2):
        if torn is not None:  # a line follows, so the one before was not the last
            raise UsageError(f"{path}: line {number - 1}: {torn}: repair or remove that line")
        try:
            run.points.append(POINT.validate_json(line))
            run.valid_bytes += len(line)
        except ValidationError as error:
            reason = short_reason(error)
            if error.errors(include_url=False)[0]["type"] != "json_invalid":
                if line.startswith(b'{"record":"run"'):
                    reason = "a second run header: a file holds one run"
                raise UsageError(f"{path}: line {number}: {reason}: repair or remove that line") from None
            torn = reason
    if torn is not None:
        number = len(run.points) + 2
        run.warnings.append(f"{path}: line {number}, the last, is incomplete and was dropped (the run was cut off)")
    last = {(point.key, point.session): point for point in run.points}
    run.points = [point for point in run.points if not put_off(point) or point is last[point.key, point.session]]
    return run


def _header(path: Path, line: bytes) -> RunHeader:
    try:
        content: Any = from_json(line, allow_inf_nan=False)  # as strict as the points: depth, digits, surrogates
    except ValueError:
        if not line.endswith(b"\n") and line.startswith(b'{"record":"run"'):
            raise UsageError(
                f"{path}: was cut off in its first line and holds no point: start it again with --resume {path}"
            ) from None
        raise _foreign(path, "its first line is not valid JSON") from None
    if not isinstance(content, dict) or content.get("record") != "run":
        raise _foreign(path, "its first line is not a run header")
    schema = content.get("schema")
    if isinstance(schema, int) and schema > SCHEMA:
        raise UsageError(
            f"{path}: was written by a newer longbench (schema {shown(schema)}, this reads {SCHEMA}): upgrade longbench"
        )
    try:
        return RunHeader.model_validate(content)
    except ValidationError as error:
        raise UsageError(f"{path}: line 1: {short_reason(error)}: repair the header or measure again") from None


def _foreign(path: Path, why: str) -> UsageError:
    return UsageError(f"{path}: is not a run file of longbench: {why}: give one that `longbench run` wrote")
