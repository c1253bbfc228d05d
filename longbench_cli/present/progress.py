"""What the user sees while a sweep runs: a table that fills, plain lines, or nothing.

Nothing here wakes on a timer: the display changes when a point starts or ends or reports progress,
so that the sleeping parent does not disturb what is measured.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Protocol

from rich.bar import Bar
from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text

from longbench_cli.execute.outcome import Progress
from longbench_cli.present.point_cells import HEADERS, cells, duration, label, one_line
from longbench_cli.present.series import NOTHING_VARIES, Varied
from longbench_cli.present.units import count
from longbench_cli.printable import printable
from longbench_cli.record.loading import RecordedPoint
from longbench_cli.sweep.plan import PlannedPoint

REDRAW_S = 1.0
"""Progress inside a point is drawn at most this often."""

_LINES_AROUND = 8  # header, rules, the running point, the bar, and room for the shell's prompt
_TENTHS = 10
_STYLES = {"ok": "green", "oom": "yellow", "pruned": "dim", "unsupported": "yellow"}


class Display(Protocol):
    """Follows a sweep from start to end."""

    def started(self, point: PlannedPoint) -> None: ...

    def progress(self, progress: Progress) -> None: ...

    def finished(self, record: RecordedPoint) -> None: ...

    def left_out(self, point: PlannedPoint, sessions: int) -> None: ...


class QuietDisplay:
    """Shows nothing."""

    def started(self, point: PlannedPoint) -> None:
        """A point begins."""

    def progress(self, progress: Progress) -> None:
        """A point goes on."""

    def finished(self, record: RecordedPoint) -> None:
        """A point is recorded."""

    def left_out(self, point: PlannedPoint, sessions: int) -> None:
        """So many later sessions of a point will not be run."""


class PlainDisplay(QuietDisplay):
    """One line a point, for logs and pipes."""

    def __init__(self, console: Console, total: int, done: int, varied: Varied = NOTHING_VARIES) -> None:
        self._console, self._total, self._done, self._varied = console, total, done, varied
        self._running: PlannedPoint | None = None
        self._tenths = 0

    def started(self, point: PlannedPoint) -> None:
        self._running, self._tenths = point, 0

    def progress(self, progress: Progress) -> None:
        """A line each time another tenth of a long point is done."""
        if self._running is None or progress.total is None:
            return
        tenths = _TENTHS * progress.done // progress.total
        if self._tenths < tenths < _TENTHS:  # the last tenth is the point's own line
            self._tenths = tenths
            name = label(self._running.case, self._varied)
            self._print(f"{' ' * len(self._counter())} {name}  {progress_words(progress)}")

    def finished(self, record: RecordedPoint) -> None:
        self._done += 1
        self._running = None
        self._print(f"{self._counter()} {one_line(record, self._varied)}")

    def left_out(self, point: PlannedPoint, sessions: int) -> None:
        self._total -= sessions
        where = " " * len(self._counter())
        self._print(f"{where} {label(point.case, self._varied)}: {count(sessions, 'later session')} left out")

    def _counter(self) -> str:
        return f"[{self._done:{len(str(self._total))}}/{self._total}]"

    def _print(self, line: str) -> None:
        self._console.print(printable(line), markup=False, highlight=False, soft_wrap=True)


class LiveDisplay:
    """A table that fills, the running points below it, and a bar with the time left.

    While it runs, only as many of the last rows are shown as fit the terminal; :meth:`print_table`
    prints them all.
    """

    def __init__(
        self,
        console: Console,
        total: int,
        done: int,
        varied: Varied = NOTHING_VARIES,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._console, self._total, self._before, self._clock = console, total, done, clock
        self._varied = varied
        self._records: list[RecordedPoint] = []
        self._running: dict[str, PlannedPoint] = {}
        self._progress: Progress | None = None
        self._busy_since = clock()
        self._spent, self._ran = 0.0, 0
        self._drawn = clock()
        self._live: Live | None = None

    def started(self, point: PlannedPoint) -> None:
        if not self._running:
            self._busy_since = self._clock()
        self._running[point.key] = point
        self._progress = None
        self._draw()

    def progress(self, progress: Progress) -> None:
        self._progress = progress
        if self._clock() - self._drawn >= REDRAW_S:
            self._draw()

    def finished(self, record: RecordedPoint) -> None:
        if self._running.pop(record.key, None) is not None:  # else it was pruned: that tells nothing of the time left
            now = self._clock()
            self._spent += now - self._busy_since
            self._busy_since = now
            self._ran += 1
        self._progress = None
        self._records.append(record)
        self._draw()

    def left_out(self, _point: PlannedPoint, sessions: int) -> None:
        self._total -= sessions
        self._draw()

    @contextmanager
    def live(self) -> Iterator[None]:
        """Show it while the body runs; then clear it and print the complete table."""
        with Live(self.render(), console=self._console, auto_refresh=False, transient=True) as live:
            self._live = live
            try:
                yield
            finally:
                self._live = None
        if self._records:
            self._console.print(points_table(self._records, self._varied))

    def render(self) -> RenderableType:
        """What is on the screen now."""
        rows = max(1, self._console.size.height - _LINES_AROUND)
        table = points_table(self._records[-rows:], self._varied, one_row_each=True)
        return Group(table, self._running_line(), self._overall_bar())

    def _draw(self) -> None:
        self._drawn = self._clock()
        if self._live is not None:
            self._live.update(self.render(), refresh=True)

    def _running_line(self) -> Text:
        words = [", ".join(label(point.case, self._varied) for point in self._running.values())]
        if len(self._running) > 1:
            words.append("taking turns")
        elif self._progress is not None:
            words.append(progress_words(self._progress))
        return Text(printable("  ".join(words)), style="cyan", no_wrap=True, overflow="ellipsis")

    def _overall_bar(self) -> Table:
        done = self._before + len(self._records)
        left = self._total - done
        eta = f"about {duration(left * self._spent / self._ran)} left" if self._ran and left else ""
        grid = Table.grid(padding=(0, 1))
        grid.add_row(Bar(self._total, 0, done, width=40, color="green"), f"{done}/{self._total} points", eta)
        return grid


def progress_words(progress: Progress) -> str:
    """How far a point is: done of all, rate and time left, as far as they are known."""
    of = f"/{progress.total}" if progress.total is not None else ""
    words = [f"{progress.done}{of} {progress.unit}"]
    if progress.rate:
        words.append(f"{progress.rate:.3g} {progress.unit}/s")
        if progress.total is not None:
            words.append(f"about {duration((progress.total - progress.done) / progress.rate)} left")
    return "  ".join(words)


def points_table(records: list[RecordedPoint], varied: Varied, *, one_row_each: bool = False) -> Table:
    """Points as a table; with ``one_row_each`` long reasons are cut so that no row takes two lines."""
    table = Table(box=None, pad_edge=False, header_style="bold", expand=one_row_each)
    for number, header in enumerate(HEADERS):
        last = number == len(HEADERS) - 1
        table.add_column(
            header,
            justify="left" if number in (0, 2) or last else "right",
            no_wrap=one_row_each or not last,
            overflow="ellipsis" if one_row_each else "fold",
            ratio=1 if last and one_row_each else None,
        )
    for record in records:
        texts = [Text(printable(cell)) for cell in cells(record, varied)]
        texts[3].stylize(_STYLES.get(record.status, "bold red"))
        table.add_row(*texts)
    return table
