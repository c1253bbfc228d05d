"""The run file while it is written: append-only, a line a point, on disk as soon as the point is over."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import stat
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

from pydantic_core import from_json

from longbench_cli.errors import UsageError
from longbench_cli.record.loading import RecordedPoint, Run, load_run
from longbench_cli.record.schema import RunHeader, dump_line

__all__ = ["Journal", "Run", "is_started", "load_run"]

_FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
_HEADER_START = b'{"record":"run"'


@dataclass(frozen=True, slots=True)
class Options:
    """What a user types to have the file ``elsewhere``, and to ``go_on`` with it."""

    elsewhere: str
    go_on: str


class Journal:
    """A run file held open, and locked against a second writer, for as long as the run lasts."""

    def __init__(self, path: Path, descriptor: int, options: Options, *, regular: bool) -> None:
        self.path = path
        self._options = options
        self._descriptor = descriptor
        self._regular = regular
        self._keep: int | None = None  # length to cut back to before the first append
        self._pending = b""  # what the last line still lacks

    @classmethod
    def open(
        cls, path: str | Path, header: RunHeader, *, resume: bool = False, options: Options | None = None
    ) -> tuple[Journal, Run | None]:
        """Start a run file with ``header``; with ``resume``, go on with what is there.

        What is there is left as it is until something is appended, so that refusing to resume changes
        nothing; then a torn last line goes. ``options`` are those that messages name; of ``longbench run`` if None.

        Returns:
            The journal, and the run found in the file: None where it was started.

        Raises:
            UsageError: without ``resume``, the file holds something; with it, what it holds is not
                a run; another process writes it; it cannot be created or written.
        """
        path = Path(path)
        journal = cls._locked(path, options or Options("-o", f"--resume {path}"))
        try:
            return journal, journal._begin(header, resume=resume)
        except BaseException:
            journal.close()
            raise

    @classmethod
    def _locked(cls, path: Path, options: Options) -> Journal:
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o666)
        except OSError as error:
            raise _cannot_write(path, options, error, started=False) from None
        regular = stat.S_ISREG(os.fstat(descriptor).st_mode)
        if regular:  # a device such as /dev/null is everybody's
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                os.close(descriptor)
                raise UsageError(
                    f"{path}: another longbench is writing this file: wait for it, or choose another with "
                    f"{options.elsewhere}"
                ) from None
            except OSError:
                pass  # a file system without locks: the lock is only advice
        return cls(path, descriptor, options, regular=regular)

    def _begin(self, header: RunHeader, *, resume: bool) -> Run | None:
        size = os.fstat(self._descriptor).st_size if self._regular else 0
        if size and not resume:
            raise UsageError(
                f"{self.path}: exists already: choose another file with {self._options.elsewhere}, or go on with it "
                f"with {self._options.go_on}"
            )
        if is_started(self.path):
            run = load_run(self.path)
            if run.valid_bytes < size:
                self._keep = run.valid_bytes
            elif os.pread(self._descriptor, 1, size - 1) != b"\n":
                self._pending = b"\n"
            return run
        if size:
            self._cut(0)
        self._write(dump_line(header).encode() + b"\n")
        self._sync_folder()
        return None

    def append(self, point: RecordedPoint) -> None:
        """Record a point: one line, on disk when this returns.

        Raises:
            UsageError: it cannot be written (a full disk, say); the file then ends with the last whole line.
        """
        if self._keep is not None:
            self._cut(self._keep)
            self._keep = None
        self._write(self._pending + dump_line(point).encode() + b"\n")
        self._pending = b""

    def _cut(self, size: int) -> None:
        try:
            os.ftruncate(self._descriptor, size)
        except OSError as error:
            raise _cannot_write(self.path, self._options, error, started=size > 0) from None

    def _write(self, line: bytes) -> None:
        before = os.fstat(self._descriptor)
        if self._regular and before.st_nlink == 0:
            raise UsageError(
                f"{self.path}: was deleted while it was written: measure again with {self._options.elsewhere}"
            )
        try:
            written = os.write(self._descriptor, line)
            while written < len(line):  # a full disk takes a part first, and says so at the next call
                written += os.write(self._descriptor, line[written:])
            if self._regular:
                os.fsync(self._descriptor)
        except OSError as error:
            with contextlib.suppress(OSError):
                os.ftruncate(self._descriptor, before.st_size)
            raise _cannot_write(self.path, self._options, error, started=before.st_size > 0) from None

    def _sync_folder(self) -> None:
        """Make the new file's name as durable as its content; a file system that cannot is no reason to stop."""
        with contextlib.suppress(OSError):
            folder = os.open(self.path.parent, os.O_RDONLY | os.O_DIRECTORY)
            try:
                os.fsync(folder)
            finally:
                os.close(folder)

    def close(self) -> None:
        """Release the file and its lock."""
        os.close(self._descriptor)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def is_started(path: str | Path) -> bool:
    """Whether ``path`` holds something to go on with, or to leave alone.

    Not so if it is missing, empty, or holds only part of a header: then the run was killed while its
    first line was written, and nothing is lost by starting again.
    """
    path = Path(path)
    try:
        with path.open("rb") as file:
            line = file.readline() if stat.S_ISREG(os.fstat(file.fileno()).st_mode) else b""
    except FileNotFoundError:
        return False
    except OSError:
        return True
    torn = line.startswith(_HEADER_START) or _HEADER_START.startswith(line)
    return not torn or line.endswith(b"\n") or _is_json(line)


def _is_json(line: bytes) -> bool:
    try:
        from_json(line)
    except ValueError:
        return False
    return True


def _cannot_write(path: Path, options: Options, error: OSError, *, started: bool) -> UsageError:
    if error.errno in _FULL:
        fix = "make room"
    elif isinstance(error, IsADirectoryError):
        fix = "name a file inside that folder"
    else:
        fix = f"choose another place with {options.elsewhere}" if not started else "mend that"
    then = f", then go on with {options.go_on}; the points so far are safe" if started else ""
    return UsageError(f"{path}: cannot be written: {error.strerror}: {fix}{then}")
