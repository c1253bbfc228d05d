"""What the fault tests counted, as the table that answers for `nothing that was finished is lost`."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(slots=True)
class Row:
    """Counts of one fault.

    Attributes:
        tried: times it was injected.
        lost: points that were finished and are not in the run file, or are in it more than once.
        orphans: processes that outlived their point, or their longbench.
    """

    fault: str
    tried: int = 0
    lost: int = 0
    orphans: int = 0


HEAD = ("fault", "tried", "finished points lost", "orphans")


class FaultTable:
    """Rows in the order in which faults were first counted."""

    def __init__(self) -> None:
        self._rows: dict[str, Row] = {}

    def count(self, fault: str, *, tried: int = 1, lost: int = 0, orphans: int = 0) -> None:
        """Add to the counts of ``fault``. Count first and assert then, so that a failure shows in the table."""
        row = self._rows.setdefault(fault, Row(fault))
        row.tried += tried
        row.lost += lost
        row.orphans += orphans

    @property
    def rows(self) -> list[Row]:
        return list(self._rows.values())

    def text(self) -> list[str]:
        """Aligned lines for a terminal; none if nothing was counted."""
        if not self._rows:
            return []
        cells = [HEAD, *self._cells()]
        widths = [max(len(row[column]) for row in cells) for column in range(len(HEAD))]
        return [
            "  ".join([row[0].ljust(widths[0]), *(cell.rjust(w) for cell, w in zip(row[1:], widths[1:], strict=True))])
            for row in cells
        ]

    def markdown(self) -> str:
        rule = ("---", "---:", "---:", "---:")
        return "".join(f"| {' | '.join(row)} |\n" for row in (HEAD, rule, *self._cells()))

    def _cells(self) -> list[tuple[str, ...]]:
        total = Row(
            "all",
            *(sum(getattr(row, name) for row in self.rows) for name in ("tried", "lost", "orphans")),
        )
        return [(row.fault, str(row.tried), str(row.lost), str(row.orphans)) for row in (*self.rows, total)]
